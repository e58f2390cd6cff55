# SPDX-License-Identifier: Apache-2.0
"""Limits of a pool, and the queue in which requests wait for room, or for an endpoint."""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from lib.config import config, pool
from lib.sluiced import Sluiced, named
from lib.wait import stays, wait_until
from lib.wire import Message, Wait, Wire, answer_bytes, request_bytes

ANSWER = answer_bytes()
LONG = {"timeout": "60s"}
KIB = 1024
CLIENTS_N = 12
ROUNDS_N = 25


class Gated:
    """An upstream that holds each request until the test lets it go."""

    def __init__(self, upstream: Callable[..., Any]) -> None:
        self.gates: Dict[str, threading.Event] = {}
        self.came: List[str] = []  # in this order
        self.server = upstream(self._script)
        self.address = self.server.address

    def _script(self, request: Message) -> List[Any]:
        """Called under the lock of the server."""
        gate = threading.Event()
        self.gates[request.target] = gate
        self.came.append(request.target)
        return [Wait(gate), ANSWER]

    def has(self, *targets: str) -> None:
        """Waits until these requests, and no others, have come, in this order."""
        wait_until(lambda: self.came == list(targets), 10, f"{targets} to come", lambda: self.came)

    def let_go(self, target: str) -> None:
        """Answers one that has come, or will."""
        wait_until(lambda: target in self.gates, 10, f"{target} to come", lambda: self.came)
        self.gates[target].set()


@pytest.fixture
def gated(upstream: Callable[..., Any]) -> Gated:
    """An upstream that answers when it is told to."""
    return Gated(upstream)


def limited(address: str, limits: Dict[str, int], workers: int = 1, **options: Any) -> Any:
    """A configuration with one pool "chat" within limits."""
    options.setdefault("queue", LONG)
    return config({"chat": pool(address, health="off", limits=limits, **options)},
                  workers=workers)


def expect_queued(proxy: Sluiced, count: int) -> None:
    """Waits until so many requests are in the queue."""
    wait_until(lambda: proxy.metric("sluiced_pool_queued", pool="chat") == count, 10,
               f"{count} to be queued", lambda: proxy.status()["pools"])


def expect_held(proxy: Sluiced, **counts: int) -> None:
    """Waits until so much is counted in the pool, all at a time."""
    def held() -> Dict[str, int]:
        status = named(proxy.status()["pools"], "chat")
        return {what: status[what] for what in counts}
    wait_until(lambda: held() == counts, 10, f"{counts}", held)


def ask(proxy: Sluiced, wires: Any, target: str, **options: Any) -> Wire:
    """A request on a connection of its own, which is not waited for."""
    wire = wires(proxy)
    wire.send(request_bytes("GET", target, **options))
    return wire


def reason_of(answer: Message) -> str:
    """Why we answered ourselves."""
    return str(json.loads(answer.body)["error"]["reason"])


