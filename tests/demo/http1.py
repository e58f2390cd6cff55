# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 server side of the demo model server: one asyncio.Protocol, parsed by hand for speed.

It behaves like uvicorn where a proxy can tell: the head of a stream leaves in its own segment, an
idle connection is closed after a fixed time, and a FIN from the client means the client is gone.
"""

import asyncio
import hashlib
import socket
import struct
from typing import Any, Callable, Dict, List, Optional, Tuple

REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large",
    422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024
PIECE_BYTES = 64 * 1024
NO_LINGER = struct.pack("ii", 1, 0)


class Request:
    """One request: the head, what was learned of the body, and the body itself."""

    __slots__ = ("method", "target", "path", "version", "head", "keep_alive", "chunked",
                 "body", "digest", "trailers", "_headers")

    def __init__(self, head: bytes) -> None:
        line, _, rest = head.partition(b"\r\n")
        method, target, version = line.decode("latin-1").split(" ")
        self.method = method
        self.target = target
        self.path = target.partition("?")[0]
        self.version = version
        self.head = rest
        self.keep_alive = True
        self.chunked = False
        self.body = bytearray()
        self.digest: Optional[Any] = None
        self.trailers: List[Tuple[str, str]] = []
        self._headers: Optional[List[Tuple[str, str]]] = None

    @property
    def headers(self) -> List[Tuple[str, str]]:
        """All fields in order, as they came (names not folded)."""
        if self._headers is None:
            self._headers = parse_fields(self.head)
        return self._headers

    def get(self, name: str) -> Optional[str]:
        """First value of a field, or None."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None

    def query(self, name: str) -> Optional[str]:
        """Value of a query parameter, or None (no percent decoding)."""
        for pair in self.target.partition("?")[2].split("&"):
            key, _, value = pair.partition("=")
            if key == name:
                return value
        return None


def parse_fields(block: bytes) -> List[Tuple[str, str]]:
    """Parses a block of header or trailer lines."""
    fields = []
    for line in block.decode("latin-1").split("\r\n"):
        if line:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip() or not name:
                raise ValueError("bad field line")
            fields.append((name, value.strip(" \t")))
    return fields


