# SPDX-License-Identifier: Apache-2.0
"""One request through the proxy and back: what each side sees, byte for byte where it matters."""

import hashlib
import json
import os
import resource
import socket
import threading
import time
from typing import Any, Callable, Dict, List, Tuple

import openai
import pytest

from lib.config import config, pool, route
from lib.wait import stays, wait_until
from lib.wire import Close, Closed, Message, RawUpstream, Wait, Wire, answer_bytes, request_bytes

MIB = 1 << 20
STREAM_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
               b"Transfer-Encoding: chunked\r\n\r\n")


def chat_request(**more: Any) -> bytes:
    """A POST of a chat completion."""
    ask = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], **more}
    return request_bytes("POST", "/v1/chat/completions", json.dumps(ask).encode(),
                         [("Content-Type", "application/json")])


@pytest.fixture
def through(sluiced, model) -> Tuple[Any, Any]:
    """One model server behind one worker."""
    server = model()
    return sluiced(config({"chat": pool(server.address)}, workers=1)), server


@pytest.fixture
def scripted(sluiced, upstream) -> Callable[..., Tuple[Any, RawUpstream]]:
    """Starts one scripted upstream behind one worker."""
    def start(answers: Any, **pool_options: Any) -> Tuple[Any, RawUpstream]:
        server = upstream(answers)
        conf = config({"chat": pool(server.address, **pool_options)}, workers=1)
        return sluiced(conf), server
    return start


def error_of(answer: Message) -> Dict[str, str]:
    """The error object of a local reply, its shape checked."""
    assert (answer.get("content-type") or "").startswith("application/json"), answer
    error = json.loads(answer.body)["error"]
    assert error["message"] and error["type"] and error["reason"], error
    return error


# -- bodies ------------------------------------------------------------------------------------


def test_get_passes_both_ways(through):
    proxy, server = through
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/echo?a=b&c=%2F", fields=[("X-Custom", "v 1")])
    told = json.loads(answer.body)
    assert (answer.status, answer.get("x-served-by")) == (200, server.address)
    assert (told["method"], told["path"]) == ("GET", "/echo?a=b&c=%2F")
    assert ["x-custom", "v 1"] in [[name.lower(), value] for name, value in told["headers"]]
    assert told["body_bytes"] == 0 and not told["chunked"]


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, MIB, MIB + 1])
def test_request_body_with_length_arrives_whole(through, size):
    proxy, _ = through
    body = os.urandom(size)
    with Wire(proxy.address("edge")) as wire:
        told = json.loads(wire.ask("POST", "/echo", body).body)
    assert told["body_bytes"] == size
    assert size == 0 or told["body_sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("sizes", [[1], [10, 1, 4096], [65536] * 16, [MIB]])
def test_chunked_request_body_arrives_whole(through, sizes):
    proxy, _ = through
    pieces = [os.urandom(size) for size in sizes]
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/echo", None, [("Transfer-Encoding", "chunked")]))
        for piece in pieces:
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")
        told = json.loads(wire.reader.response().body)
    assert told["body_sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_chunked_request_sent_byte_by_byte_arrives_whole(through):
    proxy, _ = through
    data = request_bytes("POST", "/echo", None, [("Transfer-Encoding", "chunked")])
    data += b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-T: v\r\n\r\n"
    with Wire(proxy.address("edge")) as wire:
        for i in range(len(data)):
            wire.send(data[i:i + 1])
        told = json.loads(wire.reader.response().body)
    assert told["body_sha256"] == hashlib.sha256(b"abcde").hexdigest()


@pytest.mark.parametrize("query", ["", "?chunked=1"])
@pytest.mark.parametrize("size", [0, 1, 65536, MIB, 5 * MIB + 3])
def test_response_body_arrives_byte_equal(through, size, query):
    proxy, server = through
    with Wire(proxy.address("edge")) as wire, Wire(server.address) as direct:
        got = wire.ask("GET", f"/bytes/{size}{query}")
        want = direct.ask("GET", f"/bytes/{size}{query}")
    assert got.body == want.body and len(got.body) == size
    assert got.get("content-length") == want.get("content-length")


def test_response_that_ends_by_closing_arrives_whole(through):
    proxy, server = through
    server.control(close_delimited=True)
    with Wire(proxy.address("edge")) as wire:
        assert len(wire.ask("GET", "/bytes/100000").body) == 100000


def test_response_trailers_arrive(scripted):
    proxy, _ = scripted([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                         b"3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n"])
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/", fields=[("TE", "trailers")])
    assert answer.body == b"abc"
    assert [(name.lower(), value) for name, value in answer.trailers] == [("x-sum", "7")]


def test_upstream_on_a_unix_socket(sluiced, model, tmp_path):
    server = model(bind=f"unix:{tmp_path}/model.sock")
    proxy = sluiced(config({"chat": pool(server.address)}))
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/version").get("x-served-by") == server.address


def test_head_has_length_and_no_body(through):
    proxy, _ = through
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("HEAD", "/bytes/1000")
        assert (answer.status, answer.get("content-length")) == (200, "1000")
        assert wire.ask("GET", "/bytes/3").body == b"\0\1\2"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_body_keep_the_connection(scripted, status):
    proxy, _ = scripted([f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode(), answer_bytes(b"next")])
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").status == int(status[:3])
        assert wire.ask("GET", "/").body == b"next"


def test_expect_100_continue_is_answered_before_the_body(through):
    proxy, _ = through
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/echo", None,
                                [("Content-Length", "5"), ("Expect", "100-continue")]))
        assert wire.reader.response().status == 100
        wire.send(b"hello")
        answer = wire.reader.response()
    assert json.loads(answer.body)["body_bytes"] == 5


