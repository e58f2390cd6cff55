# SPDX-License-Identifier: Apache-2.0
"""The fixtures themselves: without these, the other tests would prove nothing."""

import ipaddress
import signal
import ssl

import httpx
import pytest
from cluster import ApiError
from mount import Mount
from process import eventually

LABELS = {"app": "llama", "version": "v1"}


def bearer(cluster, token):
    return httpx.Client(
        base_url=cluster.url,
        verify=ssl.create_default_context(cafile=cluster.ca),
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )


def test_a_ready_pod_appears_in_the_slice_of_its_service(namespace):
    namespace.service("llama", {"app": "llama"}, port="http")
    namespace.create_pod("llama-1", "10.244.200.1", LABELS, port=8123)
    namespace.wait_endpoints("llama", {"10.244.200.1"})
    found = namespace.endpoints("llama")["10.244.200.1"]
    assert found == {
        "ready": True,
        "serving": True,
        "terminating": False,
        "pod": "llama-1",
        "ports": [8123],
    }


def test_an_unready_pod_is_not_serving_and_returns_when_it_is_ready(namespace):
    namespace.service("llama", {"app": "llama"})
    namespace.create_pod("llama-1", "10.244.200.1", LABELS)
    namespace.create_pod("llama-2", "10.244.200.2", LABELS, ready=False)
    namespace.wait_endpoints("llama", {"10.244.200.1"})
    namespace.set_ready("llama-1", False)
    namespace.wait_endpoints("llama", set())
    assert not namespace.endpoints("llama")["10.244.200.1"]["serving"]
    namespace.set_ready("llama-1", True)
    namespace.wait_endpoints("llama", {"10.244.200.1"})


def test_a_terminating_pod_serves_until_it_is_gone(namespace):
    namespace.service("llama", {"app": "llama"})
    namespace.create_pod("llama-1", "10.244.200.1", LABELS)
    namespace.wait_endpoints("llama", {"10.244.200.1"})
    namespace.delete_pod("llama-1")
    namespace.wait_endpoints("llama", set())
    found = namespace.endpoints("llama")["10.244.200.1"]
    assert (found["ready"], found["serving"], found["terminating"]) == (False, True, True)
    namespace.remove_pod("llama-1")
    eventually(lambda: not namespace.endpoints("llama"), "the pod stays in the slice")


def test_a_relabelled_pod_leaves_its_service(namespace):
    namespace.service("llama", {"app": "llama", "version": "v1"})
    namespace.create_pod("llama-1", "10.244.200.1", LABELS)
    namespace.wait_endpoints("llama", {"10.244.200.1"})
    namespace.label_pod("llama-1", {"version": "v2"})
    namespace.wait_endpoints("llama", set())


def test_a_deleted_service_takes_its_slices_along(cluster, namespace):
    namespace.service("llama", {"app": "llama"})
    namespace.create_pod("llama-1", "10.244.200.1", LABELS)
    namespace.wait_endpoints("llama", {"10.244.200.1"})
    cluster.delete(f"{namespace.core}/services/llama")
    eventually(lambda: not namespace.endpoints("llama"), "the slice stays", 30)


def test_more_pods_than_fit_make_a_second_slice(cluster, namespace):
    namespace.service("llama", {"app": "llama"})
    first = ipaddress.ip_address("10.244.201.1")
    wanted = {str(first + i) for i in range(101)}
    for number, address in enumerate(sorted(wanted)):
        namespace.create_pod(f"llama-{number}", address, LABELS)
    namespace.wait_endpoints("llama", wanted, timeout=30)
    assert len(cluster.request("GET", namespace.slices)["items"]) == 2


def test_the_account_reads_its_own_namespace_only(cluster, namespace):
    with bearer(cluster, namespace.token()) as client:
        for path in (namespace.slices, f"{namespace.core}/pods", f"{namespace.core}/services"):
            assert client.get(path).status_code == 200
        assert client.get(f"{namespace.core}/secrets").status_code == 403
        assert client.get("/api/v1/namespaces/default/pods").status_code == 403
    with bearer(cluster, "no.such.token") as client:
        assert client.get(namespace.slices).status_code == 401


