# SPDX-License-Identifier: Apache-2.0
"""Clients that people have: curl, httpx, openai, websockets, wrk, ab; what each takes for granted."""

import asyncio
import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import httpx
import openai
import pytest
import websockets.sync.client
import websockets.sync.server

from lib.bulk import BulkServer, PATTERN
from lib.config import config, pool
from lib.curl import curl
from lib.refuser import Refuser
from lib.wait import wait_until
from lib.wire import DEADLINE_S, Wire, request_bytes
from lib.wrk import Wrk

MIB = 1 << 20
BODY_BYTES = 2 * MIB
READ_AFTER_THE_END_BYTES = 768 << 10  # less than what is read of a body after its answer
TRIES_N = 10
AT_ONCE_N = 30
TOKENS_N = 60
AB_REQUEST = (b"GET /version HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: edge.test\r\n"
              b"User-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n")


@pytest.fixture
def through(sluiced, model) -> Tuple[Any, Any]:
    """One model server behind one worker."""
    server = model("--slots", "256", "--token-rate", "40")
    return sluiced(config({"chat": pool(server.address)}, workers=1)), server


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """A file of 2 MiB."""
    path = tmp_path / "body"
    path.write_bytes(PATTERN[:BODY_BYTES])
    return path


# -- curl and the expectation --------------------------------------------------------------------


@pytest.mark.parametrize("framing", [[], ["-H", "Transfer-Encoding: chunked"]],
                         ids=["length", "chunked"])
def test_curl_waits_for_the_continue_and_sends_its_body(sluiced, body, framing):
    server = BulkServer()
    try:
        proxy = sluiced(config({"bulk": pool(server.address)}, workers=1))
        out, told = curl("-H", "Expect: 100-continue", *framing, "--expect100-timeout", "15",
                         "--data-binary", f"@{body}", f"{proxy.url()}/upload")
    finally:
        server.stop()
    assert json.loads(out) == {"bytes": BODY_BYTES, "equal": True}
    assert "< HTTP/1.1 100 Continue" in told and "< HTTP/1.1 200 OK" in told
    assert [message.get("expect") for message in server.messages] == ["100-continue"]


@pytest.fixture
def refuser() -> Iterator[Callable[[str, bool], Refuser]]:
    """Factory of upstreams that refuse without reading."""
    running: List[Refuser] = []

    def start(status: str, ends: bool) -> Refuser:
        running.append(Refuser(status, ends))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.mark.parametrize("ends", [False, True], ids=["stays", "ends"])
@pytest.mark.parametrize("status, expects, size", [
    ("417 Expectation Failed", False, READ_AFTER_THE_END_BYTES),
    ("417 Expectation Failed", True, BODY_BYTES),
    ("401 Unauthorized", False, READ_AFTER_THE_END_BYTES), ("401 Unauthorized", True, BODY_BYTES)])
def test_curl_gets_the_refusal_of_a_body_that_nobody_reads(sluiced, refuser, body, status, expects,
                                                           size, ends):
    os.truncate(body, size)
    server = refuser(status, ends)
    proxy = sluiced(config({"chat": pool(server.address, health="off")}, workers=1))
    # A body of more than a MiB makes curl expect by itself.
    fields = [] if expects else ["-H", "Expect:"]
    for _ in range(TRIES_N):
        out, told = curl(*fields, "--expect100-timeout", "15", "--data-binary", f"@{body}",
                         f"{proxy.url()}/upload")
        assert ("> Expect: 100-continue" in told) == expects
        assert out.endswith("refused") and f"< HTTP/1.1 {status}" in told, told
        assert "100 Continue" not in told
    lines = proxy.access_log(server.heads_n)
    assert len(lines) == server.heads_n
    assert {(line["status"], line["reason"]) for line in lines} == {(int(status[:3]), "ok")}


# -- trailers ------------------------------------------------------------------------------------


