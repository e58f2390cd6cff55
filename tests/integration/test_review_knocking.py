# SPDX-License-Identifier: Apache-2.0
"""Requests that wait while all endpoints refuse connections: what a review found."""

import http.server
import json
import socket
import socketserver
import ssl
import threading
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lib.config import config, pool, route
from lib.wait import wait_until
from lib.wire import Wire, answer_bytes, request_bytes

UNSENT_MAX_N = 4  # endpoints that take no connection, for one request


class UnixServer:
    """Answers each request by one status, at a unix socket: one where nobody listens refuses
    before connect() returns."""

    def __init__(self, path: Path, status: int) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            """HTTP/1.0, so that no connection is kept."""

            def do_GET(self) -> None:  # pylint: disable=invalid-name
                """Its one answer."""
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_args: Any) -> None:  # pylint: disable=arguments-differ
                """None: there is no address to log."""

        path.unlink(missing_ok=True)
        self.address = f"unix:{path}"
        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Nobody listens from now on."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def at_socket(tmp_path: Path) -> Iterator[Callable[[str, int], UnixServer]]:
    """Factory: name of the socket, status."""
    running = []

    def start(name: str, status: int) -> UnixServer:
        running.append(UnixServer(tmp_path / name, status))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def test_who_was_out_for_its_answers_and_refuses_now_is_not_asked_for_ever(sluiced, at_socket):
    """All in one turn of the loop, as it refused at once: the worker did nothing else any more."""
    bad, good = at_socket("bad", 502), at_socket("good", 200)
    proxy = sluiced(config({"chat": pool(bad.address, good.address, health="off",
                                         balance="round_robin", queue={"timeout": "60s"})},
                           workers=1))
    with Wire(proxy.address("edge")) as wire:
        while proxy.endpoint("chat", bad.address)["ejections"] == 0:
            wire.ask("GET", "/")
        bad.stop()
        good.stop()
        wire.send(request_bytes("GET", "/last"))
        wait_until(lambda: proxy.metric("sluiced_pool_queued_total", pool="chat") == 1, 10,
                   "it to wait", proxy.status)
        at_socket("good", 200)
        assert wire.reader.response().status == 200


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_handshakes_that_fail_are_counted_over_all_waits(sluiced, upstream, ca, other_ca, refusing):
    """The one that listens is no better than before when all others refuse: each look of each
    request that waits made it do another handshake."""
    leaf = other_ca.issue("model", ips=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.cert, leaf.key)
    server = upstream([answer_bytes()], tls=context)
    proxy = sluiced(config({"chat": pool(server.address, refusing, health="off",
                                         balance="round_robin", tls={"ca": ca.path},
                                         queue={"timeout": "3s"})}, workers=1))
    answer = proxy.get("/")
    assert answer.status == 502, answer
    assert len(server.handshake_errors) <= UNSENT_MAX_N
    assert json.loads(answer.body)["error"]["reason"] == "upstream_tls"


def test_retry_does_not_go_where_a_person_let_nobody_go_meanwhile(sluiced, upstream):
    """It was picked before the back-off."""
    busy = upstream([answer_bytes(b"no", "500 Trouble")])
    other, spare = upstream([answer_bytes(b"other")]), upstream([answer_bytes(b"spare")])
    proxy = sluiced(config(
        {"chat": pool(busy.address, other.address, health="off", balance="round_robin",
                      fallback="spare"),
         "spare": pool(spare.address, health="off")},
        [route("chat", retry={"statuses": 500, "backoff": {"min": "6s", "max": "6s"}})],
        workers=1))

    def drain(order: str = "") -> None:
        """Drains the other endpoint, or lets it take requests again."""
        path = f"/drain/endpoint?endpoint={other.address}{order}"
        assert proxy.admin(path, "POST").status == 200

    def sent() -> int:
        """How many requests went to the other endpoint."""
        return int(proxy.endpoint("chat", other.address)["requests"])

    for _ in range(30):  # until the drain comes within the back-off, which may be short
        before, tries = sent(), len(busy.requests)
        with Wire(proxy.address("edge")) as wire:
            wire.send(request_bytes("GET", "/"))
            wait_until(lambda: len(busy.requests) > tries or sent() > before, 10, "it", proxy.status)
            drain()
            in_time = sent() == before
            answer = wire.reader.response()
        if in_time:
            assert answer.body == b"spare"
            assert sent() == before
            return
        drain("&undo=1")
    raise AssertionError("the back-off was always over before the drain")
