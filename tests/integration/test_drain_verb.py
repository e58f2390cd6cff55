# SPDX-License-Identifier: Apache-2.0
"""`sluiced drain`: of an endpoint, which gets no new requests, and of the process, with progress;
a second SIGTERM ends at once."""

import signal
import threading
from typing import Any, Iterator, Tuple

import pytest

from lib.config import config, pool
from lib.process import Process
from lib.sluiced import Sluiced, binary, run_cli
from lib.wait import wait_until
from lib.wire import Wait, Wire, answer_bytes, request_bytes

SLOW = dict(drain={"delay": "0s", "timeout": "60s"})


@pytest.fixture
def held(upstream) -> Iterator[Tuple[Any, threading.Event]]:
    """An endpoint that answers when the event is set."""
    event = threading.Event()
    yield upstream([[Wait(event), answer_bytes(b"done")]]), event
    event.set()


def ask(wire: Wire, server: Any) -> None:
    """Sends a request, and waits until it is there."""
    wire.send(request_bytes("GET", "/"))
    wait_until(lambda: server.requests, 10, "the request")


@pytest.fixture
def pair(sluiced, model) -> Tuple[Sluiced, Any, Any]:
    """A proxy with two endpoints."""
    one, two = model("--version", "v1"), model("--version", "v2")
    conf = config({"chat": pool(one.address, two.address, balance="round_robin")}, workers=2)
    return sluiced(conf), one, two


def drain(proxy: Sluiced, *args: str) -> Process:
    """Runs the verb to its end."""
    return run_cli("drain", *args, "--admin", proxy.address("admin"))


def versions(proxy: Sluiced, count: int = 12) -> set:
    """Who answers."""
    return {proxy.get("/version").fields["x-model-version"] for _ in range(count)}


def test_endpoint_gets_no_new_requests_until_undone(pair):
    proxy, one, two = pair
    assert versions(proxy) == {"v1", "v2"}
    result = drain(proxy, one.address)
    assert (result.code, result.stdout) == (0, ["gets no new requests, 0 run there"])
    assert versions(proxy) == {"v2"}
    endpoint = proxy.endpoint("chat", one.address)
    assert endpoint["draining"] is True and endpoint["drained_by_hand"] is True
    assert proxy.endpoint("chat", two.address)["drained_by_hand"] is False
    assert proxy.metric("sluiced_pool_endpoints", state="draining") == 1
    shown = run_cli("endpoints", "--admin", proxy.address("admin"))
    assert [line for line in shown.stdout if one.address in line and "draining (manual)" in line]
    result = drain(proxy, one.address, "--undo")
    assert (result.code, result.stdout) == (0, ["gets requests again"])
    assert versions(proxy) == {"v1", "v2"}
    assert [event["endpoint"] for event in proxy.events("endpoint_drained")] == [one.address]


def test_it_is_kept_over_reloads_and_ends_with_the_endpoint(pair):
    proxy, one, two = pair
    assert drain(proxy, one.address).code == 0
    both = pool(two.address, one.address, balance="least_request", timeouts={"connect": "2s"})
    assert proxy.reload(config({"chat": both}))
    assert versions(proxy) == {"v2"}
    assert proxy.reload(config({"chat": pool(two.address)}))
    assert proxy.reload(config({"chat": both}))
    wait_until(lambda: versions(proxy) == {"v1", "v2"}, 10, "both to be picked", proxy.status)


@pytest.mark.parametrize("queue, reason", [("off", b"no_endpoint"),
                                           ({"timeout": "100ms"}, b"queue_timeout")])
def test_the_last_one_is_drained_too(sluiced, model, queue, reason):
    """Who waits for an endpoint does not get one that is drained, either."""
    one, two = model(), model()
    proxy = sluiced(config({"chat": pool(one.address, two.address, queue=queue)}))
    assert drain(proxy, one.address).code == drain(proxy, two.address).code == 0
    answer = proxy.get("/version")
    assert answer.status == 503 and reason in answer.body


@pytest.mark.parametrize("limits", [{}, {"per_endpoint": 8}])
@pytest.mark.parametrize("balance", ["least_request",
                                     {"policy": "ring_hash", "key": {"source": True}}])
def test_who_waits_for_an_endpoint_is_served_when_a_drain_is_undone(sluiced, model, balance,
                                                                    limits):
    server = model()
    proxy = sluiced(config({"chat": pool(server.address, queue={"timeout": "60s"}, limits=limits,
                                         balance=balance)}, workers=2))
    assert drain(proxy, server.address).code == 0
    wires = [Wire(proxy.address("edge")) for _ in range(8)]
    for wire in wires:
        wire.send(request_bytes("GET", "/version"))
    wait_until(lambda: proxy.metric("sluiced_pool_queued", pool="chat") == len(wires), 10,
               "all to wait", proxy.status)
    assert drain(proxy, server.address, "--undo").code == 0
    for wire in wires:
        assert wire.reader.response().status == 200
        wire.close()
    assert proxy.metric("sluiced_pool_queued", pool="chat") == 0