def test_trailers_pass_both_ways_in_one_exchange(sluiced, upstream):
    answer = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Down\r\n\r\n"
              b"2\r\nok\r\n0\r\nX-Down: 2\r\nTransfer-Encoding: chunked\r\n\r\n")
    server = upstream([answer])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        for _ in range(2):
            wire.send(request_bytes("POST", "/", None, [
                ("Transfer-Encoding", "chunked"), ("TE", "trailers"), ("Trailer", "X-Up")])
                + b"3\r\nabc\r\n0\r\nX-Up: 1\r\nContent-Length: 9\r\nHost: evil\r\n\r\n")
            got = wire.reader.response()
            assert (got.status, got.body) == (200, b"ok")
            assert [(name.lower(), value) for name, value in got.trailers] == [("x-down", "2")]
    for request in server.requests:
        assert request.body == b"abc" and request.get("te") == "trailers"
        assert [(name.lower(), value) for name, value in request.trailers] == [("x-up", "1")]


def test_curl_shows_the_trailers_of_an_answer(sluiced, upstream, tmp_path):
    server = upstream([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                       b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    fields = tmp_path / "fields"
    out, _ = curl("-H", "TE: trailers", "-D", str(fields), proxy.url())
    assert out == "ok" and "x-sum: 7" in fields.read_text().lower()


# -- libraries -----------------------------------------------------------------------------------


def test_httpx_sends_and_receives_streams_on_many_connections(through):
    proxy, server = through
    data = os.urandom(300_000)

    async def pieces() -> Any:
        for at in range(0, len(data), 65_537):
            yield data[at:at + 65_537]

    async def one(client: httpx.AsyncClient, number: int) -> None:
        sent = await client.post("/echo", content=pieces() if number % 2 else data)
        told = sent.json()
        assert told["body_sha256"] == hashlib.sha256(data).hexdigest()
        assert told["chunked"] == bool(number % 2)
        async with client.stream("GET", f"/bytes/{100_000 + number}?chunked=1") as answer:
            sizes = [len(part) async for part in answer.aiter_bytes()]
        assert sum(sizes) == 100_000 + number

    async def everything() -> None:
        limits = httpx.Limits(max_connections=AT_ONCE_N)
        async with httpx.AsyncClient(base_url=proxy.url(), limits=limits, timeout=20) as client:
            await asyncio.gather(*(one(client, i) for i in range(3 * AT_ONCE_N)))

    asyncio.run(everything())
    assert proxy.metric("sluiced_requests_total", reason="ok") == 6 * AT_ONCE_N
    assert proxy.metric("sluiced_listener_connections_total") <= AT_ONCE_N
    assert server.state()["aborted"] == 0


def test_openai_client_has_many_streams_at_once_and_gives_some_up(through):
    proxy, server = through
    want = "".join(f"w{i} " for i in range(TOKENS_N))

    async def one(client: openai.AsyncOpenAI, number: int) -> None:
        parts = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "hi"}], max_tokens=TOKENS_N,
            stream=True)
        text = ""
        async for part in parts:
            text += part.choices[0].delta.content or ""
            if number % 3 == 0 and len(text) > 20:
                await parts.close()
                return
        assert text == want

    async def everything() -> None:
        async with openai.AsyncOpenAI(base_url=proxy.url() + "/v1", api_key="none",
                                      max_retries=0) as client:
            await asyncio.gather(*(one(client, i) for i in range(AT_ONCE_N)))

    asyncio.run(everything())
    server.wait_state("aborted", AT_ONCE_N // 3)
    assert proxy.metric("sluiced_requests_total", reason="ok") == AT_ONCE_N - AT_ONCE_N // 3
    assert proxy.metric("sluiced_requests_total", reason="client_gone") == AT_ONCE_N // 3


@pytest.fixture
def echo() -> Iterator[str]:
    """A WebSocket server that says everything again; its address."""
    def handler(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    with websockets.sync.server.serve(handler, "127.0.0.1", 0, max_size=4 * MIB,
                                      subprotocols=["chat"]) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield "127.0.0.1:%d" % server.socket.getsockname()[1]
        server.shutdown()
        thread.join(DEADLINE_S)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_websocket_library_has_its_messages_echoed(sluiced, echo, compression):
    proxy = sluiced(config({"ws": pool(echo, health="off")}, workers=1))
    messages: List[Any] = ["", "hello", "x" * 65_536, b"", b"\0" * 125, os.urandom(126),
                           os.urandom(65_535), os.urandom(MIB)]
    with websockets.sync.client.connect(
            f"ws://{proxy.address('edge')}/ws", compression=compression, max_size=4 * MIB,
            subprotocols=["chat"], open_timeout=DEADLINE_S) as client:
        assert client.subprotocol == "chat"
        for message in messages:
            client.send(message)
            assert client.recv(DEADLINE_S) == message
        assert client.ping(b"are you there").wait(DEADLINE_S)
        client.close(4000, "enough")
    assert (client.close_code, client.close_reason) == (4000, "enough")
    line = proxy.access_log()[0]
    assert (line["status"], line["reason"]) == (101, "ok")


def test_many_websockets_at_once_do_not_mix(sluiced, echo):
    proxy = sluiced(config({"ws": pool(echo, health="off")}))
    url = f"ws://{proxy.address('edge')}/ws"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websockets.sync.client.connect(
            url, open_timeout=DEADLINE_S, subprotocols=["chat"])) for _ in range(AT_ONCE_N)]
        for turn in range(5):
            for i, client in enumerate(clients):
                client.send(f"{i} {turn}")
            assert [client.recv(DEADLINE_S) for client in clients] == [
                f"{i} {turn}" for i in range(AT_ONCE_N)]
    assert len(proxy.access_log(AT_ONCE_N)) == AT_ONCE_N


