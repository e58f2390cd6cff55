# SPDX-License-Identifier: Apache-2.0
"""What goes over the wire where two parsers could come apart: beyond statuses and whole requests.

The corpus of test_differential.py compares what was meant with what was seen. Here are the bytes
themselves (nothing of a chunk's extension leaves), requests that never end, targets with every
byte, fields that a client wants removed, and what comes before a TLS handshake.
"""

import socket
import ssl
import threading
import urllib.parse
from typing import Any, Callable, Iterator, List, Optional, Tuple

import pytest

from lib.config import config, listener, pool, route
from lib.raw_corpus import SMUGGLED, chunks, sized
from lib.wait import wait_until
from lib.wire import REFUSED, Closed, Message, Reader, Wire, answer_bytes, request_bytes

OK = answer_bytes()


class Recorded:
    """A socket to read from, that keeps all that was read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.raw = bytearray()

    def recv(self, count: int) -> bytes:
        """As of a socket."""
        data = self.sock.recv(count)
        self.raw += data
        return data


class Tap:
    """An upstream that keeps the bytes of each connection, and answers each whole request alike."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections: List[Recorded] = []
        self.requests: List[Message] = []
        self.ended_n = 0
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
        tap: Any = Recorded(sock)
        self.connections.append(tap)
        reader = Reader(tap)
        try:
            while True:
                self.requests.append(reader.request())
                sock.sendall(self.answer)
        except (Closed, OSError, ValueError, AssertionError):
            sock.close()
        self.ended_n += 1

    def raw(self) -> bytes:
        """Everything that came, over all connections."""
        return b"".join(bytes(tap.raw) for tap in self.connections)

    def stop(self) -> None:
        """Ends the listener and all connections."""
        self.listener.close()
        for tap in self.connections:
            try:
                tap.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def tapped(sluiced) -> Iterator[Callable[..., Tuple[Any, Tap]]]:
    """Starts one worker in front of a tap."""
    running: List[Tap] = []

    def start(answer: bytes = OK) -> Tuple[Any, Tap]:
        tap = Tap(answer)
        running.append(tap)
        return sluiced(config({"chat": pool(tap.address, health="off")}, workers=1)), tap

    yield start
    for tap in running:
        tap.stop()


# -- chunks --------------------------------------------------------------------------------------


def test_nothing_of_a_chunk_extension_leaves(tapped):
    answer = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              b"2;down=1\r\nok\r\n3 ; down = \"a;b\\\"c\"\r\nyes\r\n0;down\r\n\r\n")
    proxy, tap = tapped(answer)
    body = b"5;up=1\r\nhello\r\n3;up;up=\"x\"\r\nyou\r\n0;up=\"\"\r\n\r\n"
    with Wire(proxy.address("edge")) as wire:
        recorded: Any = Recorded(wire.sock)
        wire.reader = Reader(recorded)
        for cut in range(1, len(chunks(body))):  # wherever it is cut, too
            wire.send(chunks(body)[:cut])
            wire.send(chunks(body)[cut:])
            assert wire.reader.response().body == b"okyes"
    assert {request.body for request in tap.requests} == {b"helloyou"}
    assert len(tap.requests) == len(chunks(body)) - 1
    assert b"up" not in tap.raw().replace(b"upgrade", b"") and b";" not in tap.raw()
    assert b"down" not in recorded.raw and b";" not in recorded.raw


UNENDED = {
    "chunk of 4 GiB and 5": chunks(b"100000005\r\nhello\r\n0\r\n\r\n") + SMUGGLED,
    "chunk of 2^63 - 1": chunks(b"7fffffffffffffff\r\nhello\r\n0\r\n\r\n") + SMUGGLED,
    "chunk that is cut": chunks(b"50\r\nhello\r\n0\r\n\r\n") + SMUGGLED,
    "end of a chunk that is cut": chunks(b"5\r\nhello\r"),
    "no last chunk": chunks(b"5\r\nhello\r\n"),
    "no empty line": chunks(b"5\r\nhello\r\n0\r\n"),
    "half an empty line": chunks(b"5\r\nhello\r\n0\r\n\r"),
    "trailer that is cut": chunks(b"5\r\nhello\r\n0\r\nX: y"),
    "trailers that do not end": chunks(b"5\r\nhello\r\n0\r\nX: y\r\n"),
    "size that is cut": chunks(b"5\r\nhello\r\n00"),
    "length of 4 MiB": sized(b" 4194304") + SMUGGLED,
    "length one too long": sized(b" %d" % (6 + len(SMUGGLED))) + SMUGGLED,
    "head that is cut": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n",
}


