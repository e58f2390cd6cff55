# SPDX-License-Identifier: Apache-2.0
"""What a pool finds in the cluster: by service, by labels of slices, by labels of pods."""

import pytest
from process import eventually

V1 = {"app": "llama", "version": "v1"}
V2 = {"app": "llama", "version": "v2"}


def pool(namespace, **source):
    return {"llama": {"discover": {"kubernetes": {"namespace": namespace.name, **source}}}}


def test_a_pool_finds_the_pods_of_a_service_and_sends_requests_to_each(
    namespace, fleet, start_sluiced
):
    namespace.service("llama", {"app": "llama"})
    pods = [fleet.start(f"llama-{i}", V1) for i in range(3)]
    proxy = start_sluiced(pools=pool(namespace, service="llama", port="http"))
    proxy.wait_endpoints("llama", pods)
    assert {e["pod"] for e in proxy.pool("llama")["endpoints"]} == {"llama-0", "llama-1", "llama-2"}
    assert set(proxy.served_by(60)) == {pod.address for pod in pods}
    assert proxy.ready()


def test_pods_that_come_and_go_are_followed(namespace, fleet, start_sluiced):
    namespace.service("llama", {"app": "llama"})
    first = fleet.start("llama-1", V1)
    proxy = start_sluiced(pools=pool(namespace, service="llama", port="http"))
    proxy.wait_endpoints("llama", [first])
    second = fleet.start("llama-2", V1)
    proxy.wait_endpoints("llama", [first, second])
    namespace.set_ready("llama-1", False)
    proxy.wait_endpoints("llama", [second])
    namespace.set_ready("llama-1", True)
    proxy.wait_endpoints("llama", [first, second])
    fleet.retire("llama-1", pre_stop=0.2)
    proxy.wait_endpoints("llama", [second])
    assert set(proxy.served_by(20)) == {second.address}


def test_a_service_made_later_is_found(namespace, fleet, start_sluiced):
    pod = fleet.start("llama-1", V1)
    proxy = start_sluiced(pools=pool(namespace, service="llama", port="http"))
    eventually(lambda: proxy.pool("llama")["discovery"]["synced"], "an empty list counts as synced", 10)
    namespace.service("llama", {"app": "llama"})
    proxy.wait_endpoints("llama", [pod])


def test_a_deleted_service_leaves_no_endpoint(cluster, namespace, fleet, start_sluiced):
    namespace.service("llama", {"app": "llama"})
    pod = fleet.start("llama-1", V1)
    proxy = start_sluiced(pools=pool(namespace, service="llama", port="http"))
    proxy.wait_endpoints("llama", [pod])
    cluster.delete(f"{namespace.core}/services/llama")
    proxy.wait_endpoints("llama", [], timeout=30)


def test_a_terminating_pod_is_used_only_when_no_ready_one_is_left(namespace, fleet, start_sluiced):
    namespace.service("llama", {"app": "llama"})
    first, second = fleet.start("llama-1", V1), fleet.start("llama-2", V1)
    proxy = start_sluiced(pools=pool(namespace, service="llama", port="http"))
    proxy.wait_endpoints("llama", [first, second])
    namespace.delete_pod("llama-1")
    proxy.wait_endpoints("llama", [second])
    assert set(proxy.served_by(20)) == {second.address}
    namespace.set_ready("llama-2", False)

    def last_resort():
        return set(proxy.served_by(1)) == {first.address}

    eventually(last_resort, "the terminating pod is not used")
    assert set(proxy.served_by(20)) == {first.address}


