# SPDX-License-Identifier: Apache-2.0
"""Steady load from many keep-alive connections, in a thread, that notices every failed request."""

import asyncio
import collections
import threading
from typing import Any, Counter, List, Optional

from lib.wait import wait_until
from lib.wire import request_bytes

REQUEST_DEADLINE_S = 20.0


class Load:
    """While the with-block runs, each connection sends its next request once the last is answered.

    A failure is a status other than 200, a broken answer, or a connection that ends although no
    answer announced it with "Connection: close".
    """

    def __init__(self, address: str, connections: int = 8, request: Optional[bytes] = None) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.connections = connections
        self.request = request or request_bytes("GET", "/version")
        self.done = 0
        self.failures: List[str] = []
        self.versions: Counter[str] = collections.Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        self.wait_more(self.connections)
        return self

    def __exit__(self, *_exc: Any) -> None:
        self._stop.set()
        self._thread.join(2 * REQUEST_DEADLINE_S)
        assert not self._thread.is_alive(), "the load does not end"

    def wait_more(self, count: int, deadline_s: float = 30.0) -> None:
        """Waits until so many more requests have ended, well or not."""
        goal = self.done + len(self.failures) + count
        wait_until(lambda: self.done + len(self.failures) >= goal, deadline_s,
                   f"{count} more requests", lambda: (self.done, self.failures[:5]))

    async def _main(self) -> None:
        await asyncio.gather(*(self._connection() for _ in range(self.connections)))

    async def _connection(self) -> None:
        reader: Any = None
        writer: Any = None
        while not self._stop.is_set():
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(self.host, self.port)
                keep = await asyncio.wait_for(self._one(reader, writer), REQUEST_DEADLINE_S)
                self.done += 1
            except (OSError, ValueError, EOFError, asyncio.TimeoutError) as error:
                self.failures.append(repr(error))
                keep = False
                await asyncio.sleep(0.01)  # a dead port must not turn this into a busy loop
            if not keep and writer is not None:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection may be used again."""
        writer.write(self.request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        if "transfer-encoding" in fields:
            body = await self._chunked(reader)
        else:
            body = await reader.readexactly(int(fields["content-length"]))
        if head.split(" ")[1] != "200":
            raise ValueError(f"{head} {body[:300]!r}")
        self.versions[fields.get("x-model-version", "?")] += 1
        return fields.get("connection") != "close"

    @staticmethod
    async def _chunked(reader: asyncio.StreamReader) -> bytes:
        body = b""
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            body += (await reader.readexactly(size + 2))[:size]
            if size == 0:
                return body
