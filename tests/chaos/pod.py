# SPDX-License-Identifier: Apache-2.0
"""A model server that misbehaves when it is told to: pod.py IP PORT.

It answers GET and POST with 1 KiB of JSON after SERVICE_S, a POST that asks for a stream with EVENTS
events, and /health at once. A line of input is the name of a mode, answered by the same line once it
holds:

  normal
  rst        connections are reset: those that there are, and each new one as soon as it is accepted
  hang       connections are accepted and requests read, also those of a health check; no answer
  head_hang  of a response the head is sent and then nothing; /health is well
  half       half of a response is sent, then the connection closed; /health is well
  drip       a response comes in parts of 32 bytes each 100 ms; /health is well
  slow       it takes ten times as long; /health is well

What hangs when a mode ends is cut, as by a restart of the server. At SIGTERM it stops to listen, closes idle
connections, and ends once what runs is over.
"""

import asyncio
import re
import signal
import socket
import struct
import sys

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SERVICE_S = 0.02
SLOWER = 10
EVENTS = 20
PAUSE_S = 0.05
DRIP_BYTES, DRIP_S = 32, 0.1
TEXT = b'{"text":"%s"}' % (b"x" * 1013)
EVENT = b'data: {"text":"word "}\n\n'
DONE = b"data: [DONE]\n\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def chunk(part: bytes) -> bytes:
    """A part of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(part), part)


class Pod:
    """Its mode and its connections."""

    def __init__(self, ip: str) -> None:
        self.served_by = ip.encode()
        self.mode = "normal"
        self.changed = asyncio.Event()
        self.writers = set()
        self.idle = set()
        self.ending = False

    def set_mode(self, mode: str) -> None:
        """From here on."""
        self.mode = mode
        self.changed.set()
        self.changed = asyncio.Event()
        if mode == "rst":
            for writer in list(self.writers):
                self.reset(writer)

    @staticmethod
    def reset(writer) -> None:
        """RST instead of FIN."""
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        writer.transport.abort()

    async def end(self, server) -> None:
        """In order."""
        self.ending = True
        server.close()
        for writer in list(self.idle):
            writer.close()
        while self.writers:
            await asyncio.sleep(0.01)

    async def hang(self) -> None:
        """Until the mode ends; then the connection does."""
        await self.changed.wait()
        raise EOFError

    def head(self, kind: bytes, framing: bytes) -> bytes:
        """Of a 200."""
        return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nx-served-by: %b\r\n%b\r\n\r\n" % (
            kind, self.served_by, framing)

    async def serve(self, reader, writer) -> None:
        """One connection."""
        if self.mode == "rst":
            self.reset(writer)
            return
        self.writers.add(writer)
        try:
            while not self.ending:
                self.idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self.idle.discard(writer)
                length = LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                if self.mode == "hang":
                    await self.hang()
                if head.startswith(b"GET /health"):
                    writer.write(self.head(b"text/plain", b"content-length: 0"))
                else:
                    await asyncio.sleep(SERVICE_S * (SLOWER if self.mode == "slow" else 1))
                    await (self.stream if b'"stream"' in body else self.answer)(writer)
        except (OSError, EOFError):
            pass
        finally:
            self.writers.discard(writer)
            self.idle.discard(writer)
            writer.close()

    async def answer(self, writer) -> None:
        """A response of known length."""
        writer.write(self.head(b"application/json", b"content-length: %d" % len(TEXT)))
        if self.mode == "head_hang":
            await self.hang()
        elif self.mode == "half":
            writer.write(TEXT[:len(TEXT) // 2])
            raise EOFError
        elif self.mode == "drip":
            for at in range(0, len(TEXT), DRIP_BYTES):
                writer.write(TEXT[at:at + DRIP_BYTES])
                await writer.drain()
                await asyncio.sleep(DRIP_S)
        else:
            writer.write(TEXT)

    async def stream(self, writer) -> None:
        """Events."""
        writer.write(self.head(b"text/event-stream", b"transfer-encoding: chunked"))
        for number in range(EVENTS):
            if self.mode in ("head_hang", "hang"):
                await self.hang()
            if self.mode == "half" and number >= EVENTS // 2:
                raise EOFError
            writer.write(chunk(EVENT))
            await writer.drain()
            await asyncio.sleep(PAUSE_S * {"slow": SLOWER, "drip": DRIP_S / PAUSE_S}.get(self.mode, 1))
        writer.write(chunk(DONE) + b"0\r\n\r\n")


async def main(ip: str, port: int) -> None:
    """Serves until it is told to end, or the input ends."""
    pod = Pod(ip)
    server = await asyncio.start_server(pod.serve, ip, port, backlog=1024, reuse_address=True)
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    loop.add_signal_handler(signal.SIGTERM, orders.feed_eof)
    print("normal", flush=True)
    while line := await orders.readline():
        pod.set_mode(line.decode().strip())
        print(pod.mode, flush=True)
    await pod.end(server)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