def test_who_waits_for_room_does_not_get_it_at_a_drained_endpoint(sluiced, upstream, model):
    """The other endpoint is full, and is waited for; the one with room is drained."""
    gate = threading.Event()
    full, other = upstream([[Wait(gate), answer_bytes(b"first")], [answer_bytes(b"second")]]), model()
    proxy = sluiced(config({"chat": pool(full.address, other.address, health="off",
                                         queue={"timeout": "60s"}, limits={"per_endpoint": 1})},
                           workers=1))
    assert drain(proxy, other.address).code == 0
    with Wire(proxy.address("edge")) as first, Wire(proxy.address("edge")) as second:
        ask(first, full)
        second.send(request_bytes("GET", "/"))
        wait_until(lambda: proxy.metric("sluiced_pool_queued", pool="chat") == 1, 10, "the wait",
                   proxy.status)
        gate.set()
        assert first.reader.response().body == b"first"
        assert second.reader.response().body == b"second"
    assert other.state()["requests"] == 0


def test_an_endpoint_that_is_back_from_a_drain_starts_slowly(sluiced, model):
    servers = [model("--version", "v1"), model("--version", "v2")]
    slow = dict(balance="round_robin", slow_start={"window": "1h"})
    proxy = sluiced(config({"chat": pool(*[s.address for s in servers], **slow)}, workers=1))
    assert versions(proxy) == {"v1", "v2"}
    assert drain(proxy, servers[0].address).code == 0
    assert drain(proxy, servers[0].address, "--undo").code == 0
    shares = [proxy.get("/version").fields["x-model-version"] for _ in range(200)].count("v1")
    assert 0 < shares < 40  # a tenth of a half


def test_wait_ends_with_the_last_request_there(sluiced, held):
    server, event = held
    proxy = sluiced(config({"chat": pool(server.address, health="off")}))
    with Wire(proxy.address("edge")) as wire:
        ask(wire, server)
        verb = Process([binary(), "drain", server.address, "--wait", "--admin",
                        proxy.address("admin")])
        wait_until(lambda: verb.stdout == ["gets no new requests, 1 run there"], 10, "the verb",
                   verb.log)
        event.set()
        assert wire.reader.response().status == 200
    assert verb.wait(10) == 0, verb.log()
    assert verb.stdout[-1] == "gets no new requests, 0 run there"


def test_unknown_endpoint_and_wrong_use_are_told(pair):
    proxy, _, _ = pair
    result = drain(proxy, "10.9.9.9:1")
    assert result.code == 1 and "10.9.9.9:1" in result.log()
    assert drain(proxy, "--undo").code == 2
    assert run_cli("drain", "a", "b", "--admin", proxy.address("admin")).code == 2
    assert run_cli("status", "--wait", "--admin", proxy.address("admin")).code == 2
    assert proxy.admin("/drain/endpoint", "POST").status == 400
    assert proxy.status()["draining"] is False


def test_wait_shows_what_is_left_until_the_process_ends(sluiced, held):
    server, event = held
    proxy = sluiced(config({"chat": pool(server.address, health="off")}, **SLOW))
    assert proxy.admin("/drain").json()["draining"] is False
    with Wire(proxy.address("edge")) as wire:
        ask(wire, server)
        verb = Process([binary(), "drain", "--wait", "--admin", proxy.address("admin")])
        wait_until(lambda: "closing: connections inbound 1, outbound 0; requests 1" in verb.stdout,
                   10, "progress", verb.log)
        assert proxy.admin("/drain").json()["timeout_ms"] == 60000
        drain = proxy.status()["drain"]
        assert (drain["closing"], drain["outbound_served"]) == (True, False), drain
        assert (drain["inbound"], drain["outbound"], drain["requests"]) == (1, 0, 1), drain
        event.set()
        assert wire.reader.response().status == 200
    assert verb.wait(10) == 0, verb.log()
    assert verb.stdout[-1] == "ended", verb.log()
    assert proxy.process.wait(10) == 0
    assert proxy.events("drained")[0]["connections_cut"] == 0


@pytest.mark.parametrize("delay", ["0s", "60s"])
def test_second_sigterm_ends_at_once(sluiced, held, delay):
    server, _ = held
    proxy = sluiced(config({"chat": pool(server.address, health="off")},
                           drain={"delay": delay, "timeout": "600s"}))
    with Wire(proxy.address("edge")) as wire:
        ask(wire, server)
        # A preStop hook may have asked before: that is no first SIGTERM.
        assert proxy.admin("/drain", "POST").status == 200
        proxy.process.signal(signal.SIGTERM)
        wait_until(lambda: proxy.admin("/drain").json()["draining"], 5, "the drain", proxy.log)
        assert proxy.process.running()
        proxy.process.signal(signal.SIGTERM)
        assert proxy.process.wait(5) == 0, proxy.log()
    assert proxy.events("drained")[0]["connections_cut"] == 1
    assert proxy.access_log()[0]["reason"] == "drained"
