# SPDX-License-Identifier: Apache-2.0
"""Comments in a silent event stream: where they may stand, and what they cost."""

import json
import threading
from typing import Any, List, Optional

import openai
import pytest

from lib.config import config, pool, route
from lib.wait import stays
from lib.wire import Action, Close, Wait, Wire, answer_bytes, request_bytes

BEAT = b": heartbeat\n\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = SSE + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def start(sluiced: Any, upstream: Any, script: List[Action], heartbeat: str = "150ms",
          **more: Any) -> Any:
    """sluiced in front of one scripted endpoint."""
    server = upstream([script])
    return sluiced(config({"chat": pool(server.address, **more)},
                          [route("chat", heartbeat=heartbeat)], workers=1))


def ask(wire: Wire) -> None:
    """A streaming request."""
    wire.send(request_bytes("POST", "/v1/chat/completions", b'{"stream":true}'))


def test_silence_between_events_is_filled_and_events_stay_whole(sluiced, upstream):
    gate = threading.Event()
    proxy = start(sluiced, upstream, [CHUNKED, chunk(b"data: one\n\n"), Wait(gate),
                                      chunk(b"data: two\n\n"), b"0\r\n\r\n"])
    with Wire(proxy.address("edge")) as wire:
        ask(wire)
        assert wire.reader.head().status == 200
        assert wire.reader.chunk() == b"data: one\n\n"
        assert [wire.reader.chunk() for _ in range(3)] == [BEAT] * 3
        gate.set()
        rest = b""
        while piece := wire.reader.chunk():
            rest += piece
        assert rest.replace(BEAT, b"") == b"data: two\n\n"
        assert wire.reader.trailers() == []
        assert wire.ask("GET", "/").status == 200  # in step: the connection goes on
    # What we put in is not the endpoint's.
    assert proxy.access_log()[0]["bytes_out"] == len(b"data: one\n\ndata: two\n\n")


@pytest.mark.parametrize("before, after", [
    (chunk(b"data: par"), chunk(b"tial\n\n")),
    (chunk(b"data: one\n"), chunk(b"\n")),
    (chunk(b"data: one\r\n"), chunk(b"\r\n")),
    (b"b\r\ndata: one\n\n", b"\r\n"),  # the event is whole, its chunk is not
    (b"16\r\ndata: one\n\n", b"data: two\n\n\r\n"),
], ids=["within a line", "between LF", "between CR LF", "before the chunk's end", "within a chunk"])
def test_no_comment_within_an_event_or_a_chunk(sluiced, upstream, before, after):
    gate = threading.Event()
    proxy = start(sluiced, upstream, [CHUNKED, before, Wait(gate), after, b"0\r\n\r\n"])
    with Wire(proxy.address("edge")) as wire:
        ask(wire)
        assert wire.reader.head().status == 200
        while not before.endswith(wire.reader.buf) or not wire.reader.buf:
            wire.reader.more()
        seen = wire.reader.buf
        stays(lambda: True, 0.5, "")  # three beats were due
        gate.set()
        while not wire.reader.buf.endswith(b"0\r\n\r\n"):
            wire.reader.more()
        assert wire.reader.buf.replace(chunk(BEAT), b"") == seen + after + b"0\r\n\r\n"
        assert not wire.reader.buf.startswith(seen + chunk(BEAT))


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"],
                         ids=["LF", "CRLF", "CR", "mixed"])
def test_every_kind_of_blank_line_ends_an_event(sluiced, upstream, end):
    gate = threading.Event()
    proxy = start(sluiced, upstream, [CHUNKED, chunk(b"data: one" + end), Wait(gate),
                                      b"0\r\n\r\n"])
    with Wire(proxy.address("edge")) as wire:
        ask(wire)
        wire.reader.head()
        assert wire.reader.chunk() == b"data: one" + end
        assert wire.reader.chunk() == BEAT
        gate.set()


