# SPDX-License-Identifier: Apache-2.0
"""Limits of a pool on connections, retries and bytes that wait (those on requests: test_queue.py)."""

import json
import ssl
import threading
from typing import Any, Dict, List

import pytest

from lib.config import config, pool
from lib.sluiced import Sluiced, run_cli
from lib.wait import wait_until
from lib.wire import Close, Message, RawUpstream, Wait, Wire, answer_bytes, request_bytes

KIB = 1024
LONG = {"timeout": "60s"}
CLIENTS_N = 24
ROUNDS_N = 20


class Gate:
    """An upstream that answers a request for /hold when it is told to, and others at once."""

    def __init__(self, upstream: Any) -> None:
        self.let_go = threading.Event()
        self.came: List[str] = []
        self.server = upstream(self._script)
        self.address = self.server.address

    def _script(self, request: Message) -> List[Any]:
        self.came.append(request.target)
        held = request.target.startswith("/hold")
        return [Wait(self.let_go), answer_bytes()] if held else [answer_bytes()]

    def has(self, count: int) -> None:
        """Waits until so many requests have come."""
        wait_until(lambda: len(self.came) == count, 10, f"{count} requests", lambda: self.came)


@pytest.fixture
def gate(upstream: Any) -> Gate:
    """One of them."""
    return Gate(upstream)


def ask(proxy: Sluiced, wires: Any, target: str, method: str = "GET", **options: Any) -> Wire:
    """A request on a connection of its own, which is not waited for."""
    wire = wires(proxy)
    wire.send(request_bytes(method, target, **options))
    return wire


def limited(addresses: List[str], limits: Dict[str, int], workers: int = 1,
            **options: Any) -> Any:
    """One pool "chat" within limits."""
    options.setdefault("queue", LONG)
    return config({"chat": pool(*addresses, health="off", balance="round_robin", limits=limits,
                                **options)}, workers=workers)


def of_pool(proxy: Sluiced) -> Dict[str, Any]:
    """What /status says of it."""
    return proxy.status()["pools"][0]


def expect(proxy: Sluiced, **values: int) -> None:
    """Waits until /status says so of the pool."""
    wait_until(lambda: all(of_pool(proxy)[key] == value for key, value in values.items()), 10,
               str(values), lambda: of_pool(proxy))


def opened(server: RawUpstream) -> int:
    """Connections that have brought it a request."""
    return max(server.connections_of, default=0)


def reason_of(answer: Message) -> str:
    """Why we answered ourselves."""
    return str(json.loads(answer.body)["error"]["reason"])


# ---- Connections


def test_no_more_connections_than_the_limit_and_who_waits_is_served(sluiced, gate, wires):
    proxy = sluiced(limited([gate.address], {"connections": 2}))
    running = [ask(proxy, wires, f"/hold/{i}") for i in range(2)]
    gate.has(2)
    waiting = [ask(proxy, wires, f"/next/{i}") for i in range(3)]
    expect(proxy, connections=2, connections_max=2, queued=3)
    assert opened(gate.server) == 2
    assert proxy.metric("sluiced_pool_connections", pool="chat") == 2
    assert proxy.metric("sluiced_endpoint_connections", pool="chat") == 2
    assert proxy.metric("sluiced_pool_connection_waits_total", pool="chat") > 0
    assert "limits of chat: 2 of 2 connections" in "\n".join(run_cli("status", "--admin", proxy.address("admin")).stdout)
    gate.let_go.set()
    for wire in running + waiting:
        assert wire.reader.response().status == 200
    assert opened(gate.server) == 2, "those that there were are used again"
    expect(proxy, connections=2, queued=0)


