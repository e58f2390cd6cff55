# SPDX-License-Identifier: Apache-2.0
"""Changes under load: every pod replaced, weights shifted, and not one request lost."""

import statistics
import time

import pytest
from process import eventually
from sluiced import route

PACE = ["--token-rate", "20"]  # a stream of 20 tokens takes a second


def pools(namespace, **extra):
    source = {"namespace": namespace.name, "service": "llama", "port": "http", **extra}
    return {"llama": {"discover": {"kubernetes": source}}}


def versions(namespace):
    """Two pools, one for each version of the pods of one service."""
    return {v: pools(namespace, pods=f"version={v}")["llama"] for v in ("v1", "v2")}


def labels(version):
    return {"app": "llama", "version": version}


def split(v1, v2):
    return route(split={"v1": v1, "v2": v2})


@pytest.fixture
def two_versions(namespace, fleet):
    """Two pods of each of two versions behind one service."""
    namespace.service("llama", {"app": "llama"})
    return {
        v: [fleet.start(f"llama-{v}-{i}", labels(v), v) for i in range(2)] for v in ("v1", "v2")
    }


def test_every_pod_is_replaced_under_load_and_no_request_fails(
    namespace, fleet, start_sluiced, start_load
):
    namespace.service("llama", {"app": "llama"})
    pods = [fleet.start(f"old-{i}", labels("v1"), "v1", options=PACE) for i in range(4)]
    proxy = start_sluiced(pools=pools(namespace))
    proxy.wait_endpoints("llama", pods)
    load = start_load(proxy.address(), clients=8, streams=20, seconds=90)
    eventually(lambda: sum(pod.state()["running"] for pod in pods) >= 20, "20 streams are open", 10)
    for number, old in enumerate(list(pods)):  # as a Deployment with maxSurge 1, maxUnavailable 0
        new = fleet.start(f"new-{number}", labels("v2"), "v2", options=PACE)
        pods.append(new)
        proxy.wait_endpoints("llama", pods)
        pods.remove(old)
        fleet.retire(old.name)
        assert old.state_before_end["aborted"] == 0
    proxy.wait_endpoints("llama", pods)
    seen_before = load.report.versions["v2"]
    eventually(lambda: load.report.versions["v2"] > seen_before + 50, "the new pods serve", 10)
    report = load.stop()
    assert report.failures == [], str(report)
    assert report.streams >= 20 and report.requests > 100, str(report)
    assert set(report.served) >= {pod.address for pod in pods}


def test_weights_edited_in_a_config_map_split_exactly(
    namespace, two_versions, start_sluiced, start_load
):
    proxy = start_sluiced(pools=versions(namespace), routes=split(90, 10))
    for version, pods in two_versions.items():
        proxy.wait_endpoints(version, pods)
    for v1, v2 in ((90, 10), (50, 50), (0, 100)):
        if (v1, v2) != (90, 10):
            proxy.reconfigure(pools=versions(namespace), routes=split(v1, v2))
        report = start_load(proxy.address(), clients=4, count=200).join()
        assert report.failures == [], str(report)
        assert (report.versions["v1"], report.versions["v2"]) == (2 * v1, 2 * v2), str(report)


def test_weights_shifted_under_load_lose_no_request_and_no_stream(
    namespace, fleet, start_sluiced, start_load
):
    namespace.service("llama", {"app": "llama"})
    for version in ("v1", "v2"):
        fleet.start(f"llama-{version}", labels(version), version, options=PACE)
    proxy = start_sluiced(pools=versions(namespace), routes=split(90, 10))
    for version in ("v1", "v2"):
        proxy.wait_endpoints(version, [fleet.pods[f"llama-{version}"]])
    load = start_load(proxy.address(), clients=8, streams=20, seconds=60)
    eventually(lambda: fleet.pods["llama-v1"].state()["running"] >= 10, "streams are open", 10)
    for v1, v2 in ((50, 50), (0, 100)):
        proxy.reconfigure(pools=versions(namespace), routes=split(v1, v2))
        now = load.report.requests
        eventually(lambda begun=now: load.report.requests > begun + 200, "requests go on", 20)
    report = load.stop()
    assert report.failures == [], str(report)
    idle = fleet.pods["llama-v1"].state()
    assert idle["running"] == 0 and idle["aborted"] == 0
    assert proxy.served_by(20) == {fleet.pods["llama-v2"].address: 20}


def test_a_config_that_is_wrong_changes_nothing(namespace, two_versions, start_sluiced, start_load):
    proxy = start_sluiced(pools=versions(namespace), routes=split(100, 0))
    for version, pods in two_versions.items():
        proxy.wait_endpoints(version, pods)
    before = proxy.status()["generation"]
    load = start_load(proxy.address(), clients=2, seconds=30)
    proxy.configure(pools=versions(namespace), routes=route("no-such-pool"))
    eventually(lambda: "no-such-pool" in proxy.process.log.read_text(), "the error is logged", 10)
    report = load.stop()
    assert report.failures == [] and report.versions["v2"] == 0, str(report)
    assert proxy.status()["generation"] == before
    proxy.reconfigure(pools=versions(namespace), routes=split(0, 100))
    assert set(proxy.served_by(10)) == {pod.address for pod in two_versions["v2"]}


def update_time(proxy, pool):
    """What sluiced itself measured, as the bucket that holds 99 % of the updates."""
    name = "sluiced_pool_update_seconds"
    count = proxy.metric(f"{name}_count", pool=pool)
    bounds = ("0.00025", "0.0005", "0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064")
    under = [b for b in bounds if proxy.metric(f"{name}_bucket", pool=pool, le=b) >= 0.99 * count]
    bound = f"{float(under[0]) * 1000:g} ms" if under else "over 64 ms"
    mean_ms = proxy.metric(f"{name}_sum", pool=pool) / count * 1000
    return f"mean {mean_ms:.2f} ms, p99 within {bound}, n={count:g}"


def test_how_long_a_pod_that_turned_unready_still_gets_requests(
    namespace, fleet, start_sluiced, capsys, start_load
):
    """Prints the time from the end of the status patch to the last answer of the pod."""
    namespace.service("llama", {"app": "llama"})
    pods = [fleet.start(f"llama-{i}", labels("v1")) for i in range(2)]
    proxy = start_sluiced(pools=pools(namespace))
    proxy.wait_endpoints("llama", pods)
    load = start_load(proxy.address(), clients=4, seconds=120)
    old = pods[0]
    took_ms = []
    for _ in range(30):
        before = load.report.served[old.address]
        eventually(
            lambda seen=before: load.report.served[old.address] > seen + 5, "the pod is in use"
        )
        namespace.set_ready(old.name, False)
        patched = time.monotonic()
        eventually(
            lambda: time.monotonic() - load.report.last_served[old.address] > 0.2, "still in use"
        )
        took_ms.append(max(0.0, load.report.last_served[old.address] - patched) * 1000)
        namespace.set_ready(old.name, True)
    report = load.stop()
    assert report.failures == [], str(report)
    p50, p99 = (
        statistics.median(took_ms),
        statistics.quantiles(took_ms, n=100, method="inclusive")[98],
    )
    with capsys.disabled():
        print(
            f"\nunready patch to last answer of the pod: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"n={len(took_ms)}; {report}\n"
            "watch event readable to every worker picking from the new set: "
            + update_time(proxy, "llama")
        )
