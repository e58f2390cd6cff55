# SPDX-License-Identifier: Apache-2.0
"""Answers that come before the request's end, and clients that end their side before the answer."""

import socket
import threading
from typing import Any, Iterator, List, Tuple

import pytest

from lib.config import config, pool, route
from lib.wait import stays, wait_until
from lib.wire import Closed, Reader, Wait, Wire, answer_bytes, request_bytes

MIB = 1 << 20


class Hasty:
    """Answers as soon as a head is there, and reads on: whose head it saw on which connection."""

    def __init__(self, answer: bytes = answer_bytes()) -> None:
        self.answer = answer
        self.seen: List[Tuple[int, str]] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        reader = Reader(sock)
        try:
            while True:
                self.seen.append((number, reader.head().target))
                sock.sendall(self.answer)
        except (Closed, OSError, ValueError, AssertionError):
            sock.close()


@pytest.fixture
def hasty() -> Iterator[Hasty]:
    """One of them."""
    server = Hasty()
    yield server
    server.listener.close()


def behind(sluiced: Any, address: str, **http: Any) -> Any:
    """sluiced in front of one endpoint that is not probed."""
    conf = config({"chat": pool(address, health="off")}, workers=1)
    conf["listeners"][0]["http"].update(http)
    return sluiced(conf)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
