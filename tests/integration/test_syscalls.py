# SPDX-License-Identifier: Apache-2.0
"""What a request, a token, a body and a connection cost in system calls: the worker is traced.

A request on a kept connection is one recv and one send on either side and two waits; whatever is
called besides is a finding, for it is paid a million times. The traced thread is slow, but what it
calls does not depend on that: the client and the upstream are in step with it.
"""

import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from lib.bulk import BulkServer, Flow, Upload, take_body
from lib.config import config, pool, route
from lib.steady import is_sanitized
from lib.strace import Call, Strace, names, thread_id
from lib.wait import wait_until
from lib.wire import Message, RawUpstream, Wait, Wire, answer_bytes, request_bytes

KIB = 1 << 10
MIB = 1 << 20
REQUESTS_N = 500
CONNECTIONS_N = 64
ROUNDS_N = 8
HEAP_GROWTHS_MAX_N = 3  # by a page, when more are under way in one turn than ever before
TOKENS_N = 200
NEW_CONNECTIONS_N = 50
CALLS_A_CONNECTION_MAX_N = 8  # accept, recv, send, add to the set; recv, send; recv, close
PIECE_BYTES = 256 * KIB
BODY_BYTES = 96 * MIB
# Waits that end for another reason: strace comes and goes, a deadline of the worker's is due.
OTHER_WAITS_MAX_N = 40
LOG_EVERY_S = 0.1
SANITIZER_CALLS = ("mmap", "munmap", "madvise")
GET = request_bytes("GET", "/v1/models")
POST = request_bytes("POST", "/v1/completions", b"x" * 4096)
ANSWER = answer_bytes(b"y" * 1024, fields=[("Content-Type", "application/json")])
STREAM_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
               b"Transfer-Encoding: chunked\r\n\r\n")

Traced = Callable[[Any], Strace]


@pytest.fixture
def behind(sluiced) -> Callable[..., Any]:
    """Starts one worker in front of an upstream, without anything that would run beside it."""
    def start(server: Any, access: str = "off") -> Any:
        return sluiced(config({"chat": pool(server.address, health="off")},
                              [route("chat", max_body="off")], workers=1,
                              log={"level": "info", "access": access}))
    return start


@pytest.fixture
def bulk() -> Iterator[BulkServer]:
    """An upstream for large bodies."""
    server = BulkServer()
    yield server
    server.stop()


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    """Attaches to the worker of a proxy."""
    attached: List[Strace] = []

    def attach(proxy: Any) -> Strace:
        tracer = Strace(thread_id(proxy.process.pid, "worker-0"), tmp_path / "calls")
        attached.append(tracer)
        return tracer

    yield attach
    for tracer in attached:
        tracer.stop()


def is_peek(call: Call) -> bool:
    """The look at a connection that was idle for long, before it is used again."""
    return call.name == "recvfrom" and "MSG_PEEK" in call.arguments


def refused(calls: List[Call]) -> List[Call]:
    """Calls that brought nothing."""
    return [call for call in calls if call.error]


def check_only(calls: List[Call], *allowed: str) -> None:
    """Nothing was called but these, and under a sanitizer what its heap asks for."""
    counted = names(calls)
    allowed += SANITIZER_CALLS if is_sanitized() else ()
    others = {name: n for name, n in counted.items() if name not in allowed}
    assert not others, f"besides what is needed: {others}\nof {dict(counted)}"


def check_exchanges(calls: List[Call], exchanges_n: int, peeks_max_n: int) -> None:
    """So many requests on kept connections were two recv, two send and at most two waits each."""
    peeks = [call for call in calls if is_peek(call)]
    assert len(peeks) <= peeks_max_n, f"{len(peeks)} looks at idle connections"
    calls = [call for call in calls if not is_peek(call)]
    check_only(calls, "recvfrom", "sendto", "epoll_wait")
    counted = names(calls)
    assert counted["recvfrom"] == 2 * exchanges_n, dict(counted)
    assert counted["sendto"] == 2 * exchanges_n, dict(counted)
    assert counted["epoll_wait"] <= 2 * exchanges_n + OTHER_WAITS_MAX_N, dict(counted)
    again = [call for call in refused(calls) if call.error != "EINTR"]  # strace comes and goes
    assert not again, again[:5]


