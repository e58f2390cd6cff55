# SPDX-License-Identifier: Apache-2.0
"""Pools that prefer the zone where we run, which the API server tells: what it says of zones, and
what becomes of the requests when it does not say.
"""

import pytest
from cluster import NODE, ZONE
from process import eventually

V1 = {"app": "llama", "version": "v1"}
AUTO = {"prefer_zone": "auto"}
SLICE = "discovery.k8s.io/v1"


def pool(namespace, service="llama", **options):
    source = {"namespace": namespace.name, "service": service, "port": "http"}
    return {"discover": {"kubernetes": source}, **options}


@pytest.fixture
def away(cluster):
    """A node of another zone."""
    cluster.node("node-away", "zone-b")
    return "node-away"


@pytest.fixture
def start(cluster, namespace, start_sluiced, tmp_path):
    """Starts sluiced on a node, as the downward API tells it, or with what kubernetes says."""
    account = namespace.service_account(tmp_path / "account")

    def begin(node=NODE, **config):
        kubernetes = {"service_account": str(account.directory), "zone": "auto"}
        kubernetes.update(config.pop("kubernetes", {}))
        env = {k: v for k, v in cluster.environment().items() if k != "NODE_NAME"}
        if node:
            env["NODE_NAME"] = node
        return start_sluiced(
            kubernetes={k: v for k, v in kubernetes.items() if v}, env=env, **config
        )

    return begin


def zone_of(proxy, name="llama"):
    return proxy.pool(name)["own_zone"]


def wait_zone(proxy, zone, name="llama"):
    eventually(lambda: zone_of(proxy, name) == zone, lambda: f"not in {zone}: {proxy.pool(name)}", 20)


def two(namespace, fleet, away):
    """A service with a pod in our zone and one in the other, as the controllers say it."""
    namespace.service("llama", {"app": "llama"})
    return fleet.start("near", V1), fleet.start("far", V1, node=away)


def test_requests_stay_in_our_zone_and_leave_with_its_last_pod(
    cluster, namespace, fleet, start, away
):
    cluster.read_all(namespace)
    near, far = two(namespace, fleet, away)
    proxy = start(pools={"llama": pool(namespace, **AUTO)})
    proxy.wait_endpoints("llama", [near, far])
    wait_zone(proxy, ZONE)
    assert {e["zone"] for e in proxy.pool("llama")["endpoints"]} == {ZONE, "zone-b"}
    assert set(proxy.served_by(20)) == {near.address}
    namespace.set_ready("near", False)
    proxy.wait_endpoints("llama", [far])
    assert set(proxy.served_by(20)) == {far.address}
    namespace.set_ready("near", True)
    proxy.wait_endpoints("llama", [near, far])
    assert set(proxy.served_by(20)) == {near.address}
    assert proxy.metric("sluiced_pool_picks_own_zone_total", pool="llama") == 40
    assert proxy.metric("sluiced_pool_picks_other_zone_total", pool="llama") == 20


def test_a_node_that_is_named_is_as_good_as_auto(cluster, namespace, fleet, start, away):
    cluster.read_all(namespace)
    near, far = two(namespace, fleet, away)
    proxy = start(
        node=None,
        kubernetes={"zone": None, "node": away},
        pools={"llama": pool(namespace, **AUTO)},
    )
    proxy.wait_endpoints("llama", [near, far])
    wait_zone(proxy, "zone-b")
    assert set(proxy.served_by(20)) == {far.address}


