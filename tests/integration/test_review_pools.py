# SPDX-License-Identifier: Apache-2.0
"""Pools at their edges: who is only slow, what is not told, what a drain says."""

import socket
import threading
from typing import Any, Dict, Iterator, List

import pytest

from lib.config import config, pool, route
from lib.process import Process
from lib.sluiced import Sluiced, binary
from lib.wait import wait_until
from lib.wire import Closed, Reader, Wire, answer_bytes, request_bytes

EVENTS_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
               b"Transfer-Encoding: chunked\r\n\r\n")


class Slow:
    """A server that does what the last part of the path says, until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        reader = Reader(sock)
        with sock:
            try:
                while True:
                    what = reader.request().target.rsplit("/", 1)[1]
                    getattr(self, what, self.name)(sock)
            except (Closed, OSError):
                pass

    def name(self, sock: socket.socket) -> None:
        """Says who it is, at once."""
        sock.sendall(answer_bytes(self.address.encode()))

    def stuck(self, sock: socket.socket) -> None:
        """Nothing: a long prompt, or an answer that comes whole."""
        self.let_go.wait()
        self.name(sock)

    def flow(self, sock: socket.socket) -> None:
        """A token now and then."""
        sock.sendall(EVENTS_HEAD)
        while not self.let_go.wait(0.2):
            sock.sendall(b"9\r\ndata: x\n\n\r\n")
        sock.sendall(b"0\r\n\r\n")

    def listen(self, sock: socket.socket) -> None:
        """A stream of events of which none has happened yet."""
        sock.sendall(EVENTS_HEAD)
        self.let_go.wait()
        sock.sendall(b"0\r\n\r\n")

    def stop(self) -> None:
        """Ends what waits, and lets nobody in."""
        self.let_go.set()
        self._listener.close()


@pytest.fixture
def pair() -> Iterator[List[Slow]]:
    """Two of them."""
    servers = [Slow(), Slow()]
    yield servers
    for server in servers:
        server.stop()


class Client:
    """One pool, and who of the pair answers which key."""

    def __init__(self, proxy: Sluiced, name: str, servers: List[Slow]) -> None:
        self.proxy, self.name = proxy, name
        keys: Dict[str, str] = {}
        for i in range(1000):
            keys.setdefault(self.asked(str(i)), str(i))
            if len(keys) == 2:
                break
        self.slow, self.quick = (keys[server.address] for server in servers)
        self.wires: List[Wire] = []

    def asked(self, key: str) -> str:
        """Who answered a request with that key."""
        answer = self.proxy.get(f"/{self.name}/name", fields={"x-key": key})
        assert answer.status == 200
        return answer.body.decode()

    def send(self, what: str, count: int = 1, method: str = "GET", **options: Any) -> None:
        """Requests that are not waited for, to the slow one."""
        fields = [("x-key", self.slow), *options.pop("fields", [])]
        for _ in range(count):
            wire = Wire(self.proxy.address("edge"))
            wire.send(request_bytes(method, f"/{self.name}/{what}", fields=fields, **options))
            self.wires.append(wire)


NAMES = ("long", "flow", "listen", "expect", "hung")


def keyed(servers: List[Slow]) -> Any:
    """A pool whose endpoints are chosen by who asks."""
    balance = {"policy": "ring_hash", "key": {"header": "x-key"}, "bound": "off"}
    return pool(*[server.address for server in servers], health="off", balance=balance)


def test_who_is_slow_is_not_taken_for_one_that_hangs(sluiced, pair):
    """A server is let alone while only one request waits there, while it sends anything to anybody,
    while what waits are listeners whose head has come, or clients that have yet to send."""
    proxy = sluiced(config({name: keyed(pair) for name in NAMES},
                           [route(name, f"/{name}/", name) for name in NAMES], workers=2))
    pools = {name: Client(proxy, name, pair) for name in NAMES}
    pools["long"].send("stuck")
    pools["flow"].send("flow")
    pools["flow"].send("stuck", 4)
    pools["listen"].send("listen", 4)
    pools["expect"].send("name", 4, "POST",
                         fields=[("Expect", "100-continue"), ("Content-Length", "5")])
    pools["hung"].send("stuck", 4)  # last: the others have been silent for longer

    def ejected() -> Any:
        for client in pools.values():
            assert client.asked(client.quick) == pair[1].address
        return proxy.events("endpoint_hangs")

    wait_until(ejected, 30, "the one that hangs to be found", proxy.status)
    hangs = [event["pool"] for event in proxy.events("endpoint_hangs")]
    assert hangs == ["hung"], "slow is not dead"
    pair[0].let_go.set()


@pytest.mark.parametrize("headers", [
    "authorization:Bearer s3cret",  # no space: a text, and no map
    ["authorization: Bearer s3cret"],
    {"authorization: Bearer s3cret": None},
    {"authorization": ["Bearer s3cret"]},
    {"authorization": "Bearer s3cret\n"},
])
def test_header_of_a_check_that_is_refused_is_not_told(sluiced, pair, headers):
    """What is wrong with a header field is said without its value, which may be a token."""
    address = pair[1].address
    proxy = sluiced(config({"chat": pool(address, health="off")}, workers=1))
    health = {"http": "/name", "headers": headers}
    assert not proxy.reload(config({"chat": pool(address, health=health)}, workers=1))
    assert "header" in proxy.status()["reload_error"]
    told = [proxy.lines(), proxy.status(), proxy.admin("/reload").body]
    assert "s3cret" not in str(told)


def test_wait_for_a_drain_that_is_undone_does_not_say_that_it_is_done(sluiced, pair):
    """Whoever ends the pod after `drain --wait` would cut what goes there again."""
    slow = pair[0]
    proxy = sluiced(config({"chat": pool(slow.address, health="off")}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/stuck"))
        wait_until(lambda: proxy.endpoint("chat", slow.address)["in_flight"] == 1, 10,
                   "the request", proxy.status)
        verb = Process([binary(), "drain", slow.address, "--wait", "--admin",
                        proxy.address("admin")])
        wait_until(lambda: verb.stdout == ["gets no new requests, 1 run there"], 10, "the verb",
                   verb.log)
        proxy.admin(f"/drain/endpoint?endpoint={slow.address}&undo=1", "POST")
        assert verb.wait(10) == 1, verb.log()
        assert verb.stdout[1:] == ["gets requests again"]
        slow.let_go.set()
