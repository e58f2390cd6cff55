# SPDX-License-Identifier: Apache-2.0
"""The clocks of an exchange: each has its own reason, and runs only while its side is waited for."""

import json
import socket
import threading
import time
from typing import Any, Dict, Iterator, Tuple

import pytest

from lib.config import config, pool
from lib.wait import stays, wait_until
from lib.wire import (Closed, Message, Reader, RawUpstream, Wait, Wire, answer_bytes, request_bytes)

MIB = 1 << 20
SHORT = "300ms"


def error_of(answer: Message) -> Tuple[int, str]:
    """Status and reason of a local reply."""
    return answer.status, json.loads(answer.body)["error"]["reason"]


def behind(sluiced: Any, address: str, downstream: Dict[str, str], **upstream: str) -> Any:
    """sluiced in front of one endpoint, with the time limits of both sides."""
    conf = config({"chat": pool(address, timeouts=upstream)}, workers=1)
    conf["listeners"][0]["http"]["timeouts"] = downstream
    return sluiced(conf)


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of an endpoint that accepts and never reads."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_body_that_stops_arriving_is_408(sluiced, upstream):
    server = upstream([answer_bytes()])
    proxy = behind(sluiced, server.address, {"body": SHORT})
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", None, [("Content-Length", "10")]) + b"abc")
        answer = wire.reader.response()
        assert error_of(answer) == (408, "body_timeout")
        assert answer.get("connection") == "close"
        assert wire.closed_within(5)
    assert server.requests == []


def test_slow_body_that_goes_on_is_no_timeout_and_first_byte_counts_from_its_end(sluiced, upstream):
    server = upstream([answer_bytes()])
    proxy = behind(sluiced, server.address, {"body": SHORT}, first_byte=SHORT)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", None, [("Content-Length", "10")]))
        for _ in range(10):
            stays(lambda: True, 0.1, "")
            wire.send(b"x")
        assert wire.reader.response().status == 200
    assert server.requests[0].body == b"x" * 10


def test_client_that_waits_for_100_is_not_blamed_for_a_silent_endpoint(sluiced):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        proxy = behind(sluiced, f"127.0.0.1:{mute.getsockname()[1]}", {"body": "50ms"},
                       first_byte=SHORT)
        with Wire(proxy.address("edge")) as wire:
            wire.send(request_bytes("POST", "/", None, [("Content-Length", "10"),
                                                        ("Expect", "100-continue")]))
            assert error_of(wire.reader.response()) == (504, "first_byte_timeout")


def test_client_that_was_told_to_continue_has_to(sluiced):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        def serve() -> None:
            sock, _ = listener.accept()
            Reader(sock).head()
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            sock.recv(1)
        threading.Thread(target=serve, daemon=True).start()
        conf = config({"chat": pool(f"127.0.0.1:{listener.getsockname()[1]}", health="off")},
                      workers=1)
        conf["listeners"][0]["http"]["timeouts"] = {"body": SHORT}
        proxy = sluiced(conf)
        with Wire(proxy.address("edge")) as wire:
            wire.send(request_bytes("POST", "/", None, [("Content-Length", "10"),
                                                        ("Expect", "100-continue")]))
            assert wire.reader.response().status == 100
            assert error_of(wire.reader.response()) == (408, "body_timeout")


def test_client_that_takes_nothing_is_cut(sluiced, upstream):
    server = upstream([answer_bytes(b"x" * 32 * MIB)])
    proxy = behind(sluiced, server.address, {"write": SHORT})
    with Wire(proxy.address("edge"), receive_buffer=4096) as wire:
        wire.send(request_bytes("GET", "/"))
        assert wire.reader.head().status == 200
        assert [line["reason"] for line in proxy.access_log()] == ["client_stalled"]
        with pytest.raises((Closed, ConnectionResetError)):
            wire.reader.exactly(32 * MIB)
    assert server.ended_by_peer.wait(5)


def test_endpoint_that_takes_nothing_is_504(sluiced, deaf):
    proxy = behind(sluiced, deaf, {}, write=SHORT)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", None, [("Content-Length", str(32 * MIB))]))
        sender = threading.Thread(target=send_all, args=(wire, 32 * MIB), daemon=True)
        sender.start()
        answer = wire.reader.response()
        assert error_of(answer) == (504, "upstream_stalled")
        assert answer.get("connection") == "close"
        sender.join(10)
    assert proxy.metric("sluiced_requests_total", reason="upstream_stalled", code="5xx") == 1


def send_all(wire: Wire, size: int) -> None:
    """Sends until all is gone or the other side has enough."""
    try:
        wire.sock.sendall(b"x" * size)
    except OSError:
        pass


def test_endpoint_that_takes_its_time_is_no_stall(sluiced):
    """The limit is between two reads of the endpoint, not for the whole body."""
    size = 24 * MIB
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        def serve() -> None:
            sock, _ = listener.accept()
            reader = Reader(sock)
            reader.head()
            got = len(reader.buf)
            while got < size:
                stays(lambda: True, 0.02, "")
                got += len(sock.recv(512 * 1024))
            sock.sendall(answer_bytes(str(got).encode()))
        threading.Thread(target=serve, daemon=True).start()
        conf = config({"chat": pool(f"127.0.0.1:{listener.getsockname()[1]}", health="off",
                                    timeouts={"write": SHORT, "first_byte": SHORT})}, workers=1)
        proxy = sluiced(conf)
        begun = time.monotonic()
        with Wire(proxy.address("edge")) as wire:
            answer = wire.ask("POST", "/", b"x" * size)
        assert (answer.status, answer.body) == (200, str(size).encode())
        assert time.monotonic() - begun > 0.5


def test_clocks_of_a_stream_that_goes_on_do_not_run(sluiced, upstream):
    """Tokens every 100 ms pass under limits of 300 ms for as long as they come."""
    gates = [threading.Event() for _ in range(10)]
    head = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n")
    script: Any = [head]
    for gate in gates:
        script += [Wait(gate), b"9\r\ndata: x\n\n\r\n"]
    server: RawUpstream = upstream([script + [b"0\r\n\r\n"]])
    proxy = behind(sluiced, server.address, {"body": SHORT, "write": SHORT, "idle": SHORT},
                   first_byte=SHORT, inter_byte=SHORT, write=SHORT)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", b"{}"))
        for gate in gates:
            stays(lambda: True, 0.1, "")
            gate.set()
        answer = wire.reader.response()
        assert (answer.status, len(answer.chunks)) == (200, 10)
        wait_until(lambda: wire.closed_within(0.01), 5, "the idle connection to be closed")


@pytest.mark.parametrize("head, method, status", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", 200),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "POST", 504),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n", "GET", 404)])
def test_head_without_a_body_byte_is_no_answer_yet(sluiced, upstream, head, method, status):
    """Where the length is known; another endpoint is asked, if that is safe. What says no says it at once."""
    hangs, answers = threading.Event(), answer_bytes(b"other")
    bad, good = upstream([[head, Wait(hangs)]]), upstream([answers])
    proxy = sluiced(config({"chat": pool(bad.address, good.address, balance="round_robin",
                                         timeouts={"first_byte": SHORT})}, workers=1))
    seen = []
    for _ in range(2):
        with Wire(proxy.address("edge")) as wire:
            wire.send(request_bytes(method, "/", None if method == "GET" else b"x"))
            seen.append(int(wire.reader.until(b"\r\n").split(b" ")[1]))
    hangs.set()
    assert len(bad.requests) >= 1
    assert sorted(seen) == sorted([200, status])