def test_http_1_0_client_gets_an_answer_that_ends_by_closing(through):
    proxy, _ = through
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"GET /bytes/70000?chunked=1 HTTP/1.0\r\nHost: edge.test\r\n\r\n")
        answer = wire.reader.head()
        assert not answer.all("transfer-encoding")
        assert len(wire.reader.rest()) == 70000


# -- streams -----------------------------------------------------------------------------------


def test_stream_passes_each_event_at_once(scripted):
    """The upstream sends the next event only after the client has read the one before."""
    gates = [threading.Event() for _ in range(5)]
    script: List[Any] = [STREAM_HEAD]
    for i, gate in enumerate(gates):
        event = b"data: %d\n\n" % i
        script += [b"%x\r\n%b\r\n" % (len(event), event), Wait(gate)]
    proxy, _ = scripted([[*script, b"0\r\n\r\n"]])
    with Wire(proxy.address("edge")) as wire:
        wire.send(chat_request(stream=True))
        assert wire.reader.head().get("content-type") == "text/event-stream"
        for i, gate in enumerate(gates):
            assert wire.reader.chunk() == b"data: %d\n\n" % i
            gate.set()
        assert wire.reader.chunk() == b""


def test_openai_client_streams_through(through):
    proxy, _ = through
    client = openai.OpenAI(base_url=proxy.url() + "/v1", api_key="none", max_retries=0)
    parts = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "hi"}], max_tokens=50, stream=True)
    text = "".join(part.choices[0].delta.content for part in parts)
    assert text == "".join(f"w{i} " for i in range(50))
    assert [card.id for card in client.models.list()] == ["demo"]


@pytest.mark.parametrize("ttft_ms", [0, 30_000])
@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
def test_client_that_leaves_ends_the_generation_at_once(sluiced, model, ttft_ms, how):
    server = model("--ttft-ms", str(ttft_ms), "--token-rate", "5")
    proxy = sluiced(config({"chat": pool(server.address)}))
    with Wire(proxy.address("edge")) as wire:
        wire.send(chat_request(stream=True, max_tokens=1000))
        server.wait_state("running", 1)
        if ttft_ms == 0:
            wire.reader.head()
            wire.reader.chunk()
        left = time.monotonic()
        getattr(wire, how)()
        server.wait_state("aborted", 1)
    assert server.state()["last_abort_monotonic"] - left < 0.5
    wait_until(lambda: server.state()["running"] == 0, 2, "the slot to be free", server.state)


