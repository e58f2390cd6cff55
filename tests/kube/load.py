# SPDX-License-Identifier: Apache-2.0
"""Load on raw sockets: clients in a closed loop or at a rate, and event streams, bounded in time
and count; counts every failure.

Raw sockets, because a client library may retry, and pools connections: here one client is one
connection, and what is lost on it is seen.
"""

import asyncio
import collections
import dataclasses
import itertools
import json
import threading
import time

ASK = {"model": "llama", "messages": [{"role": "user", "content": "how are you?"}]}


@dataclasses.dataclass
class Report:
    """What happened."""

    requests: int = 0
    streams: int = 0
    events: int = 0
    failures: list = dataclasses.field(default_factory=list)
    versions: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    served: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    # Address to time.monotonic() of its last answer.
    last_served: dict = dataclasses.field(default_factory=dict)
    slowest_s: float = 0.0
    # When each short request was answered and how long it took, in seconds.
    took: list = dataclasses.field(default_factory=list)

    def quantile_ms(self, share, since=0.0, until=float("inf")):
        """So many of the short requests answered in a stretch of time took at most that long."""
        took = sorted(s for at, s in self.took if since <= at < until)
        return took[min(len(took) - 1, int(share * len(took)))] * 1000 if took else float("nan")

    def __str__(self):
        return (
            f"{self.requests} requests and {self.streams} streams ({self.events} events), "
            f"{len(self.failures)} failed {self.failures[:3]}, "
            f"slowest {self.slowest_s * 1000:.0f} ms, "
            f"versions {dict(self.versions)}, served by {dict(self.served)}"
        )


class Failure(Exception):
    """A request that did not end as it should."""


def encode(body, host):
    """A whole POST of a chat completion."""
    text = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


async def read_head(reader):
    """Status and fields (lower-case names) of a response."""
    head = await reader.readuntil(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    fields = {}
    for text in lines:
        name, _, value = text.partition(":")
        fields[name.strip().lower()] = value.strip()
    return int(line.split(" ")[1]), fields


async def read_body(reader, fields):
    """Yields the parts of a body, which must not be delimited by the end of the connection."""
    if "content-length" in fields:
        yield await reader.readexactly(int(fields["content-length"]))
        return
    if fields.get("transfer-encoding", "").lower() != "chunked":
        raise Failure(f"body of unknown length: {fields}")
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        part = await reader.readexactly(size + 2)
        if not part.endswith(b"\r\n"):
            raise Failure("chunk without end")
        if size == 0:
            return
        yield part[:-2]


class Load:
    """Runs in a thread of its own from start() to stop().

    clients: how many send one short request after the other, all of them together `rate` a second
    if given; streams: how many keep an event stream of `tokens` tokens open, one after the other.
    Ends by itself after `seconds`, or after `count` requests begun.
    """

    def __init__(
        self,
        address,
        *,
        clients=4,
        streams=0,
        tokens=20,
        seconds=60.0,
        count=None,
        timeout=10.0,
        rate=None,
    ):
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.clients = clients
        self.streams = streams
        self.tokens = tokens
        self.deadline = time.monotonic() + seconds
        self.left = count
        self.timeout = timeout
        self.rate = rate
        self.turns = itertools.count()
        self.began = time.monotonic()
        self.report = Report()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def start(self):
        """Begins; returns itself."""
        self.thread.start()
        return self

    def join(self):
        """Waits for the end by time or count; returns the report."""
        self.thread.join(max(0.0, self.deadline - time.monotonic()) + self.timeout + 5)
        assert not self.thread.is_alive(), "the load did not end in time"
        return self.report

    def stop(self):
        """No further requests; waits for those that run, and returns the report."""
        self.stopping.set()
        return self.join()

    def _more(self):
        if self.stopping.is_set() or time.monotonic() > self.deadline or self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True

    async def _main(self):
        short = encode({**ASK, "max_tokens": 1}, f"{self.host}:{self.port}")
        stream = encode(
            {**ASK, "stream": True, "max_tokens": self.tokens}, f"{self.host}:{self.port}"
        )
        self.began = time.monotonic()
        tasks = [self._client(short, self._request) for _ in range(self.clients)]
        tasks += [self._client(stream, self._stream) for _ in range(self.streams)]
        await asyncio.gather(*tasks)

    async def _client(self, message, exchange):
        """One connection, and another one only when the other side announced to close it, or after
        a failure.
        """
        reader = writer = None
        while self._more():
            if self.rate and exchange == self._request:  # late ones catch up: the rate is kept
                due = self.began + next(self.turns) / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(message)
                fields = await asyncio.wait_for(exchange(reader), self.timeout)
                closing = fields.get("connection", "").lower() == "close"
            except (Failure, OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
                self.report.failures.append(f"{type(error).__name__}: {error}")
                closing = True
                await asyncio.sleep(0.01)  # a dead address must not make a busy loop
            ended = time.monotonic()
            self.report.slowest_s = max(self.report.slowest_s, ended - began)
            if exchange == self._request:
                self.report.took.append((ended, ended - began))
            if closing and writer is not None:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    async def _begin(self, reader):
        status, fields = await read_head(reader)
        if status != 200:
            body = b"".join([part async for part in read_body(reader, fields)])
            raise Failure(f"status {status}: {body[:300]!r}")
        return fields

    def _served(self, fields):
        self.report.versions[fields.get("x-model-version")] += 1
        address = fields.get("x-served-by")
        self.report.served[address] += 1
        self.report.last_served[address] = time.monotonic()

    async def _request(self, reader):
        fields = await self._begin(reader)
        body = b"".join([part async for part in read_body(reader, fields)])
        if "choices" not in json.loads(body):
            raise Failure(f"no choices in {body[:300]!r}")
        self.report.requests += 1
        self._served(fields)
        return fields

    async def _stream(self, reader):
        fields = await self._begin(reader)
        text = b""
        async for part in read_body(reader, fields):
            text += part
        events = text.count(b"\n\n")
        if not text.endswith(b"data: [DONE]\n\n") or events < self.tokens:
            raise Failure(f"the stream ended after {events} events: {text[-200:]!r}")
        self.report.streams += 1
        self.report.events += events
        self._served(fields)
        return fields