def test_a_token_ends_with_the_secret_it_is_bound_to(cluster, namespace):
    token = namespace.token(bound_secret="life")
    with bearer(cluster, token) as client:
        assert client.get(namespace.slices).status_code == 200
        cluster.delete(f"{namespace.core}/secrets/life")
        # Accepted tokens are remembered for 10 s.
        eventually(
            lambda: client.get(namespace.slices).status_code == 401, "still accepted", 15, 0.2
        )


def test_a_watch_sees_changes_in_order(cluster, namespace):
    version = cluster.request("GET", namespace.slices)["metadata"]["resourceVersion"]
    namespace.service("llama", {"app": "llama"})
    namespace.create_pod("llama-1", "10.244.200.1", LABELS)
    events = list(cluster.watch(namespace.slices, timeout=2, resourceVersion=version))
    assert [kind for kind, _ in events][:1] == ["ADDED"]
    addresses = [
        [e["addresses"][0] for e in o["endpoints"] or [] if e["conditions"]["ready"]]
        for _, o in events
    ]
    assert addresses[-1] == ["10.244.200.1"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_after_a_restart_an_old_version_is_gone(cluster, namespace, number):
    old = cluster.request("GET", namespace.slices)["metadata"]["resourceVersion"]
    namespace.service("llama", {"app": "llama"})
    namespace.create_pod("llama-1", "10.244.200.1", LABELS)
    namespace.wait_endpoints("llama", {"10.244.200.1"})
    cluster.restart_apiserver(number)
    events = list(cluster.watch(namespace.slices, resourceVersion=old))
    assert [(kind, event["code"], event["reason"]) for kind, event in events] == [
        ("ERROR", 410, "Expired")
    ]
    namespace.wait_endpoints("llama", {"10.244.200.1"})


def test_the_controllers_work_after_a_restart_of_the_api_server(cluster, namespace):
    namespace.service("llama", {"app": "llama"})
    cluster.restart_apiserver()
    namespace.create_pod("llama-1", "10.244.200.1", LABELS)
    namespace.wait_endpoints("llama", {"10.244.200.1"}, timeout=30)


def test_the_real_server_refuses_loopback_endpoints_which_is_why_there_is_a_namespace(
    cluster, namespace
):
    document = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "by-hand"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}],
    }
    with pytest.raises(ApiError) as refused:
        cluster.apply(document, namespace.name)
    assert refused.value.status == 422


def test_model_servers_are_pods_and_the_load_counts_what_fails(namespace, fleet, start_load):
    namespace.service("llama", {"app": "llama"})
    pod = fleet.start("llama-1", LABELS, options=["--token-rate", "200"])
    namespace.wait_endpoints("llama", {pod.ip})
    report = start_load(pod.address, clients=2, streams=2, count=50).join()
    assert report.failures == [] and report.requests + report.streams == 50, str(report)
    assert set(report.served) == {pod.address} and set(report.versions) == {"v1"}
    fleet.retire("llama-1", pre_stop=0.0)
    assert namespace.endpoints("llama").get(pod.ip, {"ready": False})["ready"] is False
    report = start_load(pod.address, clients=1, count=3).join()
    assert len(report.failures) == 3


def test_a_stream_cut_off_is_counted_as_a_failure(fleet, start_load):
    pod = fleet.start("llama-1", LABELS, options=["--token-rate", "20"])
    load = start_load(pod.address, clients=0, streams=3, tokens=100, seconds=20)
    eventually(lambda: pod.state()["running"] == 3, "no streams")
    load.stopping.set()
    fleet.crash("llama-1")
    assert len(load.join().failures) == 3


def test_a_mount_is_replaced_as_a_whole(tmp_path):
    mount = Mount(tmp_path / "mount", {"a": "1", "b": "1"})
    mount.write({"a": "2", "b": "2"})
    assert (mount / "a").read_text() == (mount / "b").read_text() == "2"
    assert (mount / "a").resolve().parent == (mount / "..data").resolve()
    assert (
        len([entry for entry in mount.directory.iterdir() if entry.name.startswith("..version")])
        == 1
    )