@pytest.mark.parametrize("how", ["close", "half_close", "reset"])
def test_request_that_does_not_end_is_never_whole_upstream(tapped, how):
    proxy, tap = tapped()
    edge = proxy.address("edge")
    wrong = []
    for name, data in UNENDED.items():
        with Wire(edge) as wire:
            wire.send(data)
            getattr(wire, how)()
            if how == "half_close" and not wire.closed_within(5):
                wrong.append(f"{name}: the connection stays")
    with Wire(edge) as wire:
        assert wire.ask("GET", "/after").status == 200
    # What had begun there is given up, or it would go on as part of another request.
    wait_until(lambda: tap.ended_n >= len(tap.connections) - 1, 5, "the connections to be cut")
    wrong += [f"the upstream saw {request}" for request in tap.requests
              if request.target != "/after"]
    assert not wrong, "\n".join(wrong)
    # One line for each of which the head was read, and for the one behind them.
    assert [line["reason"] for line in proxy.access_log(len(UNENDED))].count("ok") == 1


# -- targets -------------------------------------------------------------------------------------


def ask_target(edge: str, target: bytes) -> int:
    """The status for a GET of this target."""
    with Wire(edge) as wire:
        wire.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        return wire.reader.response().status


def check_targets(proxy: Any, tap: Tap, targets: List[bytes]) -> int:
    """Each is refused and not seen, or seen with the same meaning; returns how many were seen."""
    edge = proxy.address("edge")
    wrong = []
    for target in targets:
        before = len(tap.requests)
        status = ask_target(edge, target)
        saw = [request.target.encode("latin-1") for request in tap.requests[before:]]
        if status == 200 and not (len(saw) == 1 and same_target(saw[0], target)):
            wrong.append(f"{target!r}: 200, and the upstream saw {saw}")
        elif status != 200 and (status // 100 != 4 and status != 505 or saw):
            wrong.append(f"{target!r}: {status}, and the upstream saw {saw}")
    assert not wrong, "\n".join(wrong)
    assert len(proxy.access_log(len(targets))) == len(targets)
    return len(tap.requests)


def same_target(a: bytes, b: bytes) -> bool:
    """Whether two targets mean the same: segments and query alike, whatever is escaped."""
    def parts(target: bytes) -> Tuple[List[bytes], Optional[bytes]]:
        path, mark, query = target.partition(b"?")
        return ([urllib.parse.unquote_to_bytes(segment) for segment in path.split(b"/")],
                urllib.parse.unquote_to_bytes(query) if mark else None)
    return parts(a) == parts(b)


def test_target_with_any_byte_arrives_as_it_is_or_not_at_all(tapped):
    proxy, tap = tapped()
    targets = [b"/a%bc" % bytes([byte]) for byte in range(256)]
    targets += [b"/a?b%bc" % bytes([byte]) for byte in range(256)]
    seen_n = check_targets(proxy, tap, targets)
    assert 2 * 62 <= seen_n < 2 * 100, f"{seen_n} were accepted"  # letters and digits, no controls
    assert not [r for r in tap.requests if not all("!" <= c <= "~" for c in r.target)]


def test_target_with_any_escape_means_the_same_or_does_not_arrive(tapped):
    proxy, tap = tapped()
    targets = [b"/a%%%02xc" % byte for byte in range(256)]
    targets += [b"/a?b%%%02Xc" % byte for byte in range(256)]
    targets += [b"/%2", b"/%", b"/a%g0", b"/a%0g", b"/%u0041", b"/a?b=%", b"/a?%zz", b"/%%32e/x"]
    seen_n = check_targets(proxy, tap, targets)
    assert seen_n > 2 * 100
    # An escaped slash or percent sign stays one, or the next one would find another path.
    assert not [r for r in tap.requests if r.target in ("/a/c", "/a%c", "/a?c", "/a#c", "/a\\c")]


# -- fields --------------------------------------------------------------------------------------


NAMED = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id", "Host",
         "Content-Length", "Connection", "Transfer-Encoding", "close-not", "X-Private"]