def test_client_that_leaves_during_its_upload_ends_the_request(through):
    proxy, server = through
    before = server.state()["requests"]
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/echo", None, [("Content-Length", "1000000")]) + b"x" * 9)
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/version").status == 200
    assert server.state()["requests"] == before + 1


def test_upstream_reset_before_the_answer_is_502_and_not_sent_twice(scripted):
    proxy, server = scripted([[Close(reset=True)], answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("POST", "/v1/completions", b"{}")
    assert (answer.status, error_of(answer)["reason"]) == (502, "upstream_reset")
    assert len(server.requests) == 1


def test_upstream_reset_in_the_middle_of_a_stream_is_seen_by_the_client(scripted):
    gate = threading.Event()
    proxy, _ = scripted([[STREAM_HEAD, b"5\r\nabcde\r\n", Wait(gate), Close(reset=True)]])
    with Wire(proxy.address("edge")) as wire:
        wire.send(chat_request(stream=True))
        assert wire.reader.head().status == 200
        assert wire.reader.chunk() == b"abcde"
        gate.set()
        with pytest.raises((Closed, ConnectionResetError)):
            wire.reader.chunk()


def test_response_cut_short_of_its_length_is_seen_by_the_client(scripted):
    proxy, _ = scripted([[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Close()]])
    with Wire(proxy.address("edge")) as wire:
        with pytest.raises((Closed, ConnectionResetError)):
            wire.ask("GET", "/")


# -- connections -------------------------------------------------------------------------------


def test_both_sides_keep_their_connections(scripted):
    proxy, server = scripted([answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        for _ in range(10):
            assert wire.ask("POST", "/", b"x").body == b"ok"
    assert len(set(server.connections_of)) == 1


def test_idle_upstream_connection_is_closed_after_keepalive_idle(scripted):
    proxy, server = scripted([answer_bytes()], timeouts={"keepalive_idle": "200ms"})
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").status == 200
        assert server.ended_by_peer.wait(5)
        assert wire.ask("GET", "/").status == 200


def test_upstream_that_closes_idle_connections_costs_no_request(through):
    proxy, server = through
    with Wire(proxy.address("edge")) as wire:
        for _ in range(30):
            assert wire.ask("POST", "/echo", b"x").status == 200
            server.control(close_idle_now=True)


def test_connection_close_from_the_client_is_honoured(through):
    proxy, _ = through
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/bytes/10", fields=[("Connection", "close")])
        assert (answer.get("connection") or "").lower() == "close"
        assert wire.reader.rest() == b""


def test_pipelined_requests_are_answered_in_order(through):
    proxy, _ = through
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"".join(request_bytes("POST", "/echo", b"x" * n) for n in range(1, 21)))
        got = [json.loads(wire.reader.response().body)["body_bytes"] for _ in range(20)]
    assert got == list(range(1, 21))


def test_slow_reader_does_not_fill_memory(through):
    proxy, _ = through
    with Wire(proxy.address("edge")) as warm:
        warm.ask("GET", "/bytes/10000000")
    before = proxy.process.rss_bytes()
    with Wire(proxy.address("edge"), receive_buffer=4096) as wire:
        wire.send(request_bytes("GET", "/bytes/1000000000"))
        assert wire.reader.head().status == 200
        stays(lambda: proxy.process.rss_bytes() - before < 16 * MIB, 1.0, "RSS within 16 MiB")
        wire.reader.exactly(MIB)
    assert proxy.process.rss_bytes() - before < 16 * MIB


def test_upstream_that_does_not_read_stops_the_upload(sluiced):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        proxy = sluiced(config({"chat": pool(address)}, workers=1))
        before = proxy.process.rss_bytes()
        size, sent = 60 * MIB, 0
        with Wire(proxy.address("edge")) as wire:
            wire.send(request_bytes("POST", "/", None, [("Content-Length", str(size))]))
            wire.sock.settimeout(1.0)
            with pytest.raises(socket.timeout):
                while sent < size:
                    sent += wire.sock.send(b"x" * 65536)
            assert proxy.process.rss_bytes() - before < 16 * MIB
    assert sent < size


def test_timeout_to_the_first_byte_is_504(sluiced, model):
    server = model()
    server.control(hang="generate")
    proxy = sluiced(config({"chat": pool(server.address, timeouts={"first_byte": "300ms"})}))
    with Wire(proxy.address("edge")) as wire:
        begun = time.monotonic()
        wire.send(chat_request())
        answer = wire.reader.response()
    assert (answer.status, error_of(answer)["reason"]) == (504, "first_byte_timeout")
    assert 0.25 < time.monotonic() - begun < 3
    server.wait_state("aborted", 1)


def test_timeout_of_the_whole_exchange_is_504(sluiced, model):
    server = model()
    server.control(hang="generate")
    proxy = sluiced(config({"chat": pool(server.address, timeouts={"total": "300ms"})}))
    with Wire(proxy.address("edge")) as wire:
        wire.send(chat_request())
        answer = wire.reader.response()
    assert (answer.status, error_of(answer)["reason"]) == (504, "total_timeout")


def test_head_that_does_not_end_is_408_and_an_idle_connection_is_closed(sluiced, model):
    conf = config({"chat": pool(model().address)})
    conf["listeners"][0]["http"]["timeouts"] = {"head": "300ms", "idle": "500ms"}
    proxy = sluiced(conf)
    with Wire(proxy.address("edge")) as wire:
        begun = time.monotonic()
        for byte in (b"G", b"E", b"T", b" "):  # a byte now and then wins no time
            wire.send(byte)
            stays(lambda: True, 0.05, "")
        answer = wire.reader.response()
        assert (answer.status, error_of(answer)["reason"]) == (408, "head_timeout")
        assert time.monotonic() - begun < 3
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/version").status == 200
        begun = time.monotonic()
        assert wire.closed_within(5)
        assert 0.4 < time.monotonic() - begun < 3


def test_held_head_lets_a_stream_without_first_token_time_out_as_504(sluiced, model):
    """uvicorn sends the head of a stream long before its first token."""
    server = model("--ttft-ms", "60000")
    proxy = sluiced(config({"chat": pool(server.address, timeouts={"first_byte": "300ms"})}))
    with Wire(proxy.address("edge")) as wire:
        wire.send(chat_request(stream=True))
        answer = wire.reader.response()
    assert (answer.status, error_of(answer)["reason"]) == (504, "first_byte_timeout")


def test_stream_that_stalls_is_cut_after_inter_byte(scripted):
    never = threading.Event()
    proxy, server = scripted([[STREAM_HEAD, b"3\r\nabc\r\n", Wait(never)]],
                             timeouts={"inter_byte": "300ms"})
    try:
        with Wire(proxy.address("edge")) as wire:
            wire.send(chat_request(stream=True))
            wire.reader.head()
            assert wire.reader.chunk() == b"abc"
            with pytest.raises((Closed, ConnectionResetError)):
                wire.reader.chunk()
    finally:
        never.set()
    assert server.ended_by_peer.wait(5)


# -- fields ------------------------------------------------------------------------------------


def test_request_id_is_made_when_missing_and_kept_when_given(scripted):
    proxy, server = scripted([answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        made = [wire.ask("GET", "/").get("x-request-id") for _ in range(2)]
        kept = wire.ask("GET", "/", fields=[("X-Request-Id", "abc-123")]).get("x-request-id")
    assert all(made) and made[0] != made[1]
    assert kept == "abc-123"
    assert [r.get("x-request-id") for r in server.requests] == [*made, "abc-123"]


def test_forwarded_fields_are_set_and_those_of_the_client_replaced(scripted):
    proxy, server = scripted([answer_bytes()])
    lies = [("Host", "api.test"), ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Port", "1"),
            ("Forwarded", "for=6.6.6.6")]
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=lies)
        wire.ask("GET", "/", fields=[("Host", "api.test")])
    for seen in server.requests:
        assert seen.get("host") == "api.test"
        assert seen.get("x-forwarded-for") == "127.0.0.1"
        assert seen.get("x-forwarded-proto") == "http"
        assert seen.get("x-forwarded-host") == "api.test"
        assert b"6.6.6.6" not in seen.head and b"evil" not in seen.head


def test_hop_by_hop_fields_of_the_request_are_removed(scripted):
    proxy, server = scripted([answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=[
            ("Connection", "X-Drop, keep-alive, Upgrade"), ("X-Drop", "1"), ("Keep-Alive", "5"),
            ("Proxy-Connection", "keep-alive"), ("Upgrade", "h2c"), ("TE", "gzip"),
            ("X-Stay", "1")])
    seen = server.requests[0]
    assert seen.get("x-stay") == "1"
    for name in ("x-drop", "keep-alive", "proxy-connection", "upgrade"):
        assert not seen.all(name), seen
    assert "gzip" not in "".join(seen.all("te"))


def test_hop_by_hop_fields_of_the_response_are_removed(scripted):
    fields = [("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"),
              ("Proxy-Connection", "close"), ("X-Stay", "1"), ("Set-Cookie", "a=1"),
              ("Set-Cookie", "b=2")]
    proxy, _ = scripted([answer_bytes(b"ok", fields=fields)])
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/")
    assert answer.get("x-stay") == "1" and answer.all("set-cookie") == ["a=1", "b=2"]
    for name in ("x-hop", "keep-alive", "proxy-connection"):
        assert not answer.all(name), answer


def test_field_names_with_underscore_are_dropped(scripted):
    proxy, server = scripted([answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=[("X_Forwarded_For", "6.6.6.6"), ("X-Ok", "1")])
    assert server.requests[0].get("x-ok") == "1"
    assert b"6.6.6.6" not in server.requests[0].head


# -- replies of our own ------------------------------------------------------------------------


def test_request_without_route_is_404_and_the_connection_stays(sluiced, model):
    server = model()
    proxy = sluiced(config({"chat": pool(server.address)}, [route("chat", path="/v1/")]))
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/nothing/here")
        assert (answer.status, error_of(answer)["reason"]) == (404, "no_route")
        assert answer.get("x-request-id")
        assert wire.ask("GET", "/v1/models").status == 200
        assert wire.ask("HEAD", "/nothing").status == 404
        assert wire.ask("GET", "/v1/models").status == 200
    assert server.state()["requests"] == 2


def test_routes_match_by_host_and_path_the_first_wins(sluiced, upstream):
    servers = {name: upstream([answer_bytes(name.encode())]) for name in ("a", "b", "c")}
    routes = [
        {"name": "host", "match": {"host": "a.test", "path": "/"}, "pool": "a"},
        {"name": "exact", "match": {"path": "/v1/models"}, "pool": "b"},
        {"name": "prefix", "match": {"path": "/v1/"}, "pool": "c"},
    ]
    proxy = sluiced(config({n: pool(s.address) for n, s in servers.items()}, routes))
    with Wire(proxy.address("edge")) as wire:
        def ask(path: str, host: str = "x.test") -> bytes:
            answer = wire.ask("GET", path, fields=[("Host", host)])
            return answer.body if answer.status == 200 else str(answer.status).encode()
        assert ask("/any", "a.test") == b"a"
        assert ask("/any", "A.TEST:8080") == b"a"
        assert ask("/v1/models") == b"b"
        assert ask("/v1/models?x=1") == b"b"
        assert ask("/v1/models/x") == b"c"
        assert ask("/v1/%6dodels") == b"b", "routed on the normalised path"
        assert ask("/v1/../v1/models") == b"b"
        assert ask("/v2") == b"404"


def test_body_larger_than_the_route_allows_is_413(sluiced, model):
    server = model()
    proxy = sluiced(config({"chat": pool(server.address)}, [route("chat", max_body="1KiB")]))
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("POST", "/echo", b"x" * 1024).status == 200
        answer = wire.ask("POST", "/echo", b"x" * 1025)
        assert (answer.status, error_of(answer)["reason"]) == (413, "body_too_large")
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/echo", None, [("Transfer-Encoding", "chunked")])
                  + b"401\r\n" + b"x" * 1025 + b"\r\n0\r\n\r\n")
        assert wire.reader.response().status == 413
    assert server.state()["requests"] == 1


BAD_REQUESTS = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "length and chunked": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
                    b"Content-Length: 4\r\n\r\nabcd", 400),
    "signed length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
    "folded field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
    "space before colon": (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
    "nul in value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    "bare lf in value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", 400),
    "no method": (b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space in target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "nul in path": (b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "backslash in path": (b"GET /a%5c..%5cb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "dot segment escaped": (b"GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "dot segment with parameter": (b"GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bad chunk size": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                       b"zz\r\n", 400),
    "chunked twice": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"
                      b"0\r\n\r\n", 400),
    "unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
                       b"0\r\n\r\n", 501),
    "unknown version": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    "unknown expectation": (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
    "long line": (b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "large head": (b"GET / HTTP/1.1\r\nHost: a\r\n"
                   + b"".join(b"X-%d: %b\r\n" % (i, b"v" * 2000) for i in range(40))
                   + b"\r\n", 431),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n"
                    + b"".join(b"X-%d: v\r\n" % i for i in range(120)) + b"\r\n", 431),
}


@pytest.mark.parametrize("name", sorted(BAD_REQUESTS))
def test_bad_request_is_refused_and_never_reaches_the_upstream(scripted, name):
    data, status = BAD_REQUESTS[name]
    proxy, server = scripted([answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        wire.send(data)
        answer = wire.reader.response()
        assert answer.status == status, answer
        error_of(answer)
        assert wire.reader.rest() == b""
    assert server.requests == []


def test_bad_answer_of_the_upstream_is_502(scripted):
    both = (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\n")
    proxy, _ = scripted([b"not http at all\r\n\r\n", both])
    for _ in range(2):
        with Wire(proxy.address("edge")) as wire:
            answer = wire.ask("POST", "/", b"x")
            assert (answer.status, error_of(answer)["reason"]) == (502, "upstream_protocol")


def test_answer_of_the_upstream_smuggled_behind_another_is_not_used(scripted):
    proxy, _ = scripted([answer_bytes(b"one") + answer_bytes(b"evil"), answer_bytes(b"two")])
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").body == b"one"
        assert wire.ask("GET", "/").body == b"two"


def test_pool_without_a_live_endpoint_is_502_or_503(sluiced):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    proxy = sluiced(config({"chat": pool(address, queue="off")}))
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("POST", "/", b"x")
    assert answer.status in (502, 503)
    assert error_of(answer)["reason"] in ("upstream_refused", "no_endpoint")


def test_no_descriptor_left_makes_clients_wait_and_not_fail(sluiced, model):
    """accept fails while the limit holds; whoever connected meanwhile is served afterwards."""
    proxy = sluiced(config({"chat": pool(model().address)}, workers=1))
    assert proxy.get("/health").status == 200
    pid = proxy.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    with Wire(proxy.address("edge")) as waiting:
        waiting.send(request_bytes("GET", "/health"))
        wait_until(lambda: proxy.events("accept_failed"), 10, "accept fails", proxy.log)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert waiting.reader.response().status == 200
