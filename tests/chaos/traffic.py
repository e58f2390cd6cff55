# SPDX-License-Identifier: Apache-2.0
"""Load at a fixed rate, whatever becomes of it, and event streams, each one after the other.

A request is due at its time and is sent then, on a connection that is free or on a new one; how long it
took counts from when it was due. Nothing is retried here.
"""

import asyncio
import dataclasses
import itertools
import threading
import time
from typing import Callable, Coroutine, Dict, List, Optional

RATE = 200
STREAMS = 10
STREAM_S = 1.0  # that a stream lasts: one that fails sooner does not make for more of them
GIVE_UP_S = 10.0
BODY = b'{"prompt":"%s"}' % (b"x" * 1011)
ASK_STREAM = b'{"stream":true,"prompt":"x"}'
DONE = b"data: [DONE]\n\n"


class Failure(Exception):
    """A request that did not end as it should, and how, in a word."""


@dataclasses.dataclass
class Record:
    """One request."""

    kind: str  # GET, POST or stream
    due: float
    ended: float = 0.0
    failure: str = ""
    served_by: str = ""


def message(kind: str) -> bytes:
    """A whole request."""
    if kind == "GET":
        return b"GET /v1/models HTTP/1.1\r\nhost: chaos\r\n\r\n"
    body = BODY if kind == "POST" else ASK_STREAM
    return (b"POST /v1/completions HTTP/1.1\r\nhost: chaos\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body))


MESSAGES = {kind: message(kind) for kind in ("GET", "POST", "stream")}


async def read_body(reader: asyncio.StreamReader, fields: Dict[str, str]) -> bytes:
    """All of it."""
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    body = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return body


async def exchange(reader: asyncio.StreamReader, record: Record) -> bool:
    """Reads one response; whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip("\r\n").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
    record.served_by = fields.get("x-served-by", "")
    status = line.split(" ")[1]
    try:
        body = await read_body(reader, fields)
    except (OSError, EOFError) as error:
        raise Failure("cut") from error
    if status != "200":
        raise Failure(status)
    if record.kind == "stream" and not body.endswith(DONE):
        raise Failure("cut")
    return fields.get("connection", "").lower() != "close"


class Traffic:
    """Runs in a thread of its own from start() to stop()."""

    def __init__(self, address: str, rate: int = RATE, streams: int = STREAMS) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.rate = rate
        self.streams = streams
        self.records: List[Record] = []
        self._idle: List[tuple] = []
        self._running: set = set()
        self._stop = threading.Event()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def start(self) -> "Traffic":
        """Begins; returns itself."""
        self._thread.start()
        return self

    def stop(self) -> List[Record]:
        """No further requests; waits for the end of those that run."""
        self._stop.set()
        self._thread.join(GIVE_UP_S + 20)
        assert not self._thread.is_alive(), "the load does not end"
        return self.records

    def storm(self, count: int) -> None:
        """So many GETs at once, beside what runs anyhow."""
        def begin() -> None:
            now = time.monotonic()
            for _ in range(count):
                self._spawn(self._request(Record("GET", now)))
        assert self._loop is not None
        self._loop.call_soon_threadsafe(begin)

    def served_since(self, ip: str, since: float) -> Optional[float]:
        """When the first request that was due after a time was answered by a pod; None: none was."""
        ended = [r.ended for r in list(self.records)
                 if r.served_by == ip and not r.failure and r.due >= since]
        return min(ended, default=None)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        streams = [asyncio.create_task(self._stream()) for _ in range(self.streams)]
        began = time.monotonic()
        for number in itertools.count():
            due = began + number / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._stop.is_set():
                break
            self._spawn(self._request(Record("POST" if number % 2 else "GET", due)))
        await asyncio.gather(*streams, *self._running)
        for _, writer in self._idle:
            writer.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _stream(self) -> None:
        while not self._stop.is_set():
            record = Record("stream", time.monotonic())
            await self._request(record)
            if record.failure:
                await asyncio.sleep(STREAM_S - min(STREAM_S, record.ended - record.due))

    def _free(self) -> Optional[tuple]:
        """A connection that is kept, and that the other side has not closed."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def _request(self, record: Record) -> None:
        pair = self._free()
        again = False
        try:
            if pair is None:
                pair = await asyncio.wait_for(asyncio.open_connection(self.host, self.port), GIVE_UP_S)
            pair[1].write(MESSAGES[record.kind])
            again = await asyncio.wait_for(exchange(pair[0], record), GIVE_UP_S)
        except Failure as failure:
            record.failure = str(failure)
        except asyncio.TimeoutError:
            record.failure = "given up"
        except (OSError, EOFError, ValueError):
            record.failure = "closed"
        record.ended = time.monotonic()
        self.records.append(record)
        if again:
            self._idle.append(pair)
        elif pair is not None:
            pair[1].close()


Counters = Callable[[], Dict[str, int]]


class Watch:
    """Looks all the time how often each pod was picked."""

    STEP_S = 0.05

    def __init__(self, picks: Counters) -> None:
        self.picks = picks
        self.samples: List[tuple] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self.STEP_S):
            try:
                picks = self.picks()
            except OSError:
                continue  # one look less
            self.samples.append((time.monotonic(), picks))

    def stop(self) -> None:
        """No more looks."""
        self._stop.set()
        self._thread.join(10)

    def of(self, address: str, since: float, until: float) -> List[tuple]:
        """(when, picks so far) of a pod."""
        return [(at, picks.get(address, 0)) for at, picks in self.samples if since <= at <= until]
