# SPDX-License-Identifier: Apache-2.0
"""Kept connections: how long endpoints bear them, and what happens when one dies under a request."""

import json
import socket
import threading
import time
from typing import Any, List, NamedTuple

import pytest

from lib.config import config, pool, route
from lib.wait import wait_until
from lib.wire import Close, Closed, Reader, Wire, answer_bytes, request_bytes


class Ended(NamedTuple):
    """A connection to an IdleServer that has ended."""

    by_server: bool
    idle_s: float


class IdleServer:
    """Closes connections that were idle for so long, and notes who was first."""

    def __init__(self, idle_s: float, answer: bytes = answer_bytes()) -> None:
        self.idle_s = idle_s
        self.answer = answer
        self.ended: List[Ended] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        reader = Reader(sock)
        since = time.monotonic()
        try:
            reader.request()
            while True:
                sock.sendall(self.answer)
                since = time.monotonic()
                sock.settimeout(self.idle_s)
                reader.request()
        except socket.timeout:
            self.ended.append(Ended(True, time.monotonic() - since))
        except (Closed, OSError):
            self.ended.append(Ended(False, time.monotonic() - since))
        sock.close()

    def __enter__(self) -> "IdleServer":
        return self

    def __exit__(self, *_exc: Any) -> None:
        self.listener.close()


def behind(sluiced: Any, address: str) -> Any:
    """sluiced in front of one endpoint, ready to keep connections for long."""
    return sluiced(config({"chat": pool(address, health="off",
                                        timeouts={"keepalive_idle": "60s"})}, workers=1))


def one_life(proxy: Any, server: IdleServer) -> Ended:
    """A request, and the end of the connection that it was sent on."""
    before = len(server.ended)
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("POST", "/", b"x").status == 200
    wait_until(lambda: len(server.ended) > before, 10, "the upstream connection to end", proxy.log)
    return server.ended[-1]


def test_idle_time_of_an_endpoint_is_learned_and_stayed_below(sluiced):
    with IdleServer(1.1) as server:
        proxy = behind(sluiced, server.address)
        for _ in range(3):
            assert one_life(proxy, server).by_server
        learned = proxy.endpoint("chat", server.address)["keepalive_learned_ms"]
        assert 1000 <= learned <= 1300
        for _ in range(2):
            ended = one_life(proxy, server)
            assert not ended.by_server
            assert ended.idle_s < 1.1 * 0.9


def test_one_restart_teaches_nothing(sluiced):
    """All connections end at once, equally old: that is no timer."""
    with IdleServer(0.3) as server:
        proxy = behind(sluiced, server.address)
        wires = [Wire(proxy.address("edge")) for _ in range(8)]
        threads = [threading.Thread(target=w.ask, args=("GET", "/")) for w in wires]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: sum(e.by_server for e in server.ended) >= 1, 10, "an end", proxy.log)
        wait_until(lambda: len(server.ended) == int(proxy.metric("sluiced_pool_connects_total")),
                   10, "all to end", proxy.log)
        assert proxy.endpoint("chat", server.address)["keepalive_learned_ms"] == 0
        for wire in wires:
            wire.close()


def test_what_an_endpoint_says_of_its_idle_time_is_believed(sluiced):
    answer = answer_bytes(fields=[("Connection", "keep-alive"), ("Keep-Alive", "timeout=1, max=9")])
    with IdleServer(1.0, answer) as server:
        proxy = behind(sluiced, server.address)
        ended = one_life(proxy, server)
        assert not ended.by_server
        assert 0.7 < ended.idle_s < 1.0


def test_endpoint_that_says_zero_gets_a_new_connection_each_time(sluiced):
    with IdleServer(30, answer_bytes(fields=[("Keep-Alive", "timeout=0")])) as server:
        proxy = behind(sluiced, server.address)
        assert not one_life(proxy, server).by_server


# -- a request on a connection that dies ---------------------------------------------------------


def test_generation_is_sent_again_where_the_route_says_so(sluiced, upstream):
    bad, good = upstream([[Close(reset=True)]]), upstream([answer_bytes(b"good")])
    conf = config({"chat": pool(bad.address, good.address, balance="round_robin")},
                  [route("chat", replay="generation")], workers=1)
    proxy = sluiced(conf)
    with Wire(proxy.address("edge")) as wire:
        for n in range(4):
            assert wire.ask("POST", "/v1/completions", b"%d" % n).body == b"good"
    assert [r.body for r in good.requests] == [b"0", b"1", b"2", b"3"]
    assert len(bad.requests) > 0
    assert sum(line["tries"] for line in proxy.access_log(4)) == 4 + len(bad.requests)


