# SPDX-License-Identifier: Apache-2.0
"""Where else a pool may look: several namespaces, Endpoints of old, InferencePools, the other
family of addresses, the own zone; and what pods say of themselves.
"""

from pathlib import Path

import pytest
from cluster import NODE, ZONE
from models import Fleet
from process import eventually

V1 = {"app": "llama", "version": "v1"}
V2 = {"app": "llama", "version": "v2"}


def pool(namespace, **source):
    return {"llama": {"discover": {"kubernetes": {"namespace": namespace, **source}}}}


@pytest.fixture
def second(cluster, namespace, tmp_path):
    """Another namespace that the account of the first may read, and a fleet in it."""
    other = cluster.namespace(f"{namespace.name[:55]}-second")
    other.admit(namespace)
    (tmp_path / "second").mkdir()
    pods = Fleet(other, tmp_path / "second")
    yield other, pods
    pods.stop()


def write_slice(namespace, name, service, family, endpoints, port=8000):
    """An EndpointSlice by hand: the controllers leave alone what they do not manage."""
    labels = {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "tests"}
    document = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": labels},
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }
    return namespace.cluster.apply(document, namespace.name)


def test_two_namespaces_are_one_pool(namespace, fleet, second, start_sluiced):
    other, other_fleet = second
    namespace.service("llama", {"app": "llama"})
    other.service("llama", {"app": "llama"})
    # One name in both: they are two pods nevertheless.
    pods = [fleet.start("llama-1", V1), other_fleet.start("llama-1", V1)]
    proxy = start_sluiced(
        pools=pool([namespace.name, other.name], service="llama", port="http", pods="version=v1")
    )
    proxy.wait_endpoints("llama", pods)
    assert set(proxy.served_by(40)) == {pod.address for pod in pods}
    other.label_pod("llama-1", {"version": "v2"})
    proxy.wait_endpoints("llama", pods[:1])


def test_all_namespaces_can_be_watched_at_once(cluster, namespace, fleet, second, start_sluiced):
    cluster.read_all(namespace)
    other, other_fleet = second
    namespace.service("everywhere", {"app": "llama"})
    pods = [fleet.start("llama-1", V1)]
    proxy = start_sluiced(pools=pool("*", service="everywhere", port="http", pods=""))
    proxy.wait_endpoints("llama", pods)
    other.service("everywhere", {"app": "llama"})
    pods.append(other_fleet.start("llama-1", V1))
    proxy.wait_endpoints("llama", pods)
    cluster.delete(f"{other.core}/services/everywhere")
    proxy.wait_endpoints("llama", pods[:1], timeout=30)


@pytest.mark.parametrize("by", ["service", "slices"])
def test_endpoints_of_old_can_be_used(namespace, fleet, start_sluiced, by):
    namespace.service("llama", {"app": "llama"}, labels={"model": "llama"})
    namespace.service("other", {"app": "other"})
    fleet.start("other-1", {"app": "other"})
    pods = [fleet.start("llama-1", V1), fleet.start("llama-2", V1)]
    source = {"service": "llama"} if by == "service" else {"slices": "model=llama"}
    proxy = start_sluiced(pools=pool(namespace.name, api="endpoints", port="http", **source))
    proxy.wait_endpoints("llama", pods)
    namespace.set_ready("llama-1", False)
    proxy.wait_endpoints("llama", pods[1:])
    namespace.set_ready("llama-1", True)
    proxy.wait_endpoints("llama", pods)
    assert set(proxy.served_by(40)) == {pod.address for pod in pods}
    warnings = proxy.events("discovery_warning")
    assert len(warnings) == 1 and "deprecated" in warnings[0]["text"], warnings


def test_annotations_weigh_and_drain_pods(cluster, namespace, fleet, start_sluiced):
    namespace.service("llama", {"app": "llama"})
    heavy, light = fleet.start("llama-1", V1), fleet.start("llama-2", V1)
    pools = pool(namespace.name, service="llama", port="http", pods="")
    pools["llama"]["balance"] = "round_robin"
    proxy = start_sluiced(pools=pools)
    proxy.wait_endpoints("llama", [heavy, light])

    def annotate(name, **values):
        annotations = {f"sluiced.io/{key}": value for key, value in values.items()}
        cluster.patch(f"{namespace.core}/pods/{name}", {"metadata": {"annotations": annotations}})

    annotate("llama-1", weight="3")

    def weighed():
        return proxy.served_by(40).get(heavy.address, 0) >= 28

    eventually(weighed, "the weight is not followed")
    annotate("llama-1", weight=None, drain="true")
    proxy.wait_endpoints("llama", [light])
    assert set(proxy.served_by(20)) == {light.address}
    annotate("llama-1", drain=None)
    proxy.wait_endpoints("llama", [heavy, light])
    annotate("llama-2", weight="heavy")
    eventually(
        lambda: any("sluiced.io/weight" in e["reason"] for e in proxy.events("discovery_odd")),
        "nothing is said of a weight that is none",
    )
    proxy.wait_endpoints("llama", [heavy, light])


