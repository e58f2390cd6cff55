# SPDX-License-Identifier: Apache-2.0
"""The demo model server itself: the other tests rely on what it says and does."""

import hashlib
import json
import time
from typing import Any, Dict, List

import openai
import pytest

from lib.fetch import fetch
from lib.sluiced import parse_metrics
from lib.wait import wait_until
from lib.wire import REFUSED, Wire

CHAT: Dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "hello there"}]}


def chat(**more: Any) -> bytes:
    """Body of a chat completion."""
    return json.dumps({**CHAT, **more}).encode()


def sse_events(body: bytes) -> List[str]:
    """Payloads of an event stream."""
    events = body.decode().split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") for event in events), events
    return [event[len("data: "):] for event in events]


def test_openai_client_gets_whole_and_streamed_answers(model):
    client = openai.OpenAI(base_url=f"http://{model().address}/v1", api_key="none", max_retries=0)
    assert [card.id for card in client.models.list()] == ["demo"]
    whole = client.chat.completions.create(**CHAT, max_tokens=3)
    assert whole.choices[0].message.content == "w0 w1 w2 "
    assert whole.usage.completion_tokens == 3
    parts = list(client.chat.completions.create(
        **CHAT, max_tokens=3, stream=True, stream_options={"include_usage": True}))
    text = "".join(part.choices[0].delta.content for part in parts if part.choices)
    assert text == "w0 w1 w2 "
    assert parts[-1].usage.completion_tokens == 3


def test_text_completion_streams_and_ends_with_done(model):
    answer = fetch(model("--tokens", "2").address, "/v1/completions", "POST",
                   b'{"prompt": "x", "stream": true}')
    events = sse_events(answer.body)
    assert [json.loads(e)["choices"][0]["text"] for e in events[:-1]] == ["w0 ", "w1 ", ""]
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "stop"
    assert events[-1] == "[DONE]"
    assert answer.fields["transfer-encoding"] == "chunked"


def test_stream_head_comes_at_once_and_tokens_at_their_rate(model):
    server = model("--ttft-ms", "300", "--token-rate", "20")
    with Wire(server.address) as wire:
        begun = time.monotonic()
        body = chat(stream=True, max_tokens=4)
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                  % len(body) + body)
        assert wire.reader.head().status == 200
        head_s = time.monotonic() - begun
        wire.reader.chunk()
        first_s = time.monotonic() - begun
        while wire.reader.chunk():
            pass
        all_s = time.monotonic() - begun
    assert head_s < 0.2 and first_s >= 0.29, (head_s, first_s)
    assert all_s - first_s >= 0.14, (first_s, all_s)


def test_every_response_says_version_and_server(model):
    server = model("--version", "v7")
    for path in ("/health", "/metrics", "/v1/models", "/version", "/echo", "/nothing"):
        answer = fetch(server.address, path)
        assert answer.fields["x-model-version"] == "v7", path
        assert answer.fields["x-served-by"] == server.address, path
    assert fetch(server.address, "/nothing").status == 404


def test_unknown_model_is_404_and_bad_json_400(model):
    address = model().address
    path = "/v1/chat/completions"
    assert fetch(address, path, "POST", chat(model="other")).status == 404
    assert fetch(address, path, "POST", b"{").status == 400
    assert fetch(address, path, "POST", b"{}").status == 400
    assert fetch(address, path).status == 405


def test_echo_tells_what_arrived(model):
    with Wire(model().address) as wire:
        wire.send(b"PUT /echo/a?b=c HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-one: 2\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n")
        told = json.loads(wire.reader.response().body)
    assert (told["method"], told["path"], told["chunked"]) == ("PUT", "/echo/a?b=c", True)
    assert [pair for pair in told["headers"] if pair[0].lower() == "x-one"] == [
        ["X-One", "1"], ["x-one", "2"]]
    assert told["body_bytes"] == 5
    assert told["body_sha256"] == hashlib.sha256(b"abcde").hexdigest()
    assert told["trailers"] == [["T", "v"]]


@pytest.mark.parametrize("query", ["", "?chunked=1"])
@pytest.mark.parametrize("size", [0, 1, 65536, 1_000_000])
def test_bytes_has_the_length_asked_for(model, size, query):
    answer = fetch(model().address, f"/bytes/{size}{query}")
    assert len(answer.body) == size
    assert ("content-length" in answer.fields) == (query == "")


