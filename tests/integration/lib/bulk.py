# SPDX-License-Identifier: Apache-2.0
"""Bodies of a GiB: made, sent, received and compared byte for byte without ever being held.

The bytes are those of a pattern whose period is no power of two, so that a piece that is lost,
doubled or moved is noticed wherever it is. Comparing is one memcmp a read: both ends together need
about a second for a GiB.
"""

import json
import random
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence

from lib.wait import wait_until
from lib.wire import Closed, Message, Reader, Wire, answer_bytes

MIB = 1 << 20
PERIOD = 1_000_003
PATTERN = random.Random(1).randbytes(PERIOD) * 3  # a piece of up to 2 MiB begins anywhere
PIECE_BYTES = MIB
# Of a chunked body: the sizes of its chunks in turn, around the sizes of buffers.
CHUNKS = (65536, 1, 4095, 300_000, 262_144, 17, 1_000_000, 4096, 131_071)
DEADLINE_S = 60.0


def piece(offset: int, count: int) -> memoryview:
    """So many bytes of the pattern, at most 2 MiB."""
    start = offset % PERIOD
    return memoryview(PATTERN)[start:start + count]


class Taker:
    """Takes a body as it comes, and says whether it is the pattern so far."""

    def __init__(self) -> None:
        self.count = 0
        self.equal = True

    def take(self, data: Any) -> None:
        """The next bytes; data is bytes or a bytearray, which compare fast."""
        start = self.count % PERIOD
        if data != PATTERN[start:start + len(data)]:
            self.equal = False
        self.count += len(data)

    def told(self) -> dict:
        """What an answer says about it."""
        return {"bytes": self.count, "equal": self.equal}


class Flow:
    """What one end has sent or received so far, for the test to watch; and where it waits."""

    def __init__(self) -> None:
        self.done = 0
        self.go = threading.Event()
        self.go.set()
        self.error: Optional[str] = None


def send_sized(sock: socket.socket, size: int, flow: Flow) -> None:
    """A body with a length."""
    while flow.done < size:
        flow.done += sock.send(piece(flow.done, min(PIECE_BYTES, size - flow.done)))


def send_chunked(sock: socket.socket, size: int, flow: Flow) -> None:
    """A chunked body, with an extension now and then and a trailer."""
    turn = 0
    while flow.done < size:
        count = min(CHUNKS[turn % len(CHUNKS)], size - flow.done)
        extension = b";n=%d" % turn if turn % 7 == 0 else b""
        sock.sendall(b"%x%b\r\n" % (count, extension))
        sock.sendall(piece(flow.done, count))
        sock.sendall(b"\r\n")
        flow.done += count
        turn += 1
    sock.sendall(b"0\r\nX-Sum: 7\r\n\r\n")


def take_sized(reader: Reader, size: int, taker: Taker, flow: Flow) -> None:
    """Reads a body with a length."""
    into = bytearray(PIECE_BYTES)
    first, reader.buf = reader.buf[:size], reader.buf[size:]
    taker.take(first)
    flow.done = taker.count
    while taker.count < size:
        flow.go.wait(DEADLINE_S)
        n = reader.sock.recv_into(into, min(PIECE_BYTES, size - taker.count))
        if n == 0:
            raise Closed(f"{size - taker.count} bytes are missing")
        taker.take(into[:n])
        flow.done = taker.count


def take_chunked(reader: Reader, taker: Taker, flow: Flow) -> None:
    """Reads a chunked body up to its trailers, which are left."""
    while True:
        left = int(reader.until(b"\r\n").split(b";")[0], 16)
        if left == 0:
            return
        while left:
            flow.go.wait(DEADLINE_S)
            if not reader.buf:
                reader.buf = reader.sock.recv(PIECE_BYTES)
                if not reader.buf:
                    raise Closed(f"{left} bytes of a chunk are missing")
            data, reader.buf = reader.buf[:left], reader.buf[left:]
            taker.take(data)
            left -= len(data)
            flow.done = taker.count
        assert reader.exactly(2) == b"\r\n", "a chunk does not end where it says"