def test_an_idle_connection_to_another_endpoint_makes_way(sluiced, upstream, gate, wires):
    other = upstream([[answer_bytes()]] * 3)
    proxy = sluiced(limited([gate.address, other.address], {"connections": 1},
                            timeouts={"keepalive_idle": "60s"}))
    wire = wires(proxy)
    for _ in range(4):  # by turns: each needs the one place
        wire.send(request_bytes("GET", "/"))
        assert wire.reader.response().status == 200
    assert of_pool(proxy)["connections"] == 1
    assert proxy.metric("sluiced_pool_idle_closed_total", pool="chat") == 3
    assert opened(gate.server) + opened(other) == 4


def test_each_endpoint_has_its_own_limit(sluiced, upstream, gate, wires):
    second = Gate(upstream)
    proxy = sluiced(limited([gate.address, second.address], {"connections_per_endpoint": 1}))
    running = [ask(proxy, wires, f"/hold/{i}") for i in range(2)]
    gate.has(1)
    second.has(1)
    waiting = ask(proxy, wires, "/hold/3")
    expect(proxy, connections=2, connections_per_endpoint_max=1, queued=1)
    second.let_go.set()
    second.has(2)  # who has an idle connection gets it
    gate.let_go.set()
    for wire in running + [waiting]:
        assert wire.reader.response().status == 200
    assert (opened(gate.server), opened(second.server)) == (1, 1)


def test_idle_connections_of_another_worker_make_way(sluiced, gate, wires):
    proxy = sluiced(limited([gate.address], {"connections": 1}, workers=2,
                            timeouts={"keepalive_idle": "1h"}))
    for _ in range(CLIENTS_N):  # on whatever worker; the other one's idle connection is in the way
        wire = ask(proxy, wires, "/")
        assert wire.reader.response().status == 200
    assert of_pool(proxy)["connections"] == 1
    assert opened(gate.server) > 1, "all clients came to the same worker"


def test_an_upgrade_takes_the_place_of_an_idle_connection(sluiced, upstream, wires):
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    server = upstream(lambda request: [switched if request.get("upgrade") else answer_bytes()])
    proxy = sluiced(limited([server.address], {"connections": 1}))
    wire = wires(proxy)
    wire.send(request_bytes("GET", "/"))
    assert wire.reader.response().status == 200
    wire.send(request_bytes("GET", "/", fields=[("Connection", "upgrade"), ("Upgrade", "x")]))
    assert wire.reader.response().status == 101
    assert opened(server) == 2
    assert of_pool(proxy)["connections"] == 1


def test_a_limit_that_comes_with_a_reload_knows_what_is_open(sluiced, gate, wires):
    proxy = sluiced(limited([gate.address], {}))
    running = [ask(proxy, wires, f"/hold/{i}") for i in range(3)]
    gate.has(3)
    proxy.reload(limited([gate.address], {"connections": 3}))
    waiting = ask(proxy, wires, "/next")
    expect(proxy, connections=3, queued=1)
    proxy.reload(limited([gate.address], {"connections": 4}))
    assert waiting.reader.response().status == 200  # with the limits that it came with, or with these
    gate.let_go.set()
    for wire in running:
        assert wire.reader.response().status == 200


def test_a_connection_with_a_certificate_of_before_takes_its_place_along(sluiced, upstream, ca, wires):
    leaf, ours = ca.issue("model", ips=["127.0.0.1"]), [ca.issue("one"), ca.issue("two")]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.cert, leaf.key)
    gate = Gate(lambda script: upstream(script, tls=context))
    confs = [limited([gate.address], {"connections": 2}, timeouts={"keepalive_idle": "60s"},
                     tls={"ca": ca.path, "cert": one.cert, "key": one.key}) for one in ours]
    proxy = sluiced(confs[0])
    before = ask(proxy, wires, "/hold")
    gate.has(1)
    assert proxy.reload(confs[1])
    assert proxy.get("/").status == 200
    gate.let_go.set()
    assert before.reader.response().status == 200
    expect(proxy, connections=2)  # idle, and the one that may not be used again was so last
    assert proxy.get("/").status == 200
    assert of_pool(proxy)["connections"] == 1
    assert opened(gate.server) == 2