def test_versions_are_split_by_labels(namespace, fleet, start_sluiced):
    old, new = fleet.start("llama-1", V1), fleet.start("llama-2", V2)
    source = {"namespace": namespace.name, "port": 8000}
    pools = {
        v: {"discover": {"kubernetes": {**source, "pods": f"app=llama,version={v}"}}}
        for v in ("v1", "v2")
    }
    routes = [{"name": "all", "match": {"path": "/"}, "split": {"v1": 50, "v2": 50}}]
    proxy = start_sluiced(pools=pools, routes=routes)
    proxy.wait_endpoints("v1", [old])
    proxy.wait_endpoints("v2", [new])
    assert set(proxy.served_by(60)) == {old.address, new.address}
    third = fleet.start("llama-3", V1)
    proxy.wait_endpoints("v1", [old, third])
    namespace.label_pod("llama-3", {"version": "v2"})
    proxy.wait_endpoints("v2", [new, third])
    proxy.wait_endpoints("v1", [old])


def test_an_inference_pool_is_followed(cluster, namespace, fleet, start_sluiced):
    cluster.install(Path(__file__).parent / "inferencepool.yaml")

    def write(**labels):
        cluster.apply(
            {
                "apiVersion": "inference.networking.k8s.io/v1",
                "kind": "InferencePool",
                "metadata": {"name": "llama"},
                "spec": {"selector": {"matchLabels": labels}, "targetPorts": [{"number": 8000}]},
            },
            namespace.name,
        )

    old, new = fleet.start("llama-1", V1), fleet.start("llama-2", V2)
    proxy = start_sluiced(pools=pool(namespace.name, inference_pool="llama"))
    eventually(lambda: proxy.pool("llama")["discovery"]["synced"], "a missing one is known", 10)
    write(app="llama")
    proxy.wait_endpoints("llama", [old, new])
    assert set(proxy.served_by(40)) == {old.address, new.address}
    write(app="llama", version="v2")
    proxy.wait_endpoints("llama", [new])
    namespace.label_pod("llama-1", {"version": "v2"})
    proxy.wait_endpoints("llama", [old, new])
    cluster.delete(f"/apis/inference.networking.k8s.io/v1/namespaces/{namespace.name}/inferencepools/llama")
    proxy.wait_endpoints("llama", [])


def test_a_pod_of_both_families_is_one_endpoint(namespace, fleet, start_sluiced):
    namespace.service("llama", {"app": "llama"})
    pod = fleet.start("llama-1", V1)
    uid = namespace.cluster.request("GET", f"{namespace.core}/pods/llama-1")["metadata"]["uid"]
    target = {"kind": "Pod", "namespace": namespace.name, "name": "llama-1", "uid": uid}
    endpoint = {"addresses": ["fd00:10::1"], "conditions": {"ready": True}, "targetRef": target}
    write_slice(namespace, "llama-6", "llama", "IPv6", [endpoint])
    source = {"namespace": namespace.name, "service": "llama", "port": "http"}
    pools = {
        "both": {"discover": {"kubernetes": source}},
        "six": {"discover": {"kubernetes": {**source, "family": "ipv6"}}},
    }
    routes = [{"name": "all", "match": {"path": "/"}, "pool": "both"}]
    proxy = start_sluiced(pools=pools, routes=routes)
    eventually(lambda: proxy.addresses("six") == {"[fd00:10::1]:8000"}, "no IPv6", 10)
    proxy.wait_endpoints("both", [pod])
    assert set(proxy.served_by(10)) == {pod.address}


def test_hints_keep_requests_in_the_zone_of_our_node(
    cluster, namespace, fleet, start_sluiced, tmp_path
):
    cluster.read_all(namespace)
    near, far = fleet.start("llama-1", V1), fleet.start("llama-2", V1)

    def hinted(pod, zone):
        hints = {"forZones": [{"name": zone}]} if zone else {}
        return {"addresses": [pod.ip], "conditions": {"ready": True}, "zone": zone or ZONE, "hints": hints}

    write_slice(namespace, "llama-x", "llama", "IPv4", [hinted(near, ZONE), hinted(far, "zone-z")])
    account = namespace.service_account(tmp_path / "account")
    proxy = start_sluiced(
        kubernetes={"service_account": str(account.directory), "node": NODE},
        pools=pool(namespace.name, service="llama", port="http"),
    )
    proxy.wait_endpoints("llama", [near])
    assert set(proxy.served_by(10)) == {near.address}
    write_slice(namespace, "llama-x", "llama", "IPv4", [hinted(near, ZONE), hinted(far, None)])
    proxy.wait_endpoints("llama", [near, far])  # all or nothing
