# SPDX-License-Identifier: Apache-2.0
"""Nine thousand idle clients and two thousand streams at once: nothing dropped, little memory each.

Under a sanitizer the numbers are smaller and memory is not looked at.
"""

from pathlib import Path
from typing import Any, Iterator

import pytest

from lib.backend import Backend, build, want_descriptors
from lib.bulk import Memory
from lib.config import config, pool
from lib.crowd import Crowd, check_stream, stream_is_whole
from lib.steady import is_sanitized, settled
from lib.wait import stays, wait_until

IDLE_N = 1500 if is_sanitized() else 9000
STREAMS_N = 300 if is_sanitized() else 2000
TOKENS_A_SECOND, TOKENS_N = 4, 28
# What is promised for a connection between two requests; and what the heap puts in front of it,
# and takes in whole pages and tables that double.
IDLE_CONNECTION_MAX_BYTES = 512
HEAP_HEADER_BYTES = 16
HEAP_SLACK_BYTES = 512 << 10
STREAM_MAX_BYTES = 5 << 10
LEFT_BEHIND_MAX_BYTES = 4 << 20  # once all streams and connections have ended
WARM_N = 256
HOLD_S = 1.0
BODY_END = b"\r\n\r\n" + b"x" * 16


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """An upstream for thousands."""
    want_descriptors(IDLE_N + 500)
    server = Backend(build(tmp_path))
    yield server
    server.stop()


@pytest.fixture
def proxy(sluiced, backend) -> Any:
    """One worker in front of it that has seen some connections come and go."""
    conf = config({"chat": pool(backend.address, health="off")}, workers=1,
                  log={"level": "info", "access": "off"})
    conf["listeners"][0]["http"]["timeouts"] = {"idle": "1h"}
    running = sluiced(conf)
    crowd = Crowd(running.address("edge"))
    crowd.connect_and_ask(WARM_N, "/bytes/16", BODY_END)
    assert crowd.failures == [] and crowd.held() == WARM_N
    crowd.close()
    wait_connections(running, 0)
    return running


def wait_connections(proxy: Any, count: int) -> None:
    """Waits until the listener has so many connections."""
    wait_until(lambda: proxy.metric("sluiced_listener_connections") == count, 20,
               f"{count} connections", proxy.status)


def test_nine_thousand_idle_connections_are_all_answered_again(proxy):
    memory = Memory(proxy.process.pid)
    crowd = Crowd(proxy.address("edge"))
    try:
        crowd.connect_and_ask(IDLE_N, "/bytes/16", BODY_END)
        assert crowd.failures == []
        wait_connections(proxy, IDLE_N)
        stays(lambda: crowd.held() == IDLE_N, HOLD_S, "all connections open")
        idle_bytes = memory.anon_growth()
        crowd.ask_all(crowd.clients, "/bytes/16", BODY_END)
        assert crowd.failures == []
        assert crowd.held() == IDLE_N
        again_bytes = memory.anon_growth()
        assert proxy.metric("sluiced_listener_connections") == IDLE_N
    finally:
        crowd.close()
    assert proxy.metric("sluiced_listener_connections_total") == IDLE_N + WARM_N
    assert proxy.metric("sluiced_requests_total", reason="ok") == 2 * IDLE_N + WARM_N
    assert proxy.metric("sluiced_requests_total") == 2 * IDLE_N + WARM_N
    wait_connections(proxy, 0)
    settled(proxy)
    print({"bytes_a_connection": idle_bytes / IDLE_N, "after_another_request": again_bytes / IDLE_N,
           "left_kib": memory.anon_growth() >> 10})
    limit = IDLE_N * (IDLE_CONNECTION_MAX_BYTES + HEAP_HEADER_BYTES) + HEAP_SLACK_BYTES
    assert is_sanitized() or max(idle_bytes, again_bytes) <= limit, (
        f"{max(idle_bytes, again_bytes) / IDLE_N:.0f} bytes for an idle connection, promised are "
        f"{IDLE_CONNECTION_MAX_BYTES}")


def test_two_thousand_streams_lose_no_token(proxy):
    memory = Memory(proxy.process.pid)
    crowd = Crowd(proxy.address("edge"))
    try:
        streams = crowd.begin_streams(STREAMS_N, f"/sse/{TOKENS_A_SECOND}/{TOKENS_N}")
        done = 0
        bytes_active = -1
        while done < STREAMS_N and not crowd.failures:
            done += crowd.turn(1.0, stream_is_whole)
            if bytes_active < 0 and all(client.got for client in streams):
                assert done == 0, "some streams ended before all had begun"
                assert proxy.metric("sluiced_endpoint_in_flight") == STREAMS_N
                assert proxy.metric("sluiced_listener_connections") == STREAMS_N
                bytes_active = memory.anon_growth()
        assert crowd.failures == [] and bytes_active >= 0
        wrong = [text for text in (check_stream(bytes(c.got), TOKENS_N) for c in streams) if text]
        assert wrong == [], (len(wrong), wrong[:5])
        assert crowd.held() == STREAMS_N
        settled(proxy)
        crowd.ask_all(streams, "/bytes/16", BODY_END)
        assert crowd.failures == []
    finally:
        crowd.close()
    assert proxy.metric("sluiced_requests_total", reason="ok") == 2 * STREAMS_N + WARM_N
    assert proxy.metric("sluiced_requests_total") == 2 * STREAMS_N + WARM_N
    wait_connections(proxy, 0)
    settled(proxy)
    wait_until(lambda: proxy.process.open_fds() < 500, 20, "idle upstream connections to be closed",
               proxy.status)
    if not is_sanitized():
        wait_until(lambda: memory.anon_growth() <= LEFT_BEHIND_MAX_BYTES, 15,
                   "memory to be given back", lambda: memory.anon_growth())
    left_bytes = memory.anon_growth()
    second_bytes = stream_again(proxy)
    print({"bytes_a_stream": bytes_active / STREAMS_N, "left_kib": left_bytes >> 10,
           "second_crowd_kib": second_bytes >> 10})
    if not is_sanitized():
        assert bytes_active <= STREAMS_N * STREAM_MAX_BYTES, bytes_active / STREAMS_N
        assert left_bytes + second_bytes <= bytes_active * 5 // 4, "a second crowd costs more"


def stream_again(proxy: Any) -> int:
    """The same crowd with short streams; by how much memory grew beyond what the first one left."""
    memory = Memory(proxy.process.pid)
    crowd = Crowd(proxy.address("edge"))
    try:
        streams = crowd.begin_streams(STREAMS_N, "/sse/1/2")
        done = 0
        while done < STREAMS_N and not crowd.failures:
            done += crowd.turn(1.0, stream_is_whole)
        wrong = [text for text in (check_stream(bytes(c.got), 2) for c in streams) if text]
        assert crowd.failures == [] and wrong == [], (crowd.failures[:5], wrong[:5])
    finally:
        crowd.close()
    wait_connections(proxy, 0)
    return memory.anon_growth()