def test_held_head_is_let_go_and_the_model_may_think_on(sluiced, model):
    server = model("--ttft-ms", "700")
    proxy = sluiced(config({"chat": pool(server.address)}, [route("chat", heartbeat="150ms")],
                           workers=1))
    with Wire(proxy.address("edge")) as wire:
        body = {"model": "demo", "stream": True, "max_tokens": 3,
                "messages": [{"role": "user", "content": "hi"}]}
        wire.send(request_bytes("POST", "/v1/chat/completions", json.dumps(body).encode()))
        assert wire.reader.head().status == 200
        assert wire.reader.chunk() == BEAT  # before the first token
        wire.reader.chunked(message := type("Rest", (), {"chunks": [], "trailers": []})())
        text = b"".join(message.chunks)
        assert b"data: [DONE]" in text
    # The client's library sees nothing of it.
    client = openai.OpenAI(base_url=f"{proxy.url()}/v1", api_key="x", max_retries=0)
    parts = client.chat.completions.create(
        model="demo", stream=True, max_tokens=3, messages=[{"role": "user", "content": "hi"}])
    words = [p.choices[0].delta.content for p in parts if p.choices and p.choices[0].delta.content]
    assert len(words) == 3


def test_first_byte_still_has_its_limit(sluiced, upstream):
    never = threading.Event()
    proxy = start(sluiced, upstream, [CHUNKED, Wait(never)], timeouts={"first_byte": "500ms"})
    try:
        with Wire(proxy.address("edge")) as wire:
            ask(wire)
            assert wire.reader.head().status == 200
            assert wire.reader.chunk() == BEAT
            assert wire.closed_within(5)
        assert proxy.access_log()[0]["reason"] == "first_byte_timeout"
    finally:
        never.set()


def test_stream_that_fails_before_the_first_beat_is_still_sent_elsewhere(sluiced, upstream):
    bad = upstream([[CHUNKED, Close(reset=True)]])
    good = upstream([answer_bytes(b"good")])
    proxy = sluiced(config({"chat": pool(bad.address, good.address, balance="round_robin")},
                           [route("chat", heartbeat="2s", replay="generation")], workers=1))
    with Wire(proxy.address("edge")) as wire:
        for _ in range(4):
            ask(wire)
            assert wire.reader.response().body == b"good"
    assert (len(bad.requests) > 0, len(good.requests)) == (True, 4)


@pytest.mark.parametrize("head, body", [
    (SSE + b"Content-Length: 22\r\n\r\n", b"data: one\n\n"),
    (SSE + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(b"data: one\n\n")),
    (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
     chunk(b"{}\n\n")),
], ids=["with a length", "compressed", "not an event stream"])
def test_what_bears_no_comment_gets_none(sluiced, upstream, head, body):
    gate = threading.Event()
    end: Optional[bytes] = b"data: two\n\n" if b"Content-Length" in head else b"0\r\n\r\n"
    proxy = start(sluiced, upstream, [head + body, Wait(gate), end])
    with Wire(proxy.address("edge")) as wire:
        ask(wire)
        wire.reader.head()
        stays(lambda: True, 0.4, "")
        gate.set()
        while not wire.reader.buf.endswith(end):
            wire.reader.more()
        assert wire.reader.buf == body + end


@pytest.mark.parametrize("version, head", [("1.0", CHUNKED), ("1.0", SSE + b"\r\n"),
                                           ("1.1", SSE + b"\r\n")],
                         ids=["1.0 from chunks", "1.0 until close", "1.1 wrapped"])
def test_other_framings_get_it_too(sluiced, upstream, version, head):
    gate = threading.Event()
    event = b"data: one\n\n"
    proxy = start(sluiced, upstream,
                  [head + (chunk(event) if head == CHUNKED else event), Wait(gate), Close()])
    with Wire(proxy.address("edge")) as wire:
        wire.send(f"POST / HTTP/{version}\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        wire.reader.head()
        wanted = event + BEAT if version == "1.0" else chunk(event) + chunk(BEAT)
        while len(wire.reader.buf) < len(wanted):
            wire.reader.more()
        assert wire.reader.buf.startswith(wanted)
        gate.set()


def test_without_the_option_a_stream_is_left_alone(sluiced, upstream):
    gate = threading.Event()
    proxy = start(sluiced, upstream, [CHUNKED, chunk(b"data: one\n\n"), Wait(gate), b"0\r\n\r\n"],
                  heartbeat="off")
    with Wire(proxy.address("edge")) as wire:
        ask(wire)
        wire.reader.head()
        assert wire.reader.chunk() == b"data: one\n\n"
        stays(lambda: True, 0.4, "")
        gate.set()
        assert wire.reader.until(b"0\r\n\r\n") == b"0\r\n\r\n"