def test_pipelined_requests_are_answered_in_order(model):
    with Wire(model().address) as wire:
        wire.send(b"".join(b"GET /bytes/%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(1, 6)))
        assert [len(wire.reader.response().body) for _ in range(5)] == [1, 2, 3, 4, 5]


def test_slots_queue_and_overflow(model):
    server = model("--slots", "1", "--queue", "1", "--token-rate", "1")
    body = chat(stream=True, max_tokens=100)
    request = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
               % len(body) + body)
    with Wire(server.address) as first, Wire(server.address) as second, \
            Wire(server.address) as third:
        first.send(request)
        assert first.reader.head().status == 200
        server.wait_state("running", 1)
        second.send(request)
        server.wait_state("waiting", 1)
        third.send(request)
        refused = third.reader.response()
        assert (refused.status, refused.get("retry-after")) == (503, "1")
        metrics = parse_metrics(fetch(server.address, "/metrics").body.decode())
        assert metrics['vllm:num_requests_running{model_name="demo"}'] == 1
        assert metrics['vllm:num_requests_waiting{model_name="demo"}'] == 1
        assert 0 < metrics['vllm:kv_cache_usage_perc{model_name="demo"}'] < 1
        first.close()
        server.wait_state("waiting", 0)
        assert server.state()["running"] == 1
    server.wait_state("running", 0)
    assert server.state()["aborted"] == 2


def test_client_that_leaves_stops_the_generation(model):
    server = model("--token-rate", "10")
    with Wire(server.address) as wire:
        body = chat(stream=True, max_tokens=1000)
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                  % len(body) + body)
        wire.reader.head()
        server.wait_state("running", 1)
    server.wait_state("running", 0)
    assert server.state()["aborted"] == 1
    metrics = parse_metrics(fetch(server.address, "/metrics").body.decode())
    assert metrics["demo:aborted_total"] == 1
    assert metrics['vllm:request_success_total{finished_reason="abort",model_name="demo"}'] == 1


def test_slow_reader_is_not_buffered_for(model):
    server = model()
    with Wire(server.address, receive_buffer=4096) as wire:
        wire.send(b"GET /bytes/500000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.reader.head().status == 200
        before = server.process.rss_bytes()
        for _ in range(50):
            wire.reader.exactly(1000)
        assert server.process.rss_bytes() - before < 32 << 20


def test_idle_connection_is_closed_after_keepalive(model):
    with Wire(model("--keepalive-s", "0.3").address) as wire:
        wire.ask("GET", "/version")
        begun = time.monotonic()
        assert wire.closed_within(3)
        assert time.monotonic() - begun >= 0.2


def test_close_idle_now_closes_idle_connections(model):
    server = model()
    with Wire(server.address) as wire:
        wire.ask("GET", "/version")
        server.control(close_idle_now=True)
        assert wire.closed_within(3)


def test_unhealthy_and_status(model):
    server = model()
    server.control(unhealthy=True, status=429, retry_after=3)
    assert fetch(server.address, "/health").status == 503
    answer = fetch(server.address, "/version")
    assert (answer.status, answer.fields["retry-after"]) == (429, "3")
    server.control(unhealthy=False, status=0)
    assert fetch(server.address, "/health").status == 200
    assert fetch(server.address, "/version").status == 200


def test_refuse_closes_the_port_and_reopens_it(model):
    server = model()
    server.control(refuse=True)
    with pytest.raises(ConnectionRefusedError):
        Wire(server.address)
    server.control(refuse=False)
    assert fetch(server.address, "/version").status == 200


def test_hang_takes_the_request_and_never_answers(model):
    server = model()
    server.control(hang="generate")
    assert fetch(server.address, "/version").status == 200
    server.control(hang=True)
    with Wire(server.address) as wire:
        wire.send(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_state("requests", 2)
        assert not wire.closed_within(0.3)


def test_resets_after_head_and_in_the_middle_of_a_stream(model):
    server = model("--token-rate", "200")
    body = chat(stream=True, max_tokens=50)
    request = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
               % len(body) + body)
    for faults, tokens in (({"reset_after_head": True}, 0),
                           ({"reset_after_head": False, "reset_mid_stream": 3}, 3)):
        server.control(**faults)
        with Wire(server.address) as wire:
            wire.send(request)
            assert wire.reader.head().status == 200
            with pytest.raises(ConnectionResetError):
                wire.reader.rest()
        wait_until(lambda: server.state()["running"] == 0, 5, "generation to end", server.state)
        assert server.state()["generated_tokens"] == tokens


def test_slow_head_and_close_delimited(model):
    server = model()
    server.control(slow_head_ms=200, close_delimited=True)
    with Wire(server.address) as wire:
        begun = time.monotonic()
        answer = wire.ask("GET", "/version")
        assert time.monotonic() - begun >= 0.19
    assert answer.get("content-length") is None and json.loads(answer.body) == {"version": "v1"}


def test_unknown_fault_is_refused(model):
    server = model()
    with pytest.raises(AssertionError, match="unknown fault"):
        server.control(nonsense=True)


def test_tls_requires_the_client_certificate(model, ca):
    leaf = ca.issue("model", ips=["127.0.0.1"])
    server = model("--tls", f"{leaf.cert},{leaf.key},{ca.path}")
    who = ca.issue("caller", uris=["spiffe://corp/ns/prod/sa/edge"])
    with Wire(server.address, tls=ca.client(who)) as wire:
        told = json.loads(wire.ask("GET", "/echo").body)
    assert told["peer_certificate"]["san"] == [["URI", "spiffe://corp/ns/prod/sa/edge"]]
    with pytest.raises(REFUSED):
        with Wire(server.address, tls=ca.client()) as wire:
            wire.ask("GET", "/echo")


def test_unix_socket(model, tmp_path):
    path = tmp_path / "model.sock"
    server = model(bind=f"unix:{path}")
    assert server.address == f"unix:{path}" and path.is_socket()
