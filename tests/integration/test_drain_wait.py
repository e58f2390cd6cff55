# SPDX-License-Identifier: Apache-2.0
"""`sluiced drain --wait` and `sluiced reload` tell a process that ended from one of which nothing
is known: a scripted admin listener answers what a healthy one would not."""

import json
import socket
import threading
from typing import Any, Callable, Iterator, List, Union

import pytest

from lib.config import config, pool
from lib.process import Process
from lib.sluiced import binary, run_cli
from lib.wait import wait_until
from lib.wire import Message, Reader, Wait, Wire, answer_bytes, request_bytes

Action = Union[bytes, Callable[[], None]]  # to send, or to call

CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"
UNKNOWN = "whether it has ended is not known"


def answer(**members: Any) -> bytes:
    """A JSON object as an answer."""
    return answer_bytes(json.dumps(members).encode())


BEGUN = answer(draining=True)
CLOSING = answer(draining=True, closing=True, delay_ms=0, timeout_ms=60000, inbound=1, outbound=0,
                 requests=0)
OTHER = answer(draining=False, closing=False, delay_ms=0, timeout_ms=60000, inbound=0, outbound=0,
               requests=0)


class Admin:
    """A listener that takes one request a connection, and ends when it has no more answers."""

    def __init__(self, answers: List[List[Action]], backlog: int = 16) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.answers = answers
        self.targets: List[str] = []
        self.ends = True
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        for actions in self.answers:
            sock, _ = self.listener.accept()
            with sock:
                self._answer(sock, Reader(sock).request(), actions)
        if self.ends:
            self.listener.close()

    def _answer(self, sock: socket.socket, request: Message, actions: List[Action]) -> None:
        self.targets.append(f"{request.method} {request.target}")
        for action in actions:
            if isinstance(action, bytes):
                sock.sendall(action)
            else:
                action()

    def stop(self) -> None:
        """Takes no more connections."""
        self.listener.close()


@pytest.fixture
def admin() -> Iterator[Callable[..., Admin]]:
    """Factory of scripted admin listeners."""
    running: List[Admin] = []

    def start(*answers: Any, **options: Any) -> Admin:
        scripts = [[one] if isinstance(one, bytes) else list(one) for one in answers]
        running.append(Admin(scripts, **options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def drain(address: str) -> Process:
    """Runs the verb to its end."""
    return run_cli("drain", "--wait", "--admin", address)


def test_who_is_refused_afterwards_knows_that_it_has_ended(admin):
    server = admin(BEGUN, CLOSING, CLOSING)
    result = drain(server.address)
    assert result.code == 0 and result.stderr == [], result.log()
    assert result.stdout == ["closing: connections inbound 1, outbound 0; requests 0", "ended"]
    assert server.targets == ["POST /drain", "GET /drain", "GET /drain"]


def test_a_process_that_ends_before_the_first_look_has_ended(admin):
    result = drain(admin(BEGUN).address)
    assert (result.code, result.stdout) == (0, ["ended"]), result.log()


@pytest.mark.parametrize("cut", [[], [CUT]], ids=["before", "within"])
def test_an_answer_that_is_cut_is_looked_at_again(admin, cut):
    result = drain(admin(BEGUN, CLOSING, cut, CLOSING, cut).address)
    assert result.code == 0 and result.stdout[-1] == "ended", result.log()


@pytest.mark.parametrize("bad, said", [
    ([answer_bytes(b"broken", "500 Internal Server Error")], "500: broken"),
    ([answer_bytes(b"busy", "503 Service Unavailable")], "503: busy"),
    ([answer_bytes(b"<html>")], "not sluiced"),
    ([answer_bytes(b"[]")], "not sluiced"),
    ([answer()], "not sluiced"),
    ([b"SSH-2.0-x\r\n\r\n"], "GET http://127.0.0.1:"),
], ids=["500", "503", "html", "array", "empty", "not-http"])
def test_an_answer_that_says_nothing_is_no_end(admin, bad, said):
    result = drain(admin(BEGUN, CLOSING, bad).address)
    assert result.code == 1, result.log()
    assert "ended" not in result.stdout
    assert said in result.stderr[0] and UNKNOWN in result.stderr[-1], result.log()


def test_who_only_cuts_connections_is_there(admin):
    result = drain(admin(BEGUN, CLOSING, *[[]] * 40).address)
    assert result.code == 1 and "ended" not in result.stdout, result.log()
    assert UNKNOWN in result.stderr[-1]


def test_silence_is_no_end(admin):
    """The queue of the listener is full: who connects hears nothing."""
    full: List[socket.socket] = []
    server: Admin

    def fill() -> None:
        server.ends = False
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(server.listener.getsockname())
            full.append(sock)

    server = admin(BEGUN, [fill, CLOSING], backlog=0)
    result = drain(server.address)
    for sock in full:
        sock.close()
    assert result.code == 1 and "ended" not in result.stdout, result.log()
    assert "Timeout" in result.stderr[0] and UNKNOWN in result.stderr[-1], result.log()


def test_a_process_that_took_its_place_is_not_waited_for(admin):
    result = drain(admin(BEGUN, CLOSING, *[OTHER] * 100).address)
    assert result.code == 0, result.log()
    assert result.stdout[-1] == "ended; another process answers there now"


def test_a_process_that_shares_its_port_is_not_taken_for_it(admin):
    result = drain(admin(BEGUN, *[CLOSING, OTHER, OTHER] * 15).address)
    assert result.code == 0 and result.stdout[0].startswith("closing"), result.log()
    assert result.stdout[-1].startswith("ended")


def test_a_process_that_is_killed_has_ended(sluiced, upstream):
    gate = threading.Event()
    server = upstream([[Wait(gate), answer_bytes()]])
    proxy = sluiced(config({"chat": pool(server.address, health="off")},
                           drain={"delay": "0s", "timeout": "60s"}))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: server.requests, 10, "the request")
        verb = Process([binary(), "drain", "--wait", "--admin", proxy.address("admin")])
        wait_until(lambda: verb.stdout, 10, "progress", verb.log)
        proxy.stopped = True  # by us, and not with code 0
        proxy.process.kill()
        assert verb.wait(10) == 0 and verb.stdout[-1] == "ended", verb.log()
    gate.set()


def test_drain_of_an_endpoint_is_not_done_when_its_process_went(admin):
    running = answer(matched=1, drained=1, in_flight=3)
    result = run_cli("drain", "a-pod", "--wait", "--admin", admin(running, running).address)
    assert result.code == 1, result.log()
    assert result.stdout == ["gets no new requests, 3 run there"]
    assert result.stderr == ["the process went away"]


@pytest.mark.parametrize("bad, said", [
    (answer_bytes(b"broken", "500 Internal Server Error"), "not known"),
    (answer_bytes(b"<html>"), "not known"),
    (None, "went away"),
], ids=["500", "html", "ended"])
def test_reload_tells_an_end_from_a_bad_answer(admin, bad, said):
    answers = [answer(generation=1, asked=2), answer(asked=2, answered=1)]
    server = admin(*answers, *([bad] if bad else []))
    result = run_cli("reload", "--admin", server.address)
    assert result.code == 1 and result.stdout == [], result.log()
    assert said in result.stderr[-1], result.log()