@pytest.mark.parametrize("request_data", [GET, POST], ids=["get", "post"])
def test_request_on_a_kept_connection_is_four_calls_and_two_waits(behind, upstream, traced,
                                                                  request_data):
    proxy = behind(upstream([ANSWER]))
    with Wire(proxy.address("edge")) as wire:
        for _ in range(10):
            wire.send(request_data)
            assert wire.reader.response().status == 200
        tracer = traced(proxy)
        for _ in range(REQUESTS_N):
            wire.send(request_data)
            assert wire.reader.response().status == 200
        # A look where the client stood still for 100 ms; strace's coming is one.
        check_exchanges(tracer.calls(), REQUESTS_N, REQUESTS_N // 20)


@pytest.mark.parametrize("to", ["file", "pipe"])
def test_access_log_adds_a_write_now_and_then(behind, upstream, traced, tmp_path, to):
    """A flush each 100 ms, or when 64 KiB are full; into a pipe in pieces that are never torn."""
    path = tmp_path / "access.log"
    proxy = behind(upstream([ANSWER]), access="stdout" if to == "pipe" else str(path))
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").status == 200
        tracer = traced(proxy)
        begun = time.monotonic()
        for _ in range(REQUESTS_N):
            wire.send(GET)
            assert wire.reader.response().status == 200
        if to == "pipe":
            proxy.access_log(REQUESTS_N + 1)
        else:
            wait_until(lambda: path.read_bytes().count(b"\n") == REQUESTS_N + 1, 5, "the log")
        took_s = time.monotonic() - begun
        calls = tracer.calls()
    writes = [call for call in calls if call.name == "write"]
    piece_bytes = 4096 * 3 // 4 if to == "pipe" else 64 * KIB  # whole lines
    full_n = sum(call.result for call in writes) // piece_bytes
    print(f"{len(writes)} writes, {REQUESTS_N} lines, {took_s:.2f} s")
    assert 1 <= len(writes) <= took_s / LOG_EVERY_S + full_n + 2, (len(writes), full_n, took_s)
    check_exchanges([call for call in calls if call.name != "write"], REQUESTS_N, REQUESTS_N // 20)


class Rounds:
    """An upstream that answers a round of requests only once all of them have come."""

    def __init__(self, upstream: Callable[..., RawUpstream], each_n: int) -> None:
        self.each_n = each_n
        self.come_n = 0
        self.all_here = threading.Event()
        self.server = upstream(self._script)

    def _script(self, _request: Message) -> List[Any]:
        """Called under the lock of the server."""
        gate = self.all_here
        self.come_n += 1
        if self.come_n % self.each_n == 0:
            self.all_here = threading.Event()
            gate.set()
        return [Wait(gate), ANSWER]


def test_many_connections_at_once_cost_no_more_than_one(behind, upstream, traced):
    """All have a request under way at the same time; waits are shared."""
    rounds = Rounds(upstream, CONNECTIONS_N)
    proxy = behind(rounds.server)
    wires = [Wire(proxy.address("edge")) for _ in range(CONNECTIONS_N)]

    def ask_all() -> None:
        for wire in wires:
            wire.send(GET)
        for wire in wires:
            assert wire.reader.response().status == 200

    try:
        for _ in range(3):  # an upstream connection for each, and memory for all at once
            ask_all()
        tracer = traced(proxy)
        for _ in range(ROUNDS_N):
            ask_all()
        calls = tracer.calls()
        grown = [call for call in calls if call.name == "mprotect"]
        assert len(grown) <= HEAP_GROWTHS_MAX_N, len(grown)
        asked_n = CONNECTIONS_N * ROUNDS_N
        check_exchanges([call for call in calls if call.name != "mprotect"], asked_n, asked_n)
        assert len(set(rounds.server.connections_of)) == CONNECTIONS_N
    finally:
        for wire in wires:
            wire.close()


def test_token_of_a_stream_is_one_recv_one_send_and_one_wait(behind, upstream, traced):
    gates = [threading.Event() for _ in range(TOKENS_N + 1)]
    script: List[Any] = [STREAM_HEAD]
    for i, gate in enumerate(gates):
        event = b"data: {\"choices\":[{\"text\":\"w%d \"}]}\n\n" % i
        script += [b"%x\r\n%b\r\n" % (len(event), event), Wait(gate)]
    proxy = behind(upstream([[*script, b"0\r\n\r\n"]]))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/v1/completions", b'{"stream":true}'))
        wire.reader.head()
        assert b"w0 " in wire.reader.chunk()
        tracer = traced(proxy)
        for i in range(TOKENS_N):
            gates[i].set()
            assert b"w%d " % (i + 1) in wire.reader.chunk()
        calls = tracer.calls()
        gates[TOKENS_N].set()
        assert wire.reader.chunk() == b""
    check_only(calls, "recvfrom", "sendto", "epoll_wait")
    counted = names(calls)
    assert (counted["recvfrom"], counted["sendto"]) == (TOKENS_N, TOKENS_N), dict(counted)
    assert counted["epoll_wait"] <= TOKENS_N + OTHER_WAITS_MAX_N, dict(counted)
    assert not [call for call in refused(calls) if call.error != "EINTR"], refused(calls)[:5]


def check_body(calls: List[Call]) -> None:
    """About two calls for each full read; when the receiver is slow for a while, a few more."""
    pieces_n = BODY_BYTES // PIECE_BYTES
    counted = names(calls)
    moved_n = counted["recvfrom"] + counted["sendto"] + counted["sendmsg"]
    print(dict(counted), f"{moved_n / pieces_n:.2f} calls a piece")
    # The heap grows and shrinks with what was not taken at once; glibc asks once whether it may.
    check_only(calls, "recvfrom", "sendto", "sendmsg", "epoll_wait", "epoll_ctl", "mprotect",
               "madvise", "openat", "read", "close")
    assert max(counted["openat"], counted["read"], counted["close"]) <= 1, dict(counted)
    assert moved_n <= 3 * pieces_n, (pieces_n, dict(counted))
    assert len(calls) <= 6 * pieces_n, (pieces_n, dict(counted))
    again = [call for call in refused(calls) if call.error == "EAGAIN"]
    assert len(again) <= pieces_n // 4, (len(again), dict(counted))


def test_large_response_is_two_calls_for_each_full_read(behind, bulk, traced):
    proxy = behind(bulk)
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/1").status == 200
        tracer = traced(proxy)
        wire.send(request_bytes("GET", f"/{BODY_BYTES}"))
        head = wire.reader.head()
        assert take_body(wire.reader, head, Flow()).told() == {"bytes": BODY_BYTES, "equal": True}
        check_body(tracer.calls())


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_large_request_is_two_calls_for_each_full_read(behind, bulk, traced, chunked):
    proxy = behind(bulk)
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/1").status == 200
        tracer = traced(proxy)
        told = Upload(wire, BODY_BYTES, chunked).told()
        assert told == {"bytes": BODY_BYTES, "equal": True}
        check_body(tracer.calls())


def all_closed(proxy: Any) -> bool:
    """Whether the listener has no connection."""
    return proxy.metric("sluiced_listener_connections") == 0


def test_new_connection_with_its_request_is_eight_calls_and_three_waits(behind, upstream, traced):
    proxy = behind(upstream([ANSWER]))

    def ask_once() -> None:
        with Wire(proxy.address("edge")) as wire:
            wire.send(GET)
            assert wire.reader.response().status == 200

    ask_once()
    wait_until(lambda: all_closed(proxy), 5, "the connection to be closed")
    tracer = traced(proxy)
    for _ in range(NEW_CONNECTIONS_N):
        ask_once()
    wait_until(lambda: all_closed(proxy), 5, "all connections to be closed")
    calls = [call for call in tracer.calls() if not is_peek(call)]
    counted = names(calls)
    print({name: n / NEW_CONNECTIONS_N for name, n in counted.items()})
    working_n = len(calls) - counted["epoll_wait"]
    # No socket option, no control of the epoll set but the one that adds the connection.
    check_only(calls, "accept4", "recvfrom", "sendto", "epoll_wait", "epoll_ctl", "close")
    assert counted["accept4"] == counted["close"] == NEW_CONNECTIONS_N, dict(counted)
    assert counted["epoll_ctl"] <= NEW_CONNECTIONS_N + 2, dict(counted)
    assert working_n <= CALLS_A_CONNECTION_MAX_N * NEW_CONNECTIONS_N + 2, dict(counted)
    assert counted["epoll_wait"] <= 3 * NEW_CONNECTIONS_N + OTHER_WAITS_MAX_N, dict(counted)
    assert not [call for call in refused(calls) if call.error != "EINTR"], refused(calls)[:5]
