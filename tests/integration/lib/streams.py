# SPDX-License-Identifier: Apache-2.0
"""Many event streams at once, in a thread, each read to its last token or given up on purpose."""

import asyncio
import json
import random
import re
import ssl
import threading
import time
from typing import List, Optional

from lib.wait import wait_until
from lib.wire import request_bytes

TOKEN_DEADLINE_S = 30.0
DONE = b"data: [DONE]\n\n"
# Of what the first event is like, all others follow.
FIRST = re.compile(rb'data: \{"id":"cmpl-\d+","created":\d+,"model":"demo","object":"text_completion",'
                   rb'"choices":\[\{"index":0,"text":"w0 ","logprobs":null,"finish_reason":null\}\]\}')


class Broken(Exception):
    """A stream that did not go as it should."""


class Text:
    """What one stream has to say, byte by byte; Broken where it says something else."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.seen = 0
        self.bytes = 0
        self._tail = b""
        self._event = (b"", b"")  # around the token
        self._ends: List[bytes] = []  # what follows the last token

    def take(self, data: bytes) -> None:
        """The next bytes, however they are cut."""
        self.bytes += len(data)
        *events, self._tail = (self._tail + data).split(b"\n\n")
        for event in events:
            self._check(event)

    def _check(self, event: bytes) -> None:
        if self.seen == 0:
            if not FIRST.fullmatch(event):
                raise Broken(f"a stream begins with {event!r}")
            before, _, after = event.partition(b"w0 ")
            self._event = (before, after)
            self._ends = [before + after.replace(b"null}]", b'"length"}]'), DONE[:-2]]
        if self.seen < self.tokens:
            due = (b"w%d " % self.seen).join(self._event)
            self.seen += 1
        else:
            due = self._ends.pop(0) if self._ends else b"(nothing)"
        if event != due:
            raise Broken(f"{event!r} instead of {due!r}")

    def check_whole(self) -> None:
        """It is over."""
        if self.seen != self.tokens or self._ends or self._tail:
            raise Broken(f"ends after {self.seen} tokens, {self._ends} missing, {self._tail!r} over")


class Streams:
    """While the with-block runs, each client has one stream after the other, on one connection.

    A failure is an answer other than 200, a byte that differs from what the model server sent, one
    too many or too few, and a connection that closes. With cancel_share, that part of the streams is
    given up by the client, at a random token at least `spare` before the last, by FIN or by RST; the
    client then opens a new connection. With once, each client has one stream only. The end of the
    block waits for all streams that run.
    """

    def __init__(self, address: str, clients: int, tokens: int, cancel_share: float = 0.0,
                 spare: int = 3, seed: int = 1, tls: Optional[ssl.SSLContext] = None,
                 once: bool = False, end_s: float = 180.0) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.clients = clients
        self.tokens = tokens
        self.tls = tls
        self.once = once
        self.end_s = end_s
        self.cancel_share = cancel_share
        self.spare = spare
        self.random = random.Random(seed)
        self.request = request_bytes("POST", "/v1/completions", json.dumps(
            {"prompt": "x", "stream": True, "max_tokens": tokens}).encode())
        self.open = 0  # streams whose first token has come and which go on
        self.done = 0
        self.cancelled = 0
        self.connects = 0
        self.bytes = 0  # of the streams that are done
        self.failures: List[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self) -> "Streams":
        self._thread.start()
        wait_until(lambda: self.failures or self.open >= self.clients * 0.9, 60,
                   "the streams to begin", lambda: (self.open, self.failures[:5]))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join(self.end_s)
        assert not self._thread.is_alive(), "the streams do not end"

    async def _main(self) -> None:
        await asyncio.gather(*(self._client(i) for i in range(self.clients)))

    async def _client(self, number: int) -> None:
        await asyncio.sleep(number * 0.001)  # no burst that a backlog would feel
        writer = None
        while not self._stop.is_set() and (writer is None or not self.once):
            try:
                if writer is None:
                    self.connects += 1
                    reader, writer = await asyncio.open_connection(self.host, self.port,
                                                                   ssl=self.tls)
                if not await self._stream(reader, writer):
                    writer = None
            except (OSError, ValueError, EOFError, Broken, asyncio.TimeoutError) as error:
                self.failures.append(f"at {time.time():.3f}: {error!r}")
                if writer is not None:
                    writer.close()
                writer = None
                await asyncio.sleep(0.05)  # a dead port must not turn this into a busy loop
        if writer is not None:
            writer.close()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One stream; whether the connection may be used again."""
        give_up_at = self.tokens + 2
        if self.random.random() < self.cancel_share:
            give_up_at = self.random.randint(1, self.tokens - self.spare)
        writer.write(self.request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TOKEN_DEADLINE_S)
        if b" 200 " not in head[:16]:
            raise Broken(repr(head) + repr(await asyncio.wait_for(reader.read(1000), 1)))
        text = Text(self.tokens)
        while True:
            data = await asyncio.wait_for(self._chunk(reader), TOKEN_DEADLINE_S)
            if not data:
                break
            began = text.seen > 0
            text.take(data)
            self.open += not began and text.seen > 0
            if text.seen >= give_up_at:
                self._give_up(writer)
                return False
        self.open -= 1
        text.check_whole()
        self.bytes += text.bytes
        self.done += 1
        return True

    def _give_up(self, writer: asyncio.StreamWriter) -> None:
        self.open -= 1
        self.cancelled += 1
        if self.random.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()

    @staticmethod
    async def _chunk(reader: asyncio.StreamReader) -> bytes:
        size = int(await reader.readuntil(b"\r\n"), 16)
        return (await reader.readexactly(size + 2))[:size]
