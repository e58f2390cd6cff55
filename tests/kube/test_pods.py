# SPDX-License-Identifier: Apache-2.0
"""Pods that are replaced, scaled and flipped under load, closing as a server does at SIGTERM: no
request fails, and how long a pod is still picked after the API has said no is printed.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flood import Flood
from lengths import FLIPS, MANY, PODS
from process import eventually
from sluiced import route

LABELS = {"app": "llama", "version": "v1"}
LOAD = {"clients": 30, "rate": 300, "streams": 20, "seconds": 600}
# A server that closes a connection just as a POST is sent on it: only who says that it may be sent
# again can have it sent again.
REPLAY = {"replay": "generation"}
QUIET_S = 0.3  # a preStop hook that waits until requests stop to come
FLOOD_RATE = 200
FLOOD_PODS = 10


@pytest.fixture
def say(capsys):
    """Prints a figure where it is seen."""

    def line(text):
        with capsys.disabled():
            print(f"\n{text}")

    return line


def start(namespace, crew, start_sluiced, count, **more):
    """So many pods of one service, and a proxy that knows them; more is of its one route."""
    namespace.service("llama", LABELS)
    pods = [crew.start(f"llama-{i}", LABELS) for i in range(count)]
    source = {"namespace": namespace.name, "service": "llama", "port": "http"}
    proxy = start_sluiced(
        pools={"llama": {"discover": {"kubernetes": source}}},
        routes=[{**route("llama")[0], **more}],
        log={"level": "info", "access": "off"},
    )
    proxy.wait_endpoints("llama", pods)
    return pods, proxy


def in_ms(late_s):
    """Median and maximum."""
    late_ms = [1000 * s for s in late_s]
    median = statistics.median(late_ms)
    return f"median {median:.1f} ms, max {max(late_ms):.1f} ms, n={len(late_ms)}"


def put_to_the_end(load):
    """Stops the load, of which nothing has failed."""
    report = load.stop()
    assert report.failures == [], str(report)
    assert report.requests > 300 and report.streams > 20, str(report)
    return report


@pytest.mark.parametrize("pre_stop", [QUIET_S, 0.0], ids=["hook", "no-hook"])
def test_pods_replaced_one_by_one_cost_no_request(
    namespace, crew, start_sluiced, start_load, say, pre_stop
):
    """Without a hook a server stops to listen in the same moment in which the API is told."""
    pods, proxy = start(namespace, crew, start_sluiced, PODS, **({} if pre_stop else REPLAY))
    load = start_load(proxy.address(), **LOAD)
    eventually(lambda: load.report.streams >= 20, "streams end", 20)
    late_s = []
    for number, old in enumerate(list(pods)):  # as a Deployment with maxSurge 1, maxUnavailable 0
        pods.append(crew.start(f"new-{number}", LABELS))
        pods.remove(old)
        late_s.append(crew.retire(old.name, pre_stop))
    proxy.wait_endpoints("llama", pods)
    report = put_to_the_end(load)
    say(f"{PODS} pods replaced, preStop {pre_stop} s; last wrong pick: {in_ms(late_s)}; {report}")


def flip(namespace, crew, load, pod):
    """Unready, and ready again; returns how long after the patch a request still came."""
    seen = crew.state(pod)["requests"]
    eventually(lambda: crew.state(pod)["requests"] > seen + 3, f"{pod.name} is not used", 20)
    namespace.set_ready(pod.name, False)
    patched_at = time.monotonic()
    last_at = crew.quiet(pod, QUIET_S)
    assert not load.report.failures, str(load.report)
    namespace.set_ready(pod.name, True)
    return max(0.0, last_at - patched_at)


@pytest.mark.parametrize("flood", [0, FLOOD_RATE])
def test_pods_that_turn_unready_cost_no_request(
    namespace, crew, start_sluiced, start_load, say, flood
):
    pods, proxy = start(namespace, crew, start_sluiced, 3 + (FLOOD_PODS if flood else 0))
    load = start_load(proxy.address(), **LOAD)
    chosen, others = pods[:2], [pod.name for pod in pods[3:]]
    flips = 0
    if flood:
        with Flood(namespace, others, flood) as running:
            began = time.monotonic()
            late_s = [flip(namespace, crew, load, chosen[i % 2]) for i in range(FLIPS)]
            took_s = time.monotonic() - began
        flips = running.flips / took_s
        for name in others:
            namespace.set_ready(name, True)
    else:
        late_s = [flip(namespace, crew, load, chosen[i % 2]) for i in range(FLIPS)]
    proxy.wait_endpoints("llama", pods)
    report = put_to_the_end(load)
    say(
        f"{FLIPS} flips, {flips:.0f}/s on {len(others)} other pods of the service; "
        f"last wrong pick: {in_ms(late_s)}; p99 {report.quantile_ms(0.99):.1f} ms; {report}"
    )


def test_a_service_scaled_up_and_down_costs_no_request(
    namespace, crew, start_sluiced, start_load, say
):
    pods, proxy = start(namespace, crew, start_sluiced, 2)
    load = start_load(proxy.address(), **LOAD)
    eventually(lambda: load.report.streams >= 20, "streams end", 20)
    more = [crew.start(f"more-{i}", LABELS) for i in range(MANY - 2)]
    began = time.monotonic()
    proxy.wait_endpoints("llama", pods + more)
    up_s = time.monotonic() - began
    eventually(
        lambda: all(crew.state(pod)["requests"] for pod in more), "some get no request", 30
    )
    with ThreadPoolExecutor(8) as pool:
        late_s = list(pool.map(lambda pod: crew.retire(pod.name, QUIET_S), more))
    proxy.wait_endpoints("llama", pods)
    report = put_to_the_end(load)
    say(
        f"2 to {MANY} to 2 pods: all known {up_s:.2f} s after the last was made; last wrong pick: "
        f"{in_ms(late_s)}; p99 {report.quantile_ms(0.99):.1f} ms; {report}"
    )
