# SPDX-License-Identifier: Apache-2.0
"""Many event streams at once, in a thread, each read to its last token or given up on purpose."""

import asyncio
import json
import random
import threading
from typing import List

from lib.wait import wait_until
from lib.wire import request_bytes

TOKEN_DEADLINE_S = 30.0


class Broken(Exception):
    """A stream that did not go as it should."""


class Streams:
    """While the with-block runs, each client has one stream after the other, on one connection.

    A failure is an answer other than 200, a token that is missing, doubled or out of order, an end
    without [DONE], and a connection that closes. With cancel_share, that part of the streams is given
    up by the client, at a random token at least `spare` before the last, by FIN or by RST; the client
    then opens a new connection. The end of the block waits for all streams that run.
    """

    def __init__(self, address: str, clients: int, tokens: int, cancel_share: float = 0.0,
                 spare: int = 3, seed: int = 1) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.clients = clients
        self.tokens = tokens
        self.cancel_share = cancel_share
        self.spare = spare
        self.random = random.Random(seed)
        self.request = request_bytes("POST", "/v1/completions", json.dumps(
            {"prompt": "x", "stream": True, "max_tokens": tokens}).encode())
        self.open = 0  # streams whose first token has come and which go on
        self.done = 0
        self.cancelled = 0
        self.connects = 0
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
        self._thread.join(180)
        assert not self._thread.is_alive(), "the streams do not end"

    async def _main(self) -> None:
        await asyncio.gather(*(self._client(i) for i in range(self.clients)))

    async def _client(self, number: int) -> None:
        await asyncio.sleep(number * 0.001)  # no burst that a backlog would feel
        writer = None
        while not self._stop.is_set():
            try:
                if writer is None:
                    self.connects += 1
                    reader, writer = await asyncio.open_connection(self.host, self.port)
                if not await self._stream(reader, writer):
                    writer = None
            except (OSError, ValueError, EOFError, Broken, asyncio.TimeoutError) as error:
                self.failures.append(repr(error))
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
            raise Broken(repr(head))
        seen = 0
        tail = b""
        while True:
            data = await asyncio.wait_for(self._chunk(reader), TOKEN_DEADLINE_S)
            if not data:
                break
            for event in (tail + data).split(b"\n\n")[:-1]:
                if event != b"data: [DONE]":
                    seen = self._token(event, seen)
            tail = (tail + data).rpartition(b"\n\n")[2]
            last = data
            if seen >= give_up_at:
                self._give_up(writer)
                return False
        self.open -= 1
        if seen != self.tokens or tail or not last.endswith(b"data: [DONE]\n\n"):
            raise Broken(f"{seen} tokens, then {last[-80:]!r}")
        self.done += 1
        return True

    def _token(self, event: bytes, seen: int) -> int:
        choice = json.loads(event.partition(b"data: ")[2])["choices"][0]
        if choice["text"] == "":  # the last event tells the reason only
            return seen
        if choice["text"] != f"w{seen} ":
            raise Broken(f"token {seen} is {choice['text']!r}")
        if seen == 0:
            self.open += 1
        return seen + 1

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