def test_many_clients_never_open_more_than_the_limit(sluiced, upstream):
    servers = [upstream(lambda request: [answer_bytes()]) for _ in range(3)]
    proxy = sluiced(limited([s.address for s in servers], {"connections": 4}, workers=2))
    statuses: List[int] = []

    def client() -> None:
        for i in range(ROUNDS_N):
            with Wire(proxy.address("edge")) as wire:
                wire.send(request_bytes("GET", f"/{i}"))
                statuses.append(wire.reader.response().status)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS_N)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, of_pool(proxy)["connections"])
    for thread in threads:
        thread.join()
    assert statuses == [200] * (CLIENTS_N * ROUNDS_N)
    assert 0 < most <= 4, most
    expect(proxy, queued=0, places=0)


# ---- Retries


def test_no_more_retries_run_than_the_limit(sluiced, upstream, wires):
    let_go = threading.Event()
    seen: List[str] = []

    def script(request: Message) -> List[Any]:
        """Each request fails once."""
        seen.append(request.target)
        if seen.count(request.target) == 1:
            return [Close(reset=True)]
        return [Wait(let_go), answer_bytes()] if request.target == "/hold" else [answer_bytes()]

    servers = [upstream(script) for _ in range(2)]
    proxy = sluiced(config({"chat": pool(*(s.address for s in servers), health="off",
                                         limits={"retries": 1})}, workers=1))
    held = ask(proxy, wires, "/hold")
    wait_until(lambda: seen.count("/hold") == 2, 10, "its second attempt", lambda: seen)
    expect(proxy, retries=1, retries_max=1)
    assert proxy.metric("sluiced_pool_retries_running", pool="chat") == 1
    assert ask(proxy, wires, "/a").reader.response().status == 502
    assert proxy.metric("sluiced_pool_retries_refused_total", pool="chat", reason="budget") == 1
    let_go.set()
    assert held.reader.response().status == 200
    expect(proxy, retries=0)
    assert ask(proxy, wires, "/b").reader.response().status == 200


# ---- Bytes


def test_503_when_those_that_wait_hold_too_much(sluiced, gate, wires):
    proxy = sluiced(limited([gate.address], {"in_flight": 1},
                            queue={**LONG, "bytes": "64KiB"}))
    running = ask(proxy, wires, "/hold")
    gate.has(1)
    first = ask(proxy, wires, "/a", "POST", body=b"x" * 40 * KIB)
    expect(proxy, queued=1)
    wait_until(lambda: of_pool(proxy)["queued_bytes"] > 40 * KIB, 10, "the body",
               lambda: of_pool(proxy))
    assert proxy.metric("sluiced_pool_queued_bytes", pool="chat") > 40 * KIB
    assert of_pool(proxy)["queue_bytes_max"] == 64 * KIB
    second = ask(proxy, wires, "/b", "POST", body=b"x" * 40 * KIB)
    answer = second.reader.response()
    assert (answer.status, reason_of(answer)) == (503, "queue_full")
    assert int(answer.get("retry-after")) >= 1
    small = ask(proxy, wires, "/c")
    expect(proxy, queued=2)  # there is room for less
    gate.let_go.set()
    for wire in (running, first, small):
        assert wire.reader.response().status == 200
    expect(proxy, queued=0, queued_bytes=0)


def test_what_a_client_that_leaves_held_is_given_back(sluiced, gate, wires):
    proxy = sluiced(limited([gate.address], {"in_flight": 1},
                            queue={**LONG, "bytes": "64KiB"}))
    running = ask(proxy, wires, "/hold")
    gate.has(1)
    ask(proxy, wires, "/a", "POST", body=b"x" * 40 * KIB).close()
    expect(proxy, queued=0, queued_bytes=0)
    gate.let_go.set()
    assert running.reader.response().status == 200