def endpoints(path: Path, *addresses: str) -> None:
    """Replaces a file of endpoints in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps({"endpoints": list(addresses)}))
    os.replace(fresh, path)


@pytest.fixture
def follow(tmp_path: Path) -> Path:
    """A file of endpoints, none to begin with."""
    path = tmp_path / "endpoints.json"
    endpoints(path)
    return path


def from_file(path: Path, **options: Any) -> Any:
    """A configuration with one pool "chat" whose endpoints a file lists."""
    return config({"chat": {"discover": {"file": str(path)}, "health": "off", **options}},
                  workers=1)


# ---- Order


def test_first_come_first_served_and_new_ones_do_not_overtake(sluiced, gated, wires):
    proxy = sluiced(limited(gated.address, {"per_endpoint": 1}))
    asked = [ask(proxy, wires, "/0")]
    gated.has("/0")
    for i in range(1, 6):
        asked.append(ask(proxy, wires, f"/{i}"))
        expect_queued(proxy, i)
    for i in range(6):
        if i < 4:  # as one leaves, another comes
            asked.append(ask(proxy, wires, f"/{len(asked)}"))
        gated.let_go(f"/{i}")
        assert asked[i].reader.response().status == 200
    for i in range(6, 10):
        gated.let_go(f"/{i}")
        assert asked[i].reader.response().status == 200
    assert gated.came == [f"/{i}" for i in range(10)]
    assert proxy.metric("sluiced_pool_queued_total", pool="chat") == 9
    assert proxy.metric("sluiced_pool_queue_seconds_count", pool="chat") == 9


def test_urgent_classes_first_and_in_each_who_came_first(sluiced, gated, wires):
    proxy = sluiced(limited(gated.address, {"in_flight": 1},
                            queue={**LONG, "priority": {"header": "x-priority"}}))
    asked = [ask(proxy, wires, "/running")]
    gated.has("/running")
    come = [("3", "/batch"), ("", "/a"), ("1", "/soon"), ("2", "/b"), ("0", "/now"), ("9", "/c"),
            ("1", "/soon2"), ("00", "/d")]
    for i, (value, target) in enumerate(come, start=1):
        fields = [("X-Priority", value)] if value else []
        asked.append(ask(proxy, wires, target, fields=fields))
        expect_queued(proxy, i)
    order = ["/running", "/now", "/soon", "/soon2", "/a", "/b", "/c", "/d", "/batch"]
    for target in order:
        gated.let_go(target)
    for wire in asked:
        assert wire.reader.response().status == 200
    assert gated.came == order


def test_who_has_waited_long_goes_before_an_urgent_one(sluiced, gated, wires):
    """A quarter of the timeout for each class: half a second here."""
    proxy = sluiced(limited(gated.address, {"in_flight": 1},
                            queue={"timeout": "2s", "priority": {"header": "x-priority"}}))
    asked = [ask(proxy, wires, "/running")]
    gated.has("/running")
    asked.append(ask(proxy, wires, "/old", fields=[("X-Priority", "1")]))
    expect_queued(proxy, 1)
    stays(lambda: gated.came == ["/running"], 0.6, "the old one in the queue")
    asked.append(ask(proxy, wires, "/urgent", fields=[("X-Priority", "0")]))
    expect_queued(proxy, 2)
    for target in ["/running", "/old", "/urgent"]:
        gated.let_go(target)
    answers = [wire.reader.response().status for wire in asked]
    assert answers == [200, 200, 200] and gated.came == ["/running", "/old", "/urgent"]


# ---- Limits


@pytest.mark.parametrize("limit", ["in_flight", "per_endpoint"])
def test_limit_is_that_of_all_workers(sluiced, gated, wires, limit):
    proxy = sluiced(limited(gated.address, {limit: 3}, workers=2))
    asked = {f"/{i}": ask(proxy, wires, f"/{i}") for i in range(CLIENTS_N)}
    expect_queued(proxy, CLIENTS_N - 3)
    wait_until(lambda: len(gated.came) == 3, 5, "three to have come", lambda: gated.came)
    for done_n in range(CLIENTS_N):
        target = gated.came[done_n]
        gated.let_go(target)
        assert asked[target].reader.response().status == 200
        wanted = min(CLIENTS_N, done_n + 4)
        wait_until(lambda: len(gated.came) >= wanted, 5, f"{wanted} to have come")
        assert len(gated.came) == wanted
    status = named(proxy.status()["pools"], "chat")
    assert status["queued"] == 0 and status["places"] == 0, status
    assert proxy.endpoint("chat", gated.address)["in_flight"] == 0


def test_limit_holds_under_load_and_nobody_waits_for_nothing(sluiced, upstream, wires):
    """Threads on two workers through two places: all are served, soon, and never three at once."""
    running = {"now": 0, "most": 0}
    lock = threading.Lock()

    class Counting(threading.Event):
        """Set at once, and counts who is between here and the answer."""

        def wait(self, timeout: Any = None) -> bool:
            with lock:
                running["now"] += 1
                running["most"] = max(running["most"], running["now"])
            done = super().wait(0.002)  # the service time
            with lock:
                running["now"] -= 1
            return done

    server = upstream(lambda _request: [Wait(Counting()), ANSWER])
    proxy = sluiced(limited(server.address, {"in_flight": 2}, workers=2))
    statuses: List[int] = []

    def client() -> None:
        wire = wires(proxy)
        for i in range(ROUNDS_N):
            statuses.append(wire.ask("GET", f"/{i}").status)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS_N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * (CLIENTS_N * ROUNDS_N)
    assert running["most"] == 2
    assert proxy.metric("sluiced_pool_queued_total", pool="chat") > 0


def test_reload_that_raises_a_limit_lets_those_in_that_wait(sluiced, gated, wires):
    proxy = sluiced(limited(gated.address, {"per_endpoint": 1}))
    asked = [ask(proxy, wires, "/0")]
    gated.has("/0")
    asked.append(ask(proxy, wires, "/1"))
    expect_queued(proxy, 1)
    assert proxy.reload(limited(gated.address, {"per_endpoint": 2}))
    gated.has("/0", "/1")
    asked.append(ask(proxy, wires, "/2"))
    expect_queued(proxy, 1)
    assert proxy.reload(limited(gated.address, {}))
    gated.has("/0", "/1", "/2")
    for i, wire in enumerate(asked):
        gated.let_go(f"/{i}")
        assert wire.reader.response().status == 200


def test_retry_waits_for_the_endpoint_that_is_full(sluiced, gated, wires):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # nobody listens
        dead = f"127.0.0.1:{reserved.getsockname()[1]}"
        conf = config({"chat": pool(gated.address, dead, health="off", queue=LONG,
                                    balance="round_robin", limits={"per_endpoint": 1})}, workers=1)
        proxy = sluiced(conf)
        asked = [ask(proxy, wires, f"/{i}") for i in range(3)]
        expect_queued(proxy, 2)
        for i in range(3):
            wait_until(lambda n=i: len(gated.came) == n + 1, 5, "the next one")
            gated.let_go(gated.came[i])
        assert [wire.reader.response().status for wire in asked] == [200] * 3


def test_new_endpoint_has_a_cap_of_its_own(sluiced, upstream, wires, follow):
    """Whatever else it might take: what nobody has room for waits."""
    old, new = Gated(upstream), Gated(upstream)
    endpoints(follow, old.address)
    proxy = sluiced(from_file(follow, queue=LONG, limits={"per_endpoint": 3},
                              slow_start={"window": "1h", "per_endpoint": 1}))
    wait_until(lambda: proxy.endpoint("chat", old.address), 10, "the first endpoint", proxy.status)
    endpoints(follow, old.address, new.address)
    wait_until(lambda: len(named(proxy.status()["pools"], "chat")["endpoints"]) == 2, 10,
               "the second endpoint", proxy.status)
    asked = {f"/{i}": ask(proxy, wires, f"/{i}") for i in range(6)}
    expect_queued(proxy, 2)
    wait_until(lambda: (len(old.came), len(new.came)) == (3, 1), 10, "the others to come",
               lambda: (old.came, new.came))
    for n in range(1, 4):  # as one leaves, the next one has its place
        wait_until(lambda count=n: len(new.came) == count, 10, "the next one", proxy.status)
        target = new.came[-1]
        new.let_go(target)
        assert asked.pop(target).reader.response().status == 200
    for target, wire in asked.items():
        old.let_go(target)
        assert wire.reader.response().status == 200


# ---- No endpoint


def test_pool_that_is_empty_for_a_while_holds_its_requests(sluiced, gated, wires, follow):
    proxy = sluiced(from_file(follow))
    asked = [ask(proxy, wires, "/0"), ask(proxy, wires, "/1")]
    expect_queued(proxy, 2)
    endpoints(follow, gated.address)
    for i, wire in enumerate(asked):
        gated.let_go(f"/{i}")
        assert wire.reader.response().status == 200
    assert sorted(gated.came) == ["/0", "/1"]  # on two connections: either may be first
    for line in proxy.access_log(2):
        assert line["reason"] == "ok" and 0 < line["queue_ms"] <= line["duration_ms"], line
    asked[0].send(request_bytes("GET", "/2"))
    gated.let_go("/2")
    assert asked[0].reader.response().status == 200
    assert "queue_ms" not in proxy.access_log(3)[2]


def test_503_when_nothing_came_in_time(sluiced, follow):
    proxy = sluiced(from_file(follow, queue={"timeout": "100ms"}))
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("POST", "/", b"hello")
        assert (answer.status, reason_of(answer)) == (503, "queue_timeout")
        assert 1 <= int(answer.get("retry-after") or 0) <= 60
        assert wire.ask("GET", "/").status == 503  # the connection stays
    line = proxy.access_log()[0]
    assert line["reason"] == "queue_timeout" and line["queue_ms"] >= 100, line
    assert proxy.metric("sluiced_requests_total", reason="queue_timeout") == 2
    assert proxy.metric("sluiced_pool_nobody_total", pool="chat") == 2


def test_time_for_the_whole_counts_while_waiting(sluiced, follow):
    proxy = sluiced(from_file(follow, queue=LONG, timeouts={"total": "100ms"}))
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/")
        assert (answer.status, reason_of(answer)) == (504, "total_timeout")
    expect_queued(proxy, 0)


def test_without_a_queue_an_empty_pool_refuses_at_once(sluiced, follow):
    for queue in ("off", {"size": 0}):
        proxy = sluiced(from_file(follow, queue=queue))
        with Wire(proxy.address("edge")) as wire:
            answer = wire.ask("GET", "/")
            assert (answer.status, reason_of(answer)) == (503, "no_endpoint")


# ---- Nobody listens


class Ports:
    """Addresses at which nobody listens, until the test lets a server begin there."""

    def __init__(self, start: Callable[..., Any], count: int) -> None:
        self._start = start
        self._held = [socket.socket() for _ in range(count)]
        for sock in self._held:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
        self.addresses = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in self._held]

    def serve(self, idx: int, answers: Any = None) -> Any:
        """A server, where nobody was."""
        self._held[idx].close()
        return self._start(answers or [ANSWER], port=int(self.addresses[idx].rpartition(":")[2]))

    def close(self) -> None:
        """Gives them all back."""
        for sock in self._held:
            sock.close()


@pytest.fixture
def ports(upstream: Callable[..., Any]) -> Any:
    """Factory of such addresses."""
    made: List[Ports] = []

    def make(count: int) -> Ports:
        made.append(Ports(upstream, count))
        return made[-1]

    yield make
    for some in made:
        some.close()


def refusing(some: Ports, workers: int = 1, **options: Any) -> Any:
    """A configuration with one pool "chat" of these, nobody of which is known to be down."""
    return config({"chat": pool(*some.addresses, health="off", **{"queue": LONG, **options})},
                  workers=workers)


@pytest.mark.parametrize("balance", ["least_request",
                                     {"policy": "maglev", "key": {"header": "x-session"}}])
def test_requests_wait_while_all_refuse_and_go_to_the_first_that_listens(sluiced, ports, wires,
                                                                          balance):
    """Whichever it is, and whomever their key would have preferred."""
    some = ports(3)
    proxy = sluiced(refusing(some, balance=balance))
    body = bytes(range(256)) * KIB
    fields = [("X-Session", "same")]
    asked = [ask(proxy, wires, f"/{i}", fields=fields) for i in range(4)]
    asked.append(wires(proxy))
    asked[-1].send(request_bytes("POST", "/body", body, fields=fields))
    wait_until(lambda: proxy.metric("sluiced_pool_queued_total", pool="chat") == 5, 10,
               "all to wait", proxy.status)
    server = some.serve(1)
    assert [wire.reader.response().status for wire in asked] == [200] * 5
    assert sorted(r.target for r in server.requests) == ["/0", "/1", "/2", "/3", "/body"]
    assert [r.body for r in server.requests if r.target == "/body"] == [body]
    assert {line["reason"] for line in proxy.access_log(5)} == {"ok"}
    assert proxy.metric("sluiced_pool_nobody_total", pool="chat") == 0


def test_what_ran_where_all_were_killed_waits_as_well(sluiced, model, ports, wires):
    """A GET was sent, and is a retry from then on: it holds none while it waits. A POST was too."""
    server, (dead,) = model(), ports(1).addresses
    server.process.signal(signal.SIGSTOP)  # its kernel takes requests still
    proxy = sluiced(config({"chat": pool(server.address, dead, health="off", queue=LONG,
                                         limits={"in_flight": 4})}, workers=1))
    asked = [ask(proxy, wires, "/version") for _ in range(2)]
    posted = wires(proxy)
    posted.send(request_bytes("POST", "/echo", b"once"))
    wait_until(lambda: proxy.endpoint("chat", server.address)["in_flight"] == 3, 10,
               "all to be sent", proxy.status)
    server.kill()
    assert posted.reader.response().status == 502
    expect_held(proxy, queued=2, retries=0, places=0)
    server.restart()
    assert [wire.reader.response().status for wire in asked] == [200] * 2
    assert [line["reason"] for line in proxy.access_log(3)] == ["upstream_reset", "ok", "ok"]
    expect_held(proxy, queued=0, retries=0, places=0)


def test_nobody_who_refuses_is_flooded_by_those_that_wait(sluiced, ports, wires):
    some = ports(2)
    proxy = sluiced(refusing(some, workers=2))
    begun = time.monotonic()
    asked = [ask(proxy, wires, f"/{i}") for i in range(50)]
    wait_until(lambda: proxy.metric("sluiced_pool_connect_failures_total", pool="chat") > 20, 20,
               "the endpoints to be asked again and again", proxy.status)
    failures = proxy.metric("sluiced_pool_connect_failures_total", pool="chat")
    took = time.monotonic() - begun
    # Each of those that came at first may have tried both; then one in 25 ms, of all that wait.
    assert failures <= 2 * 50 + took / 0.025 + 1, (failures, took)
    some.serve(0)
    assert [wire.reader.response().status for wire in asked] == [200] * 50


def test_502_when_nobody_listened_in_time(sluiced, ports):
    proxy = sluiced(refusing(ports(1), queue={"timeout": "300ms"}))
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("POST", "/", b"hello")
        assert (answer.status, reason_of(answer)) == (502, "upstream_refused")
    line = proxy.access_log()[0]
    assert line["tries"] > 2 and line["queue_ms"] > 0, line
    expect_queued(proxy, 0)


@pytest.mark.parametrize("count, tries", [(1, 1), (3, 3), (9, 4)])
def test_without_a_queue_who_is_refused_everywhere_is_told_at_once(sluiced, ports, count, tries):
    proxy = sluiced(refusing(ports(count), queue="off"))
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/")
        assert (answer.status, reason_of(answer)) == (502, "upstream_refused")
    assert proxy.access_log()[0]["tries"] == tries


def test_one_of_many_that_listens_is_found(sluiced, ports):
    """Most of a pool has just died, and nobody knows: four refusals are no reason to give up."""
    some = ports(16)
    server = some.serve(15)
    proxy = sluiced(refusing(some))
    assert proxy.get("/").status == 200
    assert len(server.requests) == 1


# ---- Full


def test_503_at_once_when_the_queue_is_full(sluiced, gated, wires):
    proxy = sluiced(limited(gated.address, {"in_flight": 1}, queue={**LONG, "size": 2}))
    asked = [ask(proxy, wires, "/0")]
    gated.has("/0")
    asked += [ask(proxy, wires, f"/{i}") for i in (1, 2)]
    expect_queued(proxy, 2)
    answer = ask(proxy, wires, "/3").reader.response()
    assert (answer.status, reason_of(answer)) == (503, "queue_full")
    assert 1 <= int(answer.get("retry-after") or 0) <= 60
    for i, wire in enumerate(asked):
        gated.let_go(f"/{i}")
        assert wire.reader.response().status == 200
    assert "/3" not in gated.came
    assert proxy.metric("sluiced_requests_total", reason="queue_full") == 1


def test_without_a_queue_a_limit_refuses_at_once(sluiced, gated, wires):
    proxy = sluiced(limited(gated.address, {"per_endpoint": 1}, queue="off"))
    first = ask(proxy, wires, "/0")
    gated.has("/0")
    answer = ask(proxy, wires, "/1").reader.response()
    assert (answer.status, reason_of(answer)) == (503, "queue_full")
    gated.let_go("/0")
    assert first.reader.response().status == 200
    second = ask(proxy, wires, "/2")
    gated.let_go("/2")
    assert second.reader.response().status == 200


# ---- Clients


def test_client_that_leaves_is_forgotten_at_once(sluiced, gated, wires):
    proxy = sluiced(limited(gated.address, {"in_flight": 1}))
    first = ask(proxy, wires, "/0")
    gated.has("/0")
    gone = [ask(proxy, wires, "/get"), wires(proxy), wires(proxy)]
    gone[1].send(request_bytes("POST", "/half", fields=[("Content-Length", "1000")]) + b"x" * 10)
    gone[2].send(request_bytes("POST", "/whole", b"x" * 1000))
    last = ask(proxy, wires, "/last")
    expect_queued(proxy, 4)
    gone[0].close()
    gone[1].close()
    gone[2].reset()
    expect_queued(proxy, 1)
    lines = proxy.access_log(3)
    assert [line["reason"] for line in lines] == ["client_gone"] * 3
    gated.let_go("/0")
    gated.let_go("/last")
    assert first.reader.response().status == last.reader.response().status == 200
    assert gated.came == ["/0", "/last"]


def test_body_is_not_read_while_its_request_waits(sluiced, gated, wires):
    proxy = sluiced(limited(gated.address, {"in_flight": 1}))
    ask(proxy, wires, "/0")
    gated.has("/0")
    leaves, stays_on = wires(proxy), wires(proxy)
    body = bytes(range(256)) * KIB
    for wire, target in ((leaves, "/leaves"), (stays_on, "/stays")):
        wire.send(request_bytes("POST", target, fields=[("Content-Length", str(len(body)))]))
    expect_queued(proxy, 2)
    for wire in (leaves, stays_on):
        wire.send(body[:64 * KIB])
    leaves.close()
    expect_queued(proxy, 1)
    line = proxy.access_log()[0]
    assert (line["path"], line["reason"], line["bytes_in"]) == ("/leaves", "client_gone", 0), line
    gated.let_go("/0")
    stays_on.send(body[64 * KIB:])
    gated.let_go("/stays")
    assert stays_on.reader.response().status == 200
    assert gated.server.requests[-1].body == body


def test_client_that_waits_for_100_is_told_when_its_turn_has_come(sluiced, upstream, wires, follow):
    server = upstream([[b"HTTP/1.1 100 Continue\r\n\r\n", ANSWER]])
    proxy = sluiced(from_file(follow, queue=LONG))
    wire = wires(proxy)
    wire.send(request_bytes("POST", "/", fields=[("Content-Length", "5"),
                                                 ("Expect", "100-continue")]))
    expect_queued(proxy, 1)
    endpoints(follow, server.address)
    wire.send(b"hello")
    assert wire.reader.response().status in (100, 200)


# ---- The end


def test_drain_serves_those_that_wait(sluiced, gated, wires):
    proxy = sluiced(limited(gated.address, {"in_flight": 1}))
    asked = [ask(proxy, wires, "/0")]
    gated.has("/0")
    asked.append(ask(proxy, wires, "/1"))
    expect_queued(proxy, 1)
    proxy.process.signal(signal.SIGTERM)
    wait_until(lambda: proxy.events("draining"), 10, "the drain to begin", proxy.log)
    for i, wire in enumerate(asked):
        gated.let_go(f"/{i}")
        answer = wire.reader.response()
        assert answer.status == 200 and answer.get("connection") == "close"
    wait_until(lambda: proxy.events("drained"), 10, "the drain to end", proxy.log)
    assert proxy.events("drained")[0]["connections_cut"] == 0
    proxy.stop()


def test_drain_timeout_ends_those_that_wait(sluiced, wires, follow):
    conf = from_file(follow, queue=LONG)
    conf["drain"] = {"delay": "0s", "timeout": "200ms"}
    proxy = sluiced(conf)
    asked = [ask(proxy, wires, f"/{i}") for i in range(3)]
    expect_queued(proxy, 3)
    proxy.stop()
    assert [line["reason"] for line in proxy.access_log(3)] == ["drained"] * 3
    for wire in asked:
        assert wire.closed_within(5)


def test_pool_that_no_config_names_any_more_serves_who_waits(sluiced, gated, wires, follow):
    """The view they came under holds it."""
    proxy = sluiced(from_file(follow, queue={"timeout": "300ms"}))
    wire = ask(proxy, wires, "/0")
    expect_queued(proxy, 1)
    assert proxy.reload(config({"other": pool(gated.address, health="off")}, workers=1))
    answer = wire.reader.response()
    assert (answer.status, reason_of(answer)) == (503, "queue_timeout")
    wait_until(lambda: proxy.metric("sluiced_live_views") == 1, 10, "the old view to go")
    stays(proxy.process.running, 0.1, "the process")
