# SPDX-License-Identifier: Apache-2.0
"""Limits, queues, retries and fallbacks where they meet: what a review found."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from lib.config import config, pool, route
from lib.sluiced import Sluiced, named
from lib.wait import wait_until
from lib.wire import Message, Wait, Wire, answer_bytes, request_bytes

WAITING_N = 64
WATCHED_S = 1.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event that is set at the end, whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def queue(**options: Any) -> Dict[str, Any]:
    """One in which nobody's time runs out; its own map, for a file has no anchors."""
    return {"timeout": "60s", **options}


# ---- Between workers


def cpu_s(proxy: Sluiced) -> float:
    """What the process has used of the CPUs so far."""
    with open(f"/proc/{proxy.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("pools_n, limit", [(1, "connections"), (8, "in_flight")])
def test_workers_whose_requests_wait_do_not_keep_each_other_awake(sluiced, upstream, wires, gate,
                                                                  pools_n, limit):
    """Workers tell each other whose turn it is, and ask for connections; with nothing to give they
    did so for ever, as fast as they could."""
    server = upstream([[Wait(gate), answer_bytes()]])
    names = [f"pool{n}" for n in range(pools_n)]
    proxy = sluiced(config(
        {name: pool(server.address, health="off", limits={limit: 1}, queue=queue())
         for name in names},
        [route(name, f"/{name}", name) for name in names], workers=4))
    for n in range(WAITING_N + pools_n):
        wires(proxy).send(request_bytes("GET", f"/{names[n % pools_n]}"))
    wait_until(lambda: proxy.metric("sluiced_pool_queued") == WAITING_N, 10, "all to wait",
               proxy.status)
    used, began = cpu_s(proxy), time.monotonic()
    wait_until(lambda: time.monotonic() - began > WATCHED_S, 2 * WATCHED_S, "some time to pass")
    assert cpu_s(proxy) - used < 0.5 * (time.monotonic() - began)


# ---- Fallbacks


def listed(path: Path, *endpoints: Any) -> None:
    """Replaces a file of endpoints in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps({"endpoints": list(endpoints)}))
    os.replace(fresh, path)


def expect_queued(proxy: Sluiced, **pools: int) -> None:
    """Waits until so many requests are in the queues of these pools."""
    for name, count in pools.items():
        wait_until(lambda name=name, count=count:
                   proxy.metric("sluiced_pool_queued", pool=name) == count, 10,
                   f"{count} to wait at {name}", proxy.status)


def test_who_waited_at_a_pool_that_is_gone_goes_before_who_comes_now(sluiced, upstream, wires,
                                                                    tmp_path):
    """The fallback has one place; while it was taken, those that came later waited for it, and
    those of before, in the queue of the pool that has nobody any more, were never asked again."""
    gates = {name: threading.Event() for name in ("/main", "/taken")}
    script = lambda r: [*([Wait(gates[r.target])] if r.target in gates else []), answer_bytes()]
    main, spare = upstream(script), upstream(script)
    path = tmp_path / "endpoints.json"
    listed(path, main.address)
    proxy = sluiced(config({
        "chat": {"discover": {"file": str(path)}, "fallback": "spare", "health": "off",
                 "limits": {"per_endpoint": 1}, "queue": queue()},
        "spare": pool(spare.address, health="off", limits={"per_endpoint": 1}, queue=queue()),
    }, [route("spare", "/taken", "spare"), route("chat")], workers=1))
    asked = []
    for target, queued in (("/taken", {}), ("/main", {}), ("/1", {"chat": 1}), ("/2", {"chat": 2})):
        asked.append(wires(proxy))
        asked[-1].send(request_bytes("GET", target))
        if target in gates:
            wait_until(lambda: target in [r.target for r in main.requests + spare.requests], 10,
                       target)
        expect_queued(proxy, **queued)
    listed(path)  # main is gone
    wait_until(lambda: not named(proxy.status()["pools"], "chat")["endpoints"], 10, "it to go")
    for n in (3, 4):
        asked.append(wires(proxy))
        asked[-1].send(request_bytes("GET", f"/{n}"))
        wait_until(lambda n=n: proxy.metric("sluiced_pool_queued") == n, 10, "it to wait")
    gates["/taken"].set()
    gates["/main"].set()
    for wire in asked:
        assert wire.reader.response().status == 200
    assert [r.target for r in spare.requests] == ["/taken", "/1", "/2", "/3", "/4"]
    expect_queued(proxy, chat=0, spare=0)


# ---- Retries


def test_503_of_our_own_does_not_deny_a_generation_that_was_begun(sluiced, upstream, tmp_path):
    """503 with Retry-After says that nothing was done: a proxy before us would send it again."""
    busy = upstream([answer_bytes(b"no", "500 Trouble")])
    other = upstream([answer_bytes()])
    path = tmp_path / "endpoints.json"
    listed(path, busy.address, other.address)
    proxy = sluiced(config(
        {"chat": {"discover": {"file": str(path)}, "health": "off", "balance": "round_robin"}},
        [route("chat", replay="generation",
               retry={"statuses": 500, "backoff": {"min": "1s", "max": "1s"}})], workers=1))

    def ask(method: str) -> Message:
        """The other endpoint goes during the back-off: if that was too short, again."""
        for _ in range(30):
            listed(path, busy.address, other.address)
            wait_until(lambda: len(proxy.status()["pools"][0]["endpoints"]) == 2, 10, "both")
            with Wire(proxy.address("edge")) as wire:
                before = len(busy.requests) + len(other.requests)
                wire.send(request_bytes(method, "/", b"x"))
                wait_until(lambda: len(busy.requests) + len(other.requests) > before, 10, "it")
                listed(path, busy.address)
                answer = wire.reader.response()
                if answer.status == 503:
                    return answer
        raise AssertionError("the other endpoint never went in time")

    assert ask("POST").get("retry-after") is None
    assert ask("PUT").get("retry-after") == "1"  # to be sent again by anybody