@pytest.mark.parametrize("value", [", ".join(NAMED), "\t,".join(NAMED).lower(),
                                   ",,".join(NAMED).upper() + ","])
def test_connection_cannot_name_away_what_we_say(tapped, value):
    proxy, tap = tapped()
    fields = [("Connection", value), ("X-Forwarded-For", "6.6.6.6"), ("X-Private", "1"),
              ("X-Request-Id", "mine-1"), ("X-Stay", "1")]
    with Wire(proxy.address("edge")) as wire:
        for _ in range(2):
            assert wire.ask("POST", "/", b"hello", fields).status == 200
    for request in tap.requests:
        assert request.body == b"hello" and request.get("content-length") == "5"
        assert request.get("host") == "edge.test" and request.get("x-stay") == "1"
        assert request.get("x-forwarded-for") == "127.0.0.1"
        assert request.get("x-forwarded-proto") == "http"
        assert request.get("x-forwarded-host") == "edge.test"
        assert request.get("x-request-id")
        assert not request.all("x-private") and not request.all("connection")
        assert b"6.6.6.6" not in request.head


@pytest.mark.parametrize("fields, body", [
    ([("Content-Length", "2")], b"ok"),
    ([("Transfer-Encoding", "chunked")], b"2\r\nok\r\n0\r\n\r\n")])
def test_connection_of_an_answer_cannot_name_its_framing_away(tapped, fields, body):
    lines = [*fields, ("Connection", "content-length, transfer-encoding, date, x-hop"),
             ("X-Hop", "1"), ("X-Stay", "1")]
    head = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    proxy, tap = tapped(head.encode() + body)
    with Wire(proxy.address("edge")) as wire:
        for _ in range(3):
            answer = wire.ask("GET", "/")
            assert answer.body == b"ok" and answer.get("x-stay") == "1"
            assert not answer.all("x-hop")
    assert len(tap.requests) == 3


# -- before a handshake --------------------------------------------------------------------------


def test_plaintext_before_the_handshake_of_an_upstream_is_no_answer(sluiced, ca):
    """Who sits on the way could put an answer in front of the real server's first TLS record."""
    leaf = ca.issue("model", ips=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.cert, leaf.key)
    server = socket.create_server(("127.0.0.1", 0))
    inside: List[bytes] = []

    def serve(sock: socket.socket) -> None:
        sock.settimeout(5)
        try:
            sock.sendall(answer_bytes(b"evil"))
            with context.wrap_socket(sock, server_side=True) as secure:
                inside.append(secure.recv(65536))
                secure.sendall(answer_bytes(b"real"))
        except OSError:
            sock.close()

    def accept() -> None:
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    address = f"127.0.0.1:{server.getsockname()[1]}"
    proxy = sluiced(config({"chat": pool(address, health="off", tls={"ca": ca.path})}, workers=1))
    try:
        for _ in range(3):
            answer = proxy.get("/")
            assert answer.status in (502, 503) and b"evil" not in answer.body
    finally:
        server.close()
    assert inside == []


def test_plaintext_before_the_handshake_of_a_client_is_no_request(sluiced, ca):
    tap = Tap(OK)
    cert = ca.issue("edge", dns=["edge.test"], ips=["127.0.0.1"])
    proxy = sluiced(config({"chat": pool(tap.address, health="off")}, workers=1, listeners=[
        listener([route("chat")], tls={"cert": cert.cert, "key": cert.key})]))
    try:
        for data in (SMUGGLED, SMUGGLED[:20], b"\r\n", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"):
            with Wire(proxy.address("edge")) as wire:
                wire.send(data)
                with pytest.raises(REFUSED):
                    with ca.client().wrap_socket(wire.sock, server_hostname="edge.test") as secure:
                        secure.sendall(request_bytes("GET", "/behind"))
                        Reader(secure).response()
        with Wire(proxy.address("edge"), tls=ca.client()) as wire:
            assert wire.ask("GET", "/good").status == 200
    finally:
        tap.stop()
    assert [request.target for request in tap.requests] == ["/good"]
