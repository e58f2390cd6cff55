# SPDX-License-Identifier: Apache-2.0
"""Thousands of client connections in one thread: each asks, holds, and notices what is unasked."""

import re
import select
import socket
import time
from typing import Callable, Dict, List

from lib.wire import request_bytes

WINDOW_N = 128  # connections under way, so that no backlog overflows
SOURCES_N = 8  # addresses to connect from: so many ports are not taken from one
IP_BIND_ADDRESS_NO_PORT = 24
DEADLINE_S = 60.0
CHUNK = re.compile(rb'([0-9a-f]+)\r\n(data: \{"n":(\d+),[^\n]*\n\n)\r\n')


class Client:
    """One connection."""

    def __init__(self, number: int, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.got = bytearray()
        self.asking = False
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        self.sock.bind((f"127.0.0.{2 + number % SOURCES_N}", 0))
        self.sock.connect_ex((host, int(port)))


class Crowd:
    """Connections to one listener. Whatever goes wrong with any of them is in `failures`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.clients: List[Client] = []
        self.failures: List[str] = []
        self._epoll = select.epoll()
        self._by_fd: Dict[int, Client] = {}

    def open(self, count: int) -> List[Client]:
        """Begins so many more connections; each sends its request as soon as it is there."""
        fresh = [Client(len(self.clients) + i, self.address) for i in range(count)]
        for client in fresh:
            self._by_fd[client.sock.fileno()] = client
            self._epoll.register(client.sock.fileno(), select.EPOLLIN)
        self.clients += fresh
        return fresh

    def _ask(self, client: Client, request: bytes) -> None:
        client.got.clear()
        client.asking = True
        try:
            # Over the loopback a connection is there when connect returns, asynchronous or not.
            if client.sock.send(request) != len(request):
                self._fail(client, "a socket without room for a request")
        except OSError as error:
            self._fail(client, f"send: {error!r}")

    def _fail(self, client: Client, why: str) -> None:
        self.failures.append(f"{why} after {bytes(client.got[-80:])!r}")
        client.asking = False
        self._epoll.unregister(client.sock.fileno())
        del self._by_fd[client.sock.fileno()]
        client.sock.close()

    def _receive(self, client: Client) -> None:
        try:
            data = client.sock.recv(65536)
        except OSError as error:
            self._fail(client, f"recv: {error!r}")
            return
        if not data:
            self._fail(client, "closed by the other side")
        elif not client.asking:
            self._fail(client, f"unasked: {data[:80]!r}")
        else:
            client.got += data

    def turn(self, timeout_s: float, is_whole: Callable[[bytearray], bool]) -> int:
        """Receives what is there; returns how many answers became whole."""
        done = 0
        for fd, _ in self._epoll.poll(timeout_s, 1024):
            client = self._by_fd[fd]
            self._receive(client)
            if client.asking and is_whole(client.got):
                client.asking = False
                done += 1
        return done

    def ask_all(self, clients: List[Client], path: str, answer_end: bytes) -> None:
        """A request on each connection, some at a time; each answer is 200 and ends like that."""
        request = request_bytes("GET", path)
        end = time.monotonic() + DEADLINE_S
        waiting = list(reversed(clients))
        under_way = 0
        while (waiting or under_way) and not self.failures:
            assert time.monotonic() < end, f"{len(waiting)} of {len(clients)} are not asked yet"
            while waiting and under_way < WINDOW_N:
                self._ask(waiting.pop(), request)
                under_way += 1
            under_way -= self.turn(1.0, lambda got: got.endswith(answer_end))
        for client in clients:
            if not client.got.startswith(b"HTTP/1.1 200 "):
                self.failures.append(f"answered {bytes(client.got[:200])!r}")

    def connect_and_ask(self, count: int, path: str, answer_end: bytes) -> None:
        """Opens connections, each with a request."""
        left = count
        while left and not self.failures:
            some = self.open(min(left, WINDOW_N))
            left -= len(some)
            self.ask_all(some, path, answer_end)

    def held(self) -> int:
        """Connections that are open, none of them with anything to read."""
        self.turn(0.0, lambda got: False)
        return len(self._by_fd)

    def begin_streams(self, count: int, path: str) -> List[Client]:
        """Opens connections, each with an event stream, in steps that no backlog feels."""
        request = request_bytes("POST", path, b"")
        fresh: List[Client] = []
        while len(fresh) < count:
            some = self.open(min(WINDOW_N // 2, count - len(fresh)))
            for client in some:
                self._ask(client, request)
            fresh += some
            self.turn(0.0, stream_is_whole)
        return fresh

    def close(self) -> None:
        """FIN on all connections."""
        for client in self._by_fd.values():
            client.sock.close()
        self._by_fd.clear()
        self._epoll.close()


def stream_is_whole(got: bytearray) -> bool:
    """Whether the last chunk has come."""
    return got.endswith(b"\r\n0\r\n\r\n")


def check_stream(got: bytes, tokens_n: int) -> str:
    """What is wrong with a stream: a token that is missing, doubled, torn or out of order."""
    head, _, body = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or b"text/event-stream" not in head:
        return f"head {head!r}"
    seen, at = 0, 0
    while True:
        match = CHUNK.match(body, at)
        if match is None:
            break
        if int(match.group(1), 16) != len(match.group(2)):
            return f"a chunk of {match.group(1)!r} is {match.group(2)!r}"
        if int(match.group(3)) != seen:
            return f"token {int(match.group(3))} where {seen} is due"
        seen, at = seen + 1, match.end()
    if seen != tokens_n or body[at:] != b"0\r\n\r\n":
        return f"{seen} of {tokens_n} tokens, then {body[at:at + 80]!r}"
    return ""