class Connection(asyncio.Protocol):
    """A client connection. One request is served at a time; the rest of a pipeline waits."""

    def __init__(self, app: Any, on_request: Callable[["Connection", Request], None]) -> None:
        self.app = app
        self.on_request = on_request
        self.loop = app.loop
        self.transport: Any = None
        self.buf = bytearray()
        self.step: Callable[[], bool] = self._read_head
        self.request: Optional[Request] = None
        self.remaining = 0
        self.body_total = 0
        self.busy = False  # a request is being answered
        self.spared = False  # response faults leave this answer alone
        self.chunking = False
        self.paused = False
        self.on_resume: Optional[Callable[[], None]] = None
        self.on_lost: Optional[Callable[[], None]] = None
        self.idle_since = 0.0
        self.idle_timer: Optional[asyncio.TimerHandle] = None

    # -- asyncio callbacks ---------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Counts the connection and starts its idle clock."""
        self.transport = transport
        self.app.opened(self)
        self._go_idle()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The client is gone: whatever runs for it stops now."""
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        self.app.closed(self)
        on_lost, self.on_lost, self.on_resume = self.on_lost, None, None
        if on_lost is not None:
            on_lost()

    def eof_received(self) -> bool:
        """Like uvicorn: a FIN closes the whole connection, running generation included."""
        return False

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self.paused = True

    def resume_writing(self) -> None:
        """The client took enough for more to be produced."""
        self.paused = False
        resume = self.on_resume
        if resume is not None:
            resume()

    def data_received(self, data: bytes) -> None:
        """Parses as far as possible."""
        self.buf += data
        if not self.busy:
            self._advance()

    # -- parsing -------------------------------------------------------------------------------

    def _advance(self) -> None:
        try:
            while not self.busy and self.buf and not self.transport.is_closing():
                if not self.step():
                    return
        except (ValueError, UnicodeDecodeError):
            self._refuse(400)

    def _refuse(self, status: int) -> None:
        self.busy = True
        if self.request is None:
            self.request = Request(b"GET / HTTP/1.1")
        self.request.keep_alive = False
        self.respond(status, b'{"error":"bad request"}')

    def _read_head(self) -> bool:
        buf = self.buf
        end = buf.find(b"\r\n\r\n")
        if end < 0:
            if len(buf) > MAX_HEAD_BYTES:
                raise ValueError("head too large")
            return False
        head = bytes(buf[:end])
        del buf[:end + 4]
        request = Request(head)
        self.request = request
        low = request.head.lower()
        if request.version != "HTTP/1.1":
            request.keep_alive = b"keep-alive" in low
        elif b"connection:" in low:
            request.keep_alive = "close" not in (request.get("connection") or "").lower()
        if b"transfer-encoding:" in low:
            return self._expect_chunks(request)
        if b"content-length:" in low:
            return self._expect_length(request)
        self._complete()
        return True

    def _expect_chunks(self, request: Request) -> bool:
        if (request.get("transfer-encoding") or "").lower() != "chunked":
            raise ValueError("transfer coding")
        request.chunked = True
        self._body_starts(request)
        self.step = self._read_chunk_size
        return True

    def _expect_length(self, request: Request) -> bool:
        text = request.get("content-length") or ""
        if not text.isdigit():
            raise ValueError("content-length")
        self.remaining = int(text)
        if self.remaining == 0:
            self._complete()
            return True
        self._body_starts(request)
        self.step = self._read_length
        return True

    def _body_starts(self, request: Request) -> None:
        request.digest = hashlib.sha256()
        self.body_total = 0
        if (request.get("expect") or "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take(self, limit: int) -> int:
        """Moves up to limit bytes from the buffer to the body; returns how many."""
        request = self.request
        assert request is not None and request.digest is not None
        piece = bytes(self.buf[:limit])
        del self.buf[:len(piece)]
        request.digest.update(piece)
        self.body_total += len(piece)
        if self.body_total > MAX_BODY_BYTES:
            raise ValueError("body too large")
        request.body += piece
        return len(piece)

    def _read_length(self) -> bool:
        self.remaining -= self._take(self.remaining)
        if self.remaining == 0:
            self._complete()
        return True

    def _read_chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = line.partition(b";")[0].strip()
        self.remaining = int(size, 16)
        self.step = self._read_chunk_data if self.remaining else self._read_trailers
        return True

    def _read_chunk_data(self) -> bool:
        if self.remaining:
            self.remaining -= self._take(self.remaining)
        if self.remaining:
            return True
        self.step = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            raise ValueError("chunk end")
        self.step = self._read_chunk_size
        return True

    def _read_trailers(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            assert self.request is not None
            self.request.trailers += parse_fields(line)
            return True
        self._complete()
        return True

    def _line(self) -> Optional[bytes]:
        end = self.buf.find(b"\r\n")
        if end < 0:
            if len(self.buf) > MAX_HEAD_BYTES:
                raise ValueError("line too long")
            return None
        line = bytes(self.buf[:end])
        del self.buf[:end + 2]
        return line

    def _complete(self) -> None:
        self.step = self._read_head
        self.busy = True
        assert self.request is not None
        self.on_request(self, self.request)

    # -- answering -----------------------------------------------------------------------------

    def _head(self, status: int, ctype: str, framing: str, extra: str) -> bytes:
        request = self.request
        assert request is not None
        close = "" if request.keep_alive else "connection: close\r\n"
        return (f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n{self.app.own_headers}"
                f"content-type: {ctype}\r\n{framing}{close}{extra}\r\n").encode("latin-1")

    def respond(self, status: int, body: bytes, ctype: str = "application/json",
                extra: str = "") -> None:
        """Answers with a whole body, head and body in one segment."""
        request = self.request
        assert request is not None
        framing = f"content-length: {len(body)}\r\n"
        if self.app.faults.close_delimited and not self.spared:
            request.keep_alive = False
            framing = ""
        head = self._head(status, ctype, framing, extra)
        if self.app.faults.reset_after_head and not self.spared:
            self.transport.write(head)
            self.reset_soon()
            return
        self.transport.write(head if request.method == "HEAD" else head + body)
        self.finish()

    def start_stream(self, status: int, ctype: str, length: Optional[int] = None) -> bool:
        """Sends the head alone; False when the fault in force ends the answer here."""
        request = self.request
        assert request is not None
        self.chunking = False
        if self.app.faults.close_delimited or (length is None and request.version != "HTTP/1.1"):
            request.keep_alive = False
            framing = ""
        elif length is None:
            self.chunking = True
            framing = "transfer-encoding: chunked\r\n"
        else:
            framing = f"content-length: {length}\r\n"
        self.transport.write(self._head(status, ctype, framing, ""))
        if self.app.faults.reset_after_head:
            self.reset_soon()
            return False
        if request.method == "HEAD":
            self.finish()
            return False
        return True

    def send(self, pieces: List[bytes]) -> None:
        """Sends parts of a body, a chunk each, in one write."""
        if self.chunking:
            pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        self.transport.write(b"".join(pieces))

    def end_stream(self) -> None:
        """Ends the body begun by start_stream()."""
        if self.chunking:
            self.transport.write(b"0\r\n\r\n")
        self.finish()

    def finish(self) -> None:
        """The answer is complete: keep the connection or close it, and take the next request."""
        request = self.request
        assert request is not None
        self.on_lost = self.on_resume = self.request = None
        self.busy = False
        if not request.keep_alive:
            self.transport.close()
            return
        self._go_idle()
        if self.buf:
            self.loop.call_soon(self._next)

    def _next(self) -> None:
        if not self.busy:
            self._advance()

    def reset_soon(self) -> None:
        """RST a moment later, so that the peer had the time to read what was sent before."""
        self.loop.call_later(0.005, self.reset)

    def reset(self) -> None:
        """Ends the connection with a RST."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()

    # -- keep-alive ----------------------------------------------------------------------------

    def _go_idle(self) -> None:
        self.idle_since = self.loop.time()
        if self.idle_timer is None and self.app.keepalive_s > 0:
            self.idle_timer = self.loop.call_later(self.app.keepalive_s, self._check_idle)

    def _check_idle(self) -> None:
        """The timer is lazy: it moves only when it fires."""
        self.idle_timer = None
        left = self.idle_since + self.app.keepalive_s - self.loop.time()
        if self.busy or self.step != self._read_head or self.buf:
            left = self.app.keepalive_s
        if left <= 0:
            self.transport.close()
        else:
            self.idle_timer = self.loop.call_later(left, self._check_idle)

    def peer_certificate(self) -> Optional[Dict[str, Any]]:
        """What the client proved in TLS: subject, alternative names and serial number, or None."""
        cert = self.transport.get_extra_info("peercert")
        if not cert:
            return None
        return {"subject": cert.get("subject"), "san": cert.get("subjectAltName"),
                "serial": cert.get("serialNumber")}