@pytest.mark.parametrize(
    "selector",
    [
        "model=llama-3",
        "model in (llama-3,llama-4),track!=canary",
        "model,track notin (canary),!old",
    ],
)
def test_slices_are_selected_by_the_labels_of_their_services(
    namespace, fleet, start_sluiced, selector
):
    namespace.service("chosen", {"app": "llama"}, labels={"model": "llama-3", "track": "stable"})
    namespace.service(
        "canary", {"app": "canary"}, labels={"model": "llama-3", "track": "canary", "old": "1"}
    )
    namespace.service("other", {"app": "other"}, labels={"task": "embed"})
    pod = fleet.start("llama-1", V1)
    canary = fleet.start("canary-1", {"app": "canary"})
    fleet.start("other-1", {"app": "other"})
    proxy = start_sluiced(pools=pool(namespace, slices=selector, port="http"))
    both = selector == "model=llama-3"
    proxy.wait_endpoints("llama", [pod, canary] if both else [pod])
    namespace.service("canary", {"app": "canary"}, labels={"model": "llama-3", "track": "stable"})
    proxy.wait_endpoints("llama", [pod, canary])


def test_pods_alone_need_no_service(namespace, fleet, start_sluiced):
    chosen = fleet.start("llama-1", V1)
    other = fleet.start("llama-2", V2)
    proxy = start_sluiced(pools=pool(namespace, pods="app=llama,version=v1", port=8000))
    proxy.wait_endpoints("llama", [chosen])
    namespace.label_pod("llama-2", {"version": "v1"})
    proxy.wait_endpoints("llama", [chosen, other])
    namespace.set_ready("llama-1", False)
    proxy.wait_endpoints("llama", [other])
    namespace.set_ready("llama-1", True)
    proxy.wait_endpoints("llama", [chosen, other])
    fleet.retire("llama-2", pre_stop=0.2)
    proxy.wait_endpoints("llama", [chosen])
    assert set(proxy.served_by(20)) == {chosen.address}


def test_a_port_of_pods_can_be_named(namespace, fleet, start_sluiced):
    pod = fleet.start("llama-1", V1)
    proxy = start_sluiced(pools=pool(namespace, pods="app=llama", port="http"))
    proxy.wait_endpoints("llama", [pod])


def test_a_service_can_be_narrowed_to_pods_of_one_version(namespace, fleet, start_sluiced):
    namespace.service("llama", {"app": "llama"})
    old, new = fleet.start("llama-1", V1), fleet.start("llama-2", V2)
    source = {"namespace": namespace.name, "service": "llama", "port": "http"}
    pools = {
        "v1": {"discover": {"kubernetes": {**source, "pods": "version=v1"}}},
        "v2": {"discover": {"kubernetes": {**source, "pods": "version=v2"}}},
    }
    proxy = start_sluiced(
        pools=pools, routes=[{"name": "all", "match": {"path": "/"}, "pool": "v2"}]
    )
    proxy.wait_endpoints("v1", [old])
    proxy.wait_endpoints("v2", [new])
    assert set(proxy.served_by(10)) == {new.address}
    namespace.label_pod("llama-1", {"version": "v2"})
    proxy.wait_endpoints("v1", [])
    proxy.wait_endpoints("v2", [old, new])


def test_a_service_in_front_of_more_pods_than_a_slice_holds_is_found_whole(
    namespace, start_sluiced
):
    namespace.service("llama", {"app": "llama"})
    wanted = {f"10.244.202.{i}" for i in range(1, 131)}
    for number, address in enumerate(sorted(wanted)):
        namespace.create_pod(f"llama-{number}", address, V1)
    namespace.wait_endpoints("llama", wanted, timeout=30)
    proxy = start_sluiced(pools=pool(namespace, service="llama", port="http"))
    eventually(
        lambda: proxy.addresses("llama") == {f"{a}:8000" for a in wanted}, "not all 130 found", 10
    )


def test_a_kubeconfig_replaces_the_mounted_account(
    cluster, namespace, fleet, start_sluiced, tmp_path
):
    namespace.service("llama", {"app": "llama"})
    pod = fleet.start("llama-1", V1)
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", token=namespace.token())
    environment = {
        k: v for k, v in cluster.environment().items() if not k.startswith("KUBERNETES_")
    }
    proxy = start_sluiced(
        kubernetes={"kubeconfig": str(kubeconfig)},
        env=environment,
        pools=pool(namespace, service="llama", port="http"),
    )
    proxy.wait_endpoints("llama", [pod])
