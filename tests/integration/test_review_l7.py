# SPDX-License-Identifier: Apache-2.0
"""What a hostile or unlucky peer can do at the worst moment of a request."""

import socket
import threading
import time

import pytest

from lib.config import config, listener, pool, route
from lib.wait import wait_until
from lib.wire import Close, Closed, Reader, Wait, Wire, answer_bytes, request_bytes

MIB = 1 << 20


def hasty_server(drops: int):
    """Resets a connection after the request's head, the first drops times; then answers."""
    server = socket.create_server(("127.0.0.1", 0))
    seen = []

    def serve() -> None:
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            reader = Reader(sock)
            try:
                if len(seen) < drops:
                    seen.append(reader.head())
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                    b"\x01\x00\x00\x00\x00\x00\x00\x00")
                else:
                    seen.append(reader.request())
                    sock.sendall(answer_bytes(b"%d" % len(seen[-1].body)))
            except (Closed, OSError):
                pass
            sock.close()

    threading.Thread(target=serve, daemon=True).start()
    return server, f"127.0.0.1:{server.getsockname()[1]}", seen


def test_body_that_goes_on_while_a_retry_waits_arrives_whole(sluiced):
    server, address, seen = hasty_server(1)
    other, other_address, other_seen = hasty_server(0)
    proxy = sluiced(config({"chat": pool(address, other_address)}, workers=1))
    try:
        for _ in range(20):  # until the one that resets was the first to be picked
            with Wire(proxy.address("edge")) as wire:
                wire.send(request_bytes("PUT", "/a", None, [("Content-Length", "2000")]))
                for _ in range(200):
                    wire.send(b"x" * 10)
                    time.sleep(0.0005)
                answer = wire.reader.response()
            assert (answer.status, answer.body) == (200, b"2000")
            if seen:
                break
        assert seen, "the retry was never needed"
    finally:
        server.close()
        other.close()


def test_empty_event_stream_with_a_length_is_answered_at_once(sluiced, upstream):
    server = upstream([answer_bytes(b"", fields=[("Content-Type", "text/event-stream")])])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        wire.sock.settimeout(5)
        answer = wire.ask("POST", "/v1/chat/completions", b"{}")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("size", [1000, 30000, 45000, 60000])
def test_large_host_field_is_no_end_of_the_world(sluiced, upstream, size):
    server = upstream([answer_bytes()])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/", fields=[("Host", "a" * size)]).status in (200, 400, 431)
    assert proxy.get("/").status == 200


def test_client_that_pipelines_and_never_reads_is_not_served_without_end(sluiced, upstream):
    server = upstream([answer_bytes(b"x" * 100000)])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    wire = Wire(proxy.address("edge"), receive_buffer=4096)
    wire.sock.settimeout(0.5)
    try:
        for _ in range(400):
            wire.send(request_bytes("GET", "/"))
            time.sleep(0.002)
    except OSError:
        pass
    count = len(server.requests)

    def quiet() -> bool:
        nonlocal count
        before, count = count, len(server.requests)
        return before == count
    wait_until(quiet, 10, "requests to stop")
    assert count < 120, f"{count * 100000} bytes were fetched for a client that takes none"
    wire.sock.settimeout(10)
    for _ in range(count + 20):  # and it goes on as soon as it reads
        assert len(wire.reader.response().body) == 100000
    wire.close()


def test_drain_does_not_cut_what_a_slow_client_has_not_taken(sluiced, upstream):
    server = upstream([answer_bytes(b"x" * 60000)])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge"), receive_buffer=4096) as wire:
        done = 0
        for count in range(1, 200):
            wire.send(request_bytes("GET", "/"))
            try:
                proxy.access_log(count, 0.5)
            except AssertionError:
                break
            done = count
            if count * 60000 > 3 * MIB:
                break
        proxy.process.signal(15)
        wait_until(lambda: proxy.events("draining"), 5, "the drain", proxy.log)
        time.sleep(0.2)
        for _ in range(done):
            assert len(wire.reader.response().body) == 60000


def stream_script(event):
    """A response whose head and first half come at once, its end when the test says so."""
    return [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc", Wait(event), b"def"]


def test_connection_whose_last_response_ended_during_the_drain_is_closed(sluiced, upstream):
    event = threading.Event()
    server = upstream([stream_script(event)])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1,
                           drain={"delay": "0s", "timeout": "30s"}))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        head = wire.reader.head()
        assert wire.reader.exactly(3) == b"abc" and head.get("connection") is None
        proxy.process.signal(15)
        wait_until(lambda: proxy.events("draining"), 5, "the drain", proxy.log)
        time.sleep(0.1)
        event.set()
        assert wire.reader.exactly(3) == b"def"
        assert wire.closed_within(3), "an idle connection holds up the drain"
    assert proxy.process.wait(5) == 0
    assert proxy.events("drained")[0]["connections_cut"] == 0


def test_connection_of_a_removed_listener_is_closed_after_its_response(sluiced, upstream):
    event = threading.Event()
    server = upstream([stream_script(event)])
    routes = [route("chat")]
    before = config({"chat": pool(server.address)}, workers=1)
    before["listeners"].append(listener(routes, name="second"))
    after = config({"chat": pool(server.address)}, workers=1)
    proxy = sluiced(before)
    with Wire(proxy.address("second")) as wire:
        wire.send(request_bytes("GET", "/"))
        wire.reader.head()
        assert wire.reader.exactly(3) == b"abc"
        assert proxy.reload(after)
        event.set()
        assert wire.reader.exactly(3) == b"def"
        assert wire.closed_within(3)


def test_refused_connect_without_another_endpoint_is_no_retry(sluiced):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    proxy = sluiced(config({"chat": pool(address, health="off", queue="off")}, workers=1))
    assert proxy.get("/").status == 502
    assert proxy.metric("sluiced_pool_connect_failures_total", pool="chat") == 1
    assert proxy.metric("sluiced_pool_retries_total", pool="chat") == 0


def test_event_order_of_close_is_kept(sluiced, upstream):
    """A response that is early and whole is delivered, and the upload is not read as a request."""
    server = upstream([[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Close()]])
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", smuggled))
        assert wire.reader.response().body == b"ok"
    assert [request.target for request in server.requests] == ["/"]
