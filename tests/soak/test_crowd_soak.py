# SPDX-License-Identifier: Apache-2.0
"""Crowds that come and go, and bodies cut anywhere: neither memory nor descriptors stay."""

import random
import time
from typing import Any, List, Tuple

import pytest

from lib.backend import Backend, build, want_descriptors
from lib.bulk import BulkServer, Flow, Memory, take_body
from lib.config import config, pool, route
from lib.crowd import Crowd
from lib.steady import is_sanitized, settled
from lib.wait import wait_until
from lib.wire import Closed, Wire, request_bytes
from test_stream_soak import growth

CROWD_N, STREAMS_N = 4000, 500
BODY_BYTES = 32 << 20
GROWTH_BYTES = 1 << 20
SEED = 11


def check_flat(proxy: Any, samples: List[Tuple[float, int]], fds: List[int]) -> None:
    """What was taken at the end of each round does not rise, the first rounds aside."""
    tail = samples[len(samples) // 5:]
    print({"rounds": len(samples), "anon_kib": tail[-1][1] >> 10,
           "growth_kib": int(growth(tail)) >> 10, "fds": fds[-1]})
    assert max(fds[len(fds) // 2:]) <= max(fds[:len(fds) // 2 + 1]) + 32, fds
    assert is_sanitized() or growth(tail) < GROWTH_BYTES, [size >> 10 for _, size in samples]
    settled(proxy)


def closed(proxy: Any) -> None:
    """Waits until the listener has no connection."""
    wait_until(lambda: proxy.metric("sluiced_listener_connections") == 0, 30,
               "all connections to be closed", proxy.status)


def test_crowds_that_come_and_go_leave_nothing(sluiced, tmp_path, seconds):
    """Half of a round's clients leave in the middle of their streams."""
    want_descriptors(CROWD_N + STREAMS_N + 500)
    backend = Backend(build(tmp_path))
    try:
        proxy = sluiced(config({"chat": pool(backend.address, health="off")}, workers=2,
                               log={"level": "info", "access": "off"}))
        memory = Memory(proxy.process.pid)
        samples: List[Tuple[float, int]] = []
        fds: List[int] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(samples) < 10:
            crowd = Crowd(proxy.address("edge"))
            try:
                crowd.connect_and_ask(CROWD_N, "/bytes/16", b"\r\n\r\n" + b"x" * 16)
                crowd.ask_all(crowd.clients, "/bytes/1024", b"x" * 1024)
                assert crowd.failures == [] and crowd.held() == CROWD_N
                streams = crowd.begin_streams(STREAMS_N, "/sse/10/100")
                while not all(client.got for client in streams) and not crowd.failures:
                    crowd.turn(1.0, lambda got: False)
                assert crowd.failures == []
            finally:
                crowd.close()
            closed(proxy)
            samples.append((time.monotonic(), memory.anon_growth()))
            fds.append(proxy.process.open_fds())
        check_flat(proxy, samples, fds)
        assert proxy.metric("sluiced_requests_total", reason="ok") == 2 * CROWD_N * len(samples)
        assert proxy.metric("sluiced_requests_total",
                            reason="client_gone") == STREAMS_N * len(samples)
    finally:
        backend.stop()


def cut(edge: str, dice: random.Random, up: bool) -> None:
    """A body that the client gives up somewhere, by FIN or by RST."""
    some = dice.randrange(BODY_BYTES)
    with Wire(edge) as wire:
        if up:
            wire.send(request_bytes("POST", "/", None, [("Content-Length", str(BODY_BYTES))]))
            wire.send(bytes(some))
        else:
            wire.send(request_bytes("GET", f"/{BODY_BYTES}"))
            wire.reader.head()
            wire.reader.exactly(some)
        if dice.random() < 0.5:
            wire.reset()


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_bodies_that_are_cut_leave_nothing(sluiced, seconds, up):
    dice = random.Random(SEED)
    bulk = BulkServer()
    try:
        proxy = sluiced(config({"bulk": pool(bulk.address, health="off")},
                               [route("bulk", max_body="off")], workers=1,
                               log={"level": "info", "access": "off"}))
        edge = proxy.address("edge")
        memory = Memory(proxy.process.pid)
        samples: List[Tuple[float, int]] = []
        fds: List[int] = []
        end = time.monotonic() + seconds / 2
        while time.monotonic() < end or len(samples) < 10:
            for _ in range(5):
                try:
                    cut(edge, dice, up)
                except (Closed, OSError) as error:
                    raise AssertionError("the proxy ended what the client had not") from error
            with Wire(edge) as wire:
                wire.send(request_bytes("GET", "/1000000"))
                head = wire.reader.head()
                assert take_body(wire.reader, head, Flow()).told() == {
                    "bytes": 1_000_000, "equal": True}
            closed(proxy)
            samples.append((time.monotonic(), memory.anon_growth()))
            fds.append(proxy.process.open_fds())
        check_flat(proxy, samples, fds)
    finally:
        bulk.stop()