# -- load generators -----------------------------------------------------------------------------


def test_wrk_and_the_metrics_count_the_same(through):
    proxy, _ = through
    wrk = Wrk(f"{proxy.url()}/bytes/1024", 32, 60)
    try:
        wait_until(lambda: proxy.metric("sluiced_requests_total", reason="ok") > 1000, 30,
                   "a thousand requests", proxy.status)
    finally:
        report = wrk.stop()
    assert report.errors == 0, report.text
    # wrk leaves what is under way at its end.
    wait_until(lambda: proxy.metric("sluiced_listener_connections") == 0, 10, "wrk to be gone")
    total = proxy.metric("sluiced_requests_total")
    assert report.requests <= total <= report.requests + 2 * 32
    assert proxy.metric("sluiced_listener_connections_total") <= 2 * 32


def test_client_of_http_1_0_keeps_its_connection_when_it_asks_to(through):
    """ab -k: without "Connection: keep-alive" and a length it would wait for the end."""
    proxy, _ = through
    with Wire(proxy.address("edge")) as wire:
        for _ in range(50):
            wire.send(AB_REQUEST)
            answer = wire.reader.response()
            assert answer.status == 200 and answer.line.startswith("HTTP/1.")
            assert (answer.get("connection") or "").lower() == "keep-alive", answer
            assert answer.get("content-length") and not answer.get("transfer-encoding")
        wire.send(AB_REQUEST.replace(b"Connection: Keep-Alive\r\n", b""))  # ab without -k
        answer = wire.reader.response()
        assert (answer.get("connection") or "close").lower() == "close"
        assert wire.reader.rest() == b""
    assert proxy.metric("sluiced_listener_connections_total") == 1


def test_client_of_http_1_0_gets_a_chunked_answer_to_its_end(through):
    proxy, _ = through
    with Wire(proxy.address("edge")) as wire:
        wire.send(AB_REQUEST.replace(b"/version", b"/bytes/200000?chunked=1"))
        answer = wire.reader.head()
        assert not answer.get("transfer-encoding")
        assert (answer.get("connection") or "close").lower() == "close"
        assert len(wire.reader.rest()) == 200_000