def test_generation_is_sent_twice_at_most(sluiced, upstream):
    bad = [upstream([[Close(reset=True)]]) for _ in range(3)]
    conf = config({"chat": pool(*(b.address for b in bad))}, [route("chat", replay="generation")],
                  workers=1)
    proxy = sluiced(conf)
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("POST", "/", b"x")
        assert (answer.status, json.loads(answer.body)["error"]["reason"]) == (502, "upstream_reset")
    assert sum(len(b.requests) for b in bad) == 2


@pytest.mark.parametrize("method, replay, again", [
    ("GET", "safe", True), ("PUT", "safe", True), ("POST", "safe", False),
    ("POST", "generation", True)])
def test_request_on_a_kept_connection_that_answers_nothing(sluiced, upstream, method, replay, again):
    server = upstream([answer_bytes(b"first"), [Close()], answer_bytes(b"again")])
    proxy = sluiced(config({"chat": pool(server.address)}, [route("chat", replay=replay)],
                           workers=1))
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").body == b"first"
        answer = wire.ask(method, "/", b"" if method == "GET" else b"x")
        assert (answer.status, answer.body == b"again") == ((200, True) if again else (502, False))
    assert server.connections_of == ([1, 1, 2] if again else [1, 1])
    # Its idle connection died, which is no fault of the endpoint's.
    assert proxy.endpoint("chat", server.address)["failures"] == 0


def test_endpoint_that_died_with_its_kept_connection_costs_no_idempotent_request(sluiced, upstream):
    """What it is asked on its kept connection is sent there once more, and then to another one."""
    bad = upstream(lambda request: [answer_bytes(b"bad")] if request.target == "/well"
                   else [Close(reset=True)])
    good = upstream([answer_bytes(b"good")])
    by_key = {"policy": "ring_hash", "key": {"header": "x-key"}}
    proxy = sluiced(config({"chat": pool(bad.address, good.address, balance=by_key)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        key = next(key for key in map(str, range(64))
                   if wire.ask("GET", "/well", fields=[("x-key", key)]).body == b"bad")
        asked = len(bad.requests)
        assert wire.ask("GET", "/", fields=[("x-key", key)]).body == b"good"
    assert len(bad.requests) == asked + 2
    last = proxy.access_log(2)[-1]
    assert (last["status"], last["tries"]) == (200, 3)


def test_answer_that_broke_off_is_no_stale_connection(sluiced, upstream):
    """Bytes of a head came: the endpoint was at it, and broke."""
    server = upstream([answer_bytes(b"first"), [b"HTTP/1.1 2", Close()], answer_bytes(b"again")])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").body == b"first"
        assert wire.ask("GET", "/").status == 502  # there is no other endpoint to ask
    assert proxy.endpoint("chat", server.address)["failures"] == 1


@pytest.mark.parametrize("size, again", [(900_000, True), (1_100_000, False)])
def test_prompts_up_to_a_mebibyte_go_on_to_another_endpoint(sluiced, upstream, size, again):
    busy = upstream([answer_bytes(b"busy", "503 Service Unavailable", [("Retry-After", "1")])])
    free = upstream([answer_bytes(b"free")])
    proxy = sluiced(config({"chat": pool(busy.address, free.address, balance="round_robin")},
                           workers=1))
    got = set()
    for _ in range(2):
        with Wire(proxy.address("edge")) as wire:
            got.add(wire.ask("POST", "/", b"p" * size).body)
    assert (b"busy" in got) is not again
    assert [len(r.body) for r in free.requests] == [size] * (2 if again else 1)


def test_requests_that_follow_each_other_on_one_connection_stay_in_step(sluiced, upstream):
    """A kept connection that ends while requests are pipelined costs none of them."""
    server = upstream(lambda request: [answer_bytes(request.target.encode())]
                      + ([Close()] if request.target.endswith("5") else []))
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"".join(request_bytes("GET", f"/{n}") for n in range(20)))
        assert [wire.reader.response().body for _ in range(20)] == [b"/%d" % n for n in range(20)]
