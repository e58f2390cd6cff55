# SPDX-License-Identifier: Apache-2.0
"""Many model servers in one process, started and ended on command: what a rollout of 50 pods needs
on two cores.

Each is a listener of its own, and ends as uvicorn does at SIGTERM: it stops to listen, closes idle
connections, lets what runs come to its end, and closes those too. Commands and answers are lines of
JSON on a control connection; see Crew in crew.py. Times are time.monotonic(), which all processes
of the machine share.
"""

import asyncio
import contextlib
import json
import re
import sys
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
TOKEN = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'
DONE = b"data: [DONE]\n\n"
SHORT = b'{"choices":[{"message":{"content":"word"}}]}'


def chunk(part):
    """A part of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(part), part)


class Server:
    """One model server at ip:port."""

    def __init__(self, ip, port, rate):
        self.ip = ip
        self.port = port
        self.pause_s = 1 / rate if rate else 0.0
        self.head = f"content-type: %s\r\nx-model-version: v1\r\nx-served-by: {ip}:{port}\r\n"
        self.listener = None
        self.idle = set()
        self.busy = set()
        self.closing = False
        self.requests = 0
        self.last_at = 0.0

    async def start(self):
        """Listens."""
        self.listener = await asyncio.start_server(
            self._serve, self.ip, self.port, backlog=256, reuse_address=True
        )

    def term(self):
        """What SIGTERM does; all is over when state() says `ended`."""
        self.closing = True
        self.listener.close()
        for writer in list(self.idle):
            writer.close()

    def kill(self):
        """What SIGKILL does."""
        self.closing = True
        self.listener.close()
        for writer in [*self.idle, *self.busy]:
            writer.transport.abort()

    def state(self):
        """Requests so far, when the last one began, and what there is now."""
        return {
            "requests": self.requests,
            "last_at": self.last_at,
            "running": len(self.busy),
            "ended": self.closing and not self.busy and not self.idle,
        }

    async def _serve(self, reader, writer):
        try:
            while not self.closing:
                self.idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self.idle.discard(writer)
                self.busy.add(writer)
                self.last_at = time.monotonic()
                self.requests += 1
                body = await reader.readexactly(int((LENGTH.search(head) or [0, 0])[1]))
                await self._answer(writer, json.loads(body or b"{}"))
                self.busy.discard(writer)
        except (OSError, EOFError):
            pass
        finally:
            self.idle.discard(writer)
            self.busy.discard(writer)
            writer.close()

    async def _answer(self, writer, ask):
        tokens = int(ask.get("max_tokens") or 1)
        streams = bool(ask.get("stream"))
        fields = self.head % ("text/event-stream" if streams else "application/json")
        if self.closing:
            fields += "connection: close\r\n"
        if not streams:
            text = f"HTTP/1.1 200 OK\r\n{fields}content-length: {len(SHORT)}\r\n\r\n"
            writer.write(text.encode() + SHORT)
        else:
            writer.write(f"HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n".encode())
            for _ in range(tokens):
                writer.write(chunk(TOKEN))
                await asyncio.sleep(self.pause_s)
            writer.write(chunk(DONE) + b"0\r\n\r\n")
        await writer.drain()


class Control:
    """Obeys commands until its connection ends, and the process with it."""

    def __init__(self):
        self.servers = {}
        self.over = asyncio.Event()

    async def obey(self, order):
        """Carries out one command; returns the answer."""
        op, ip = order["op"], order.get("ip")
        if op == "start":
            self.servers[ip] = Server(ip, order["port"], order["rate"])
            await self.servers[ip].start()
        elif op == "term":
            self.servers[ip].term()
        elif op == "kill":
            self.servers[ip].kill()
        return self.servers[ip].state()

    async def serve(self, reader, writer):
        """One command after the other."""
        with contextlib.suppress(EOFError, OSError):
            while line := await reader.readline():
                writer.write(json.dumps(await self.obey(json.loads(line))).encode() + b"\n")
                await writer.drain()
        self.over.set()


async def main(path):
    """Listens for the control connection at a Unix path."""
    control = Control()
    await asyncio.start_unix_server(control.serve, path)
    await control.over.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