BODIES = {
    "length": ([("Content-Length", str(len(SMUGGLED) * 6))], SMUGGLED * 6),
    "chunked": ([("Transfer-Encoding", "chunked")],
                b"%x\r\n%s\r\n" % (len(SMUGGLED), SMUGGLED) * 6 + b"0\r\nX-T: 1\r\n\r\n"),
    "half a megabyte": ([("Content-Length", str(MIB // 2))], b"x" * (MIB // 2)),
}


@pytest.mark.parametrize("how", sorted(BODIES))
def test_rest_of_a_body_is_dropped_and_the_next_request_is_answered(sluiced, hasty, how):
    fields, body = BODIES[how]
    proxy = behind(sluiced, hasty.address)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/early", None, fields))
        assert wire.reader.response().status == 200
        for at in range(0, len(body), 50 if len(body) < 1000 else 50_000):
            wire.send(body[at:at + (50 if len(body) < 1000 else 50_000)])
        assert wire.ask("GET", "/next").body == b"ok"
        wire.send(request_bytes("GET", "/a") + request_bytes("GET", "/b"))
        assert [wire.reader.response().status for _ in range(2)] == [200, 200]
    # The endpoint's connection was in the middle of a request: it is not used again.
    assert hasty.seen == [(1, "/early"), (2, "/next"), (2, "/a"), (2, "/b")]
    assert [line["path"] for line in proxy.access_log(4)] == ["/early", "/next", "/a", "/b"]


def test_rest_that_is_malformed_ends_the_connection(sluiced, hasty):
    proxy = behind(sluiced, hasty.address)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/early", None, [("Transfer-Encoding", "chunked")]))
        assert wire.reader.response().status == 200
        wire.send(b"5\r\nabcdeXX" + SMUGGLED)
        assert wire.closed_within(5)
    assert hasty.seen == [(1, "/early")]


def test_rest_that_does_not_come_ends_the_connection(sluiced, hasty):
    proxy = behind(sluiced, hasty.address)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/early", None, [("Content-Length", "100")]))
        assert wire.reader.response().status == 200
        assert wire.closed_within(5)


@pytest.mark.parametrize("fields", [
    [("Content-Length", str(2 * MIB))],
    [("Content-Length", "200"), ("Expect", "100-continue")],
], ids=["too long to drop", "perhaps never sent"])
def test_answer_says_when_no_other_request_may_follow(sluiced, hasty, fields):
    proxy = behind(sluiced, hasty.address)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/early", None, fields))
        answer = wire.reader.response()
        assert (answer.status, answer.get("connection")) == (200, "close")
        wire.send(SMUGGLED * 6)
        assert wire.closed_within(5)
    assert hasty.seen == [(1, "/early")]


@pytest.mark.parametrize("path, status", [("/none", 404), ("/small", 413)])
def test_our_own_early_answers_keep_the_connection_too(sluiced, hasty, path, status):
    conf = config({"chat": pool(hasty.address, health="off")},
                  [route("chat", "/small", "small", max_body="10B"),
                   route("chat", "/next", "next")], workers=1)
    proxy = sluiced(conf)
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("POST", path, b"x" * 5000).status == status
        assert wire.ask("GET", "/next").status == 200
    assert hasty.seen == [(1, "/next")]


def test_chunked_body_that_grows_too_large_ends_the_connection(sluiced, hasty):
    """Where it is noticed, it is not known any more how much of it was read."""
    conf = config({"chat": pool(hasty.address, health="off")},
                  [route("chat", max_body="10B")], workers=1)
    proxy = sluiced(conf)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", None, [("Transfer-Encoding", "chunked")])
                  + b"b\r\nhello world\r\n0\r\n\r\n" + SMUGGLED)
        answer = wire.reader.response()
        assert (answer.status, answer.get("connection")) in ((413, "close"), (200, None))
        assert wire.closed_within(5)
    assert (1, "/smuggled") not in hasty.seen and (2, "/smuggled") not in hasty.seen


# -- half-closed clients -------------------------------------------------------------------------


def test_client_that_ended_its_side_gets_its_answer_where_that_is_kept(sluiced, upstream):
    gate = threading.Event()
    server = upstream([[Wait(gate), answer_bytes(b"late")]])
    proxy = behind(sluiced, server.address, half_close="keep")
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", b"x"))
        wire.half_close()
        wait_until(lambda: server.requests, 5, "the request to arrive", proxy.log)
        stays(lambda: not server.ended_by_peer.is_set(), 0.3, "the endpoint's connection is open")
        gate.set()
        assert wire.reader.response().body == b"late"
        assert wire.reader.rest() == b""
    assert proxy.access_log()[0]["reason"] == "ok"


def test_all_pipelined_requests_before_a_half_close_are_answered(sluiced, upstream):
    server = upstream(lambda request: [answer_bytes(request.target.encode())])
    proxy = behind(sluiced, server.address, half_close="keep")
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"".join(request_bytes("GET", f"/{n}") for n in range(20)))
        wire.half_close()
        assert [wire.reader.response().body for _ in range(20)] == [b"/%d" % n for n in range(20)]
        assert wire.reader.rest() == b""


def test_body_that_ends_too_early_is_no_request_even_then(sluiced, upstream):
    server = upstream([answer_bytes()])
    proxy = behind(sluiced, server.address, half_close="keep")
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", None, [("Content-Length", "10")]) + b"abc")
        wire.half_close()
        assert wire.closed_within(5)
    assert server.requests == []
    assert proxy.access_log()[0]["reason"] == "client_gone"


def test_reset_still_means_that_the_client_has_left(sluiced, upstream):
    never = threading.Event()
    server = upstream([[Wait(never)]])
    proxy = behind(sluiced, server.address, half_close="keep")
    try:
        with Wire(proxy.address("edge")) as wire:
            wire.send(request_bytes("POST", "/", b"x"))
            wait_until(lambda: server.requests, 5, "the request to arrive", proxy.log)
            wire.reset()
            assert proxy.access_log()[0]["reason"] == "client_gone"
    finally:
        never.set()


def test_cancel_is_counted_with_the_time_it_took(sluiced, model):
    server = model("--ttft-ms", "60000")
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/v1/completions", b'{"prompt":"x","stream":true}'))
        server.wait_state("running", 1)
    server.wait_state("aborted", 1)
    wait_until(lambda: proxy.metric("sluiced_pool_cancels_total", pool="chat") == 1, 5, "a count")
    assert proxy.metric("sluiced_pool_cancel_seconds_count", pool="chat") == 1
    assert proxy.metric("sluiced_pool_cancel_seconds_sum", pool="chat") < 0.1