def test_hints_say_nothing_to_a_pool_that_prefers_a_zone(cluster, namespace, fleet, start):
    """The one in our zone is hinted for the other one, and the other way round. Without
    prefer_zone hints count, with it zones do; a reload changes from one to the other."""
    cluster.read_all(namespace)
    near, far = fleet.start("near", V1), fleet.start("far", V1)

    def endpoint(pod, zone, hint):
        hints = {"forZones": [{"name": hint}]}
        return {"addresses": [pod.ip], "conditions": {"ready": True}, "zone": zone, "hints": hints}

    labels = {"kubernetes.io/service-name": "llama", "endpointslice.kubernetes.io/managed-by": "me"}
    document = {
        "apiVersion": SLICE,
        "kind": "EndpointSlice",
        "metadata": {"name": "llama-x", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [endpoint(near, ZONE, "zone-b"), endpoint(far, "zone-b", ZONE)],
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
    }
    cluster.apply(document, namespace.name)
    proxy = start(pools={"llama": pool(namespace)})
    proxy.wait_endpoints("llama", [far])
    assert set(proxy.served_by(10)) == {far.address}
    proxy.reconfigure(pools={"llama": pool(namespace, **AUTO)})
    proxy.wait_endpoints("llama", [near, far])
    wait_zone(proxy, ZONE)
    assert set(proxy.served_by(20)) == {near.address}
    proxy.reconfigure(pools={"llama": pool(namespace)})
    proxy.wait_endpoints("llama", [far])
    assert set(proxy.served_by(10)) == {far.address}


def test_without_the_right_to_read_nodes_all_zones_serve_until_it_is_granted(
    cluster, namespace, fleet, start, away
):
    near, far = two(namespace, fleet, away)
    namespace.service("other", {"app": "llama"})
    pools = {"llama": pool(namespace, **AUTO), "other": pool(namespace, "other", **AUTO)}
    proxy = start(pools=pools)
    proxy.wait_endpoints("llama", [near, far])
    eventually(lambda: proxy.pool("llama")["discovery"]["last_error"], "no error is shown", 10)
    assert "node node-1: status 403" in proxy.pool("other")["discovery"]["last_error"]
    assert set(proxy.served_by(40)) == {near.address, far.address}
    assert zone_of(proxy) == ""
    assert proxy.ready()
    cluster.read_all(namespace)
    wait_zone(proxy, ZONE)
    wait_zone(proxy, ZONE, "other")
    assert set(proxy.served_by(20)) == {near.address}
    assert proxy.pool("llama")["discovery"]["last_error"] == ""
    # Of all pools, and of all times that it was asked: the first alone.
    assert len(warnings(proxy)) == 1, warnings(proxy)


def warnings(proxy):
    return [r for r in proxy.events("discovery_zone_unknown") if r["level"] == "warn"]


def test_without_the_name_of_our_node_all_zones_serve_and_it_is_told(
    cluster, namespace, fleet, start, away
):
    cluster.read_all(namespace)
    near, far = two(namespace, fleet, away)
    namespace.service("other", {"app": "llama"})
    proxy = start(
        node=None,
        pools={"llama": pool(namespace, **AUTO), "other": pool(namespace, "other", **AUTO)},
    )
    proxy.wait_endpoints("llama", [near, far])
    assert set(proxy.served_by(40)) == {near.address, far.address}
    for name in ("llama", "other"):
        assert "NODE_NAME" in proxy.pool(name)["discovery"]["last_error"]
    assert len(warnings(proxy)) == 1, warnings(proxy)


def test_a_node_that_gets_its_zone_later(cluster, namespace, fleet, start, away):
    """As one that a cloud's controller has not seen yet. A pool that lists its endpoints itself
    goes by what the other one learns."""
    cluster.read_all(namespace)
    cluster.node("node-new")
    near, far = two(namespace, fleet, away)
    listed = [{"address": p.address, "zone": z} for p, z in ((near, "a"), (far, "zone-b"))]
    proxy = start(
        node="node-new",
        pools={
            "llama": pool(namespace, **AUTO),
            "listed": {"discover": {"static": listed}, **AUTO},
        },
        routes=[{"name": "all", "match": {"path": "/"}, "pool": "listed"}],
    )
    proxy.wait_endpoints("llama", [near, far])
    eventually(lambda: warnings(proxy), "nothing is told", 10)
    assert "no label" in proxy.pool("llama")["discovery"]["last_error"]
    assert set(proxy.served_by(40)) == {near.address, far.address}
    cluster.node("node-new", "zone-b")
    wait_zone(proxy, "zone-b")
    wait_zone(proxy, "zone-b", "listed")
    assert set(proxy.served_by(20)) == {far.address}


def test_a_node_named_by_a_reload_is_ours_from_then_on(cluster, namespace, fleet, start, away):
    """Also where its zone is not known, as that of the one before was."""
    cluster.read_all(namespace)
    cluster.node("node-bare")
    near, far = two(namespace, fleet, away)
    pools = {"llama": pool(namespace, **AUTO)}
    proxy = start(node=None, kubernetes={"zone": None, "node": away}, pools=pools)
    proxy.wait_endpoints("llama", [near, far])
    wait_zone(proxy, "zone-b")
    proxy.kubernetes["node"] = "node-bare"
    proxy.reconfigure(pools=pools)
    wait_zone(proxy, "")
    assert set(proxy.served_by(40)) == {near.address, far.address}
    proxy.kubernetes["node"] = NODE
    proxy.reconfigure(pools=pools)
    wait_zone(proxy, ZONE)
    assert set(proxy.served_by(20)) == {near.address}


def test_a_zone_learned_late_takes_nothing_from_a_pool_that_waits_for_its_source(
    cluster, namespace, fleet, start, away, tmp_path
):
    """It goes on with the endpoints of the source before: the new one has found none yet."""
    cluster.read_all(namespace)
    cluster.node("node-late")
    near, far = two(namespace, fleet, away)
    found = {"llama": pool(namespace, **AUTO)}
    listed = {"discover": {"static": [{"address": near.address, "zone": ZONE}]}, **AUTO}
    routes = [{"name": "all", "match": {"path": "/"}, "pool": "listed"}]
    proxy = start(node="node-late", pools={**found, "listed": listed}, routes=routes)
    proxy.wait_endpoints("llama", [near, far])
    listed = {"discover": {"file": str(tmp_path / "missing.json")}, **AUTO}
    proxy.reconfigure(timeout=30, pools={**found, "listed": listed}, routes=routes)
    assert set(proxy.served_by(4)) == {near.address}
    cluster.node("node-late", "zone-b")
    wait_zone(proxy, "zone-b")
    assert set(proxy.served_by(4)) == {near.address}
