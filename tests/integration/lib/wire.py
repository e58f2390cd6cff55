# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 by hand: what exactly was sent and received, on both sides of the proxy."""

import socket
import ssl
import struct
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

Fields = List[Tuple[str, str]]
DEADLINE_S = 10.0


class Closed(Exception):
    """The other side closed the connection where more was due."""


# How a TLS server's refusal shows, at the handshake or (TLS 1.3, client certificate) at first use.
REFUSED = (ssl.SSLError, OSError, Closed)


class Message:
    """A parsed request or response."""

    def __init__(self, line: str, fields: Fields, head: bytes) -> None:
        self.line = line
        self.fields = fields
        self.head = head  # as received, with the empty line
        self.body = b""
        self.chunks: List[bytes] = []
        self.trailers: Fields = []

    @property
    def status(self) -> int:
        """Status of a response."""
        return int(self.line.split(" ", 2)[1])

    @property
    def method(self) -> str:
        """Method of a request."""
        return self.line.split(" ", 1)[0]

    @property
    def target(self) -> str:
        """Target of a request."""
        return self.line.split(" ", 2)[1]

    def all(self, name: str) -> List[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> Optional[str]:
        """The value of a field; None without it, an error when it is there twice."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times: {self.head!r}"
        return values[0] if values else None

    def __repr__(self) -> str:
        return f"<{self.line!r} {self.fields!r} {self.body[:200]!r}>"


class Reader:
    """Parses messages from a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buf = b""

    def more(self) -> None:
        """Receives once; Closed at the end."""
        data = self.sock.recv(65536)
        if not data:
            raise Closed(f"closed after {self.buf[:200]!r}")
        self.buf += data

    def until(self, mark: bytes) -> bytes:
        """Everything up to and with a mark."""
        while mark not in self.buf:
            self.more()
        end = self.buf.index(mark) + len(mark)
        taken, self.buf = self.buf[:end], self.buf[end:]
        return taken

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        parts = [self.buf[:count]]
        left = count - len(parts[0])
        self.buf = self.buf[count:]
        while left:
            data = self.sock.recv(min(left, 1 << 20))
            if not data:
                raise Closed(f"{left} of {count} bytes are missing")
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def rest(self) -> bytes:
        """Everything until the other side closes; a RST raises ConnectionResetError."""
        parts = [self.buf]
        self.buf = b""
        while True:
            data = self.sock.recv(65536)
            if not data:
                return b"".join(parts)
            parts.append(data)

    def head(self) -> Message:
        """A start line and its fields."""
        head = self.until(b"\r\n\r\n")
        line, *lines = head[:-4].decode("latin-1").split("\r\n")
        return Message(line, [split_field(text) for text in lines], head)

    def chunk(self) -> bytes:
        """One chunk; empty for the last one (trailers are left to read)."""
        size = int(self.until(b"\r\n").split(b";")[0], 16)
        if size == 0:
            return b""
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n", "a chunk does not end where it says"
        return data

    def trailers(self) -> Fields:
        """The trailer section, up to its empty line."""
        fields: Fields = []
        while True:
            line = self.until(b"\r\n")[:-2].decode("latin-1")
            if not line:
                return fields
            fields.append(split_field(line))

    def chunked(self, message: Message) -> None:
        """A whole chunked body."""
        while True:
            data = self.chunk()
            if not data:
                break
            message.chunks.append(data)
        message.body = b"".join(message.chunks)
        message.trailers = self.trailers()

    def response(self, method: str = "GET") -> Message:
        """A response and its body; a 1xx is a response of its own."""
        message = self.head()
        if method == "HEAD" or message.status < 200 or message.status in (204, 304):
            return message
        if message.get("transfer-encoding"):
            assert not message.all("content-length"), message
            self.chunked(message)
        elif message.get("content-length") is not None:
            message.body = self.exactly(int(message.get("content-length") or 0))
        else:
            message.body = self.rest()
        return message

    def request(self) -> Message:
        """A request and its body."""
        message = self.head()
        if message.get("transfer-encoding"):
            self.chunked(message)
        elif message.get("content-length"):
            message.body = self.exactly(int(message.get("content-length") or 0))
        return message


class Wire:
    """A client connection."""

    def __init__(self, address: str, tls: Optional[ssl.SSLContext] = None,
                 server_name: Optional[str] = None, receive_buffer: int = 0,
                 session: Optional[Any] = None) -> None:
        """session: of TLS, to be offered."""
        host, _, port = address.rpartition(":")
        sock = socket.socket()
        if receive_buffer:  # before connect: it bounds the window
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(DEADLINE_S)
        sock.connect((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = tls.wrap_socket(sock, server_hostname=server_name or host,
                                    session=session) if tls else sock
        self.reader = Reader(self.sock)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_exc: Any) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.sock.sendall(data)

    def ask(self, method: str, path: str, body: Optional[bytes] = None,
            fields: Sequence[Tuple[str, str]] = ()) -> Message:
        """A request and its response."""
        self.send(request_bytes(method, path, body, fields))
        return self.reader.response(method)

    def local_port(self) -> int:
        """Our port."""
        return int(self.sock.getsockname()[1])

    def closed_within(self, deadline_s: float) -> bool:
        """Whether the other side closes (FIN or RST) in time; received bytes are dropped."""
        end = time.monotonic() + deadline_s
        try:
            while time.monotonic() < end:
                self.sock.settimeout(max(0.01, end - time.monotonic()))
                if not self.sock.recv(65536):
                    return True
        except socket.timeout:
            return False
        except OSError:
            return True
        finally:
            self.sock.settimeout(DEADLINE_S)
        return False

    def half_close(self) -> None:
        """FIN, while reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """FIN."""
        self.sock.close()


def split_field(text: str) -> Tuple[str, str]:
    """Name and value of a field line."""
    name, colon, value = text.partition(":")
    assert colon, f"not a field line: {text!r}"
    return name, value.strip(" \t")


def request_bytes(method: str, path: str, body: Optional[bytes] = None,
                  fields: Sequence[Tuple[str, str]] = ()) -> bytes:
    """A request with Host and, for a body without its own framing, Content-Length."""
    lines = [f"{method} {path} HTTP/1.1"]
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        lines.append("Host: edge.test")
    lines += [f"{name}: {value}" for name, value in fields]
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def answer_bytes(body: bytes = b"ok", status: str = "200 OK",
                 fields: Sequence[Tuple[str, str]] = ()) -> bytes:
    """A response with Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class Close(NamedTuple):
    """Action of a script: end the connection, with a RST if wanted."""

    reset: bool = False


class Wait(NamedTuple):
    """Action of a script: go on when the test sets the event."""

    event: threading.Event


Action = Union[bytes, Close, Wait]
Script = Callable[[Message], Sequence[Action]]


class RawUpstream:
    """A scripted HTTP server: records the requests it got, answers with given bytes.

    answers: a list of responses, each bytes or a list of actions, the last one for ever; or a
    function of the request. Probes (GET /health, or a connection without a request) are answered
    and not recorded.
    """

    def __init__(self, answers: Union[Script, Sequence[Union[bytes, Sequence[Action]]]],
                 tls: Optional[ssl.SSLContext] = None, port: int = 0) -> None:
        self.answers = answers
        self.tls = tls
        self.requests: List[Message] = []
        self.connections_of: List[int] = []  # which brought requests[i], counted as they first did
        self._numbers: Dict[int, int] = {}
        self.handshake_errors: List[str] = []
        self.peer_certs: List[Dict[str, Any]] = []
        self.ended_by_peer = threading.Event()  # a connection that had a request was closed
        self._lock = threading.Lock()
        self._next = 0
        self._socks: List[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            with self._lock:
                self._socks.append(sock)
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        had_request = False
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._socks.append(sock)
                    self.peer_certs.append(sock.getpeercert() or {})
            reader = Reader(sock)
            while True:
                request = reader.request()
                if request.target == "/health":
                    sock.sendall(answer_bytes())
                    continue
                had_request = True
                self._perform(sock, self._record(request, number))
        except ssl.SSLError as error:
            self.handshake_errors.append(str(error))
        except (Closed, OSError):
            pass
        finally:
            if had_request:
                self.ended_by_peer.set()
            sock.close()

    def _record(self, request: Message, number: int) -> Sequence[Action]:
        with self._lock:
            self.requests.append(request)
            # A probe opens and closes a connection without a request, at any time.
            own = self._numbers.setdefault(number, len(self._numbers) + 1)
            self.connections_of.append(own)
            if callable(self.answers):
                return self.answers(request)
            answer = self.answers[min(self._next, len(self.answers) - 1)]
            self._next += 1
        return [answer] if isinstance(answer, bytes) else answer

    @staticmethod
    def _perform(sock: socket.socket, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, bytes):
                sock.sendall(action)
            elif isinstance(action, Wait):
                action.event.wait(6 * DEADLINE_S)  # longer than a test that is slow
            else:
                if action.reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise Closed("by script")

    def stop(self) -> None:
        """Ends the listener and all connections."""
        self._listener.close()
        with self._lock:
            socks = list(self._socks)
        for sock in socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