def take_body(reader: Reader, message: Message, flow: Flow) -> Taker:
    """Reads the body of a message."""
    taker = Taker()
    if message.get("transfer-encoding"):
        take_chunked(reader, taker, flow)
        message.trailers = reader.trailers()
    else:
        take_sized(reader, int(message.get("content-length") or 0), taker, flow)
    return taker


class BulkServer:
    """Reads each request body and tells what came; answers GET /N or /N?chunked with N bytes.

    flows: one for each request, in the order of their heads. While `reading` is clear, bodies are
    not read.
    """

    def __init__(self) -> None:
        self.flows: List[Flow] = []
        self.messages: List[Message] = []
        self.reading = threading.Event()
        self.reading.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._socks: List[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socks.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        reader = Reader(sock)
        flow = Flow()
        try:
            while True:
                request = reader.head()
                flow = Flow()
                flow.go = self.reading
                self.messages.append(request)
                self.flows.append(flow)
                if request.method == "GET":
                    self._give(sock, request.target, flow)
                else:
                    if (request.get("expect") or "").lower() == "100-continue":
                        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    told = json.dumps(take_body(reader, request, flow).told())
                    sock.sendall(answer_bytes(told.encode()))
        except (Closed, OSError, ValueError, AssertionError) as error:
            flow.error = repr(error)
        finally:
            sock.close()

    @staticmethod
    def _give(sock: socket.socket, target: str, flow: Flow) -> None:
        match = re.match(r"/(\d+)(\?chunked)?$", target)
        assert match, target
        size = int(match.group(1))
        if match.group(2):
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            send_chunked(sock, size, flow)
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            send_sized(sock, size, flow)

    def stop(self) -> None:
        """Ends the listener and all connections."""
        self._listener.close()
        self.reading.set()
        for sock in self._socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Upload:
    """A body sent by a thread, so that the test can watch it."""

    def __init__(self, wire: Wire, size: int, chunked: bool = False) -> None:
        self.flow = Flow()
        self.wire = wire
        framing = ("Transfer-Encoding: chunked\r\nTrailer: X-Sum" if chunked
                   else f"Content-Length: {size}")
        wire.send(f"POST /upload HTTP/1.1\r\nHost: edge.test\r\n{framing}\r\n\r\n".encode())
        send = send_chunked if chunked else send_sized
        self.thread = threading.Thread(target=self._run, args=(send, size), daemon=True)
        self.thread.start()

    def _run(self, send: Callable[[socket.socket, int, Flow], None], size: int) -> None:
        try:
            send(self.wire.sock, size, self.flow)
        except OSError as error:
            self.flow.error = repr(error)

    def told(self) -> dict:
        """What the server says about it."""
        answer = self.wire.reader.response()
        self.thread.join(DEADLINE_S)
        assert answer.status == 200 and self.flow.error is None, (answer, self.flow.error)
        return json.loads(answer.body)


def wait_stalled(flows: Sequence[Flow], for_s: float = 0.4) -> None:
    """Waits until all of them have begun and then stood still for a while."""
    seen: List[int] = []
    since = time.monotonic()

    def stands() -> bool:
        nonlocal seen, since
        now = [flow.done for flow in flows]
        if now != seen or not all(now):
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= for_s
    wait_until(stands, DEADLINE_S, "the flows to stand still",
               lambda: (seen, [flow.error for flow in flows if flow.error]))


class Memory:
    """What a process has taken since the making of this."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the high-water mark begins here
        before = self.status()
        self.rss = before["VmRSS"]
        self.anon = before["RssAnon"]

    def status(self) -> dict:
        """The sizes of /proc/PID/status in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        sizes = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
        return {name: int(kib) << 10 for name, kib in sizes}

    def peak_growth(self) -> int:
        """Resident memory at its highest."""
        return self.status()["VmHWM"] - self.rss

    def anon_growth(self) -> int:
        """Anonymous memory now."""
        return self.status()["RssAnon"] - self.anon
