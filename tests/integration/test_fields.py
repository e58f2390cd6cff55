# SPDX-License-Identifier: Apache-2.0
"""What of a message is between two hops and what goes from end to end: trailers, TE, interim
responses, Connection and what it names, Date and Server, HTTP/1.0."""

from typing import Any, Callable, List, Tuple

import pytest

from lib.config import config, pool
from lib.wire import Fields, RawUpstream, Wire, answer_bytes, request_bytes

# What a message may say behind its body, and what it may not: it would be merged into a head that
# was acted on already, or mean something to a proxy. A name with `_` is an alias of one with `-`.
TRAILERS = (b"X-Sum: 7\r\nGrpc-Status: 0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
            b"Host: evil\r\nAuthorization: x\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: x\r\n"
            b"Set-Cookie: a=b\r\nContent_Length: 5\r\n\r\n")
KEPT = [("x-sum", "7"), ("grpc-status", "0")]
CHUNKED_HEAD = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Grpc-Status\r\n"
                b"\r\n3\r\nabc\r\n0\r\n")


@pytest.fixture
def scripted(sluiced, upstream) -> Callable[[List[Any]], Tuple[Any, RawUpstream]]:
    """Starts one scripted upstream behind one worker."""
    def start(answers: List[Any]) -> Tuple[Any, RawUpstream]:
        server = upstream(answers)
        return sluiced(config({"chat": pool(server.address)}, workers=1)), server
    return start


def lower(fields: Fields) -> Fields:
    """Names in lower case."""
    return [(name.lower(), value) for name, value in fields]


# -- trailers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [False, True])
def test_request_trailers_arrive_without_what_they_must_not_say(scripted, pieces):
    proxy, server = scripted([answer_bytes()])
    data = request_bytes("POST", "/", None, [("Transfer-Encoding", "chunked"),
                                             ("Trailer", "X-Sum, Grpc-Status")])
    data += b"3\r\nabc\r\n0\r\n" + TRAILERS
    with Wire(proxy.address("edge")) as wire:
        for at in range(0, len(data), 1 if pieces else len(data)):
            wire.send(data[at:at + (1 if pieces else len(data))])
        assert wire.reader.response().status == 200
        assert wire.ask("GET", "/").status == 200
    seen = server.requests[0]
    assert (seen.body, lower(seen.trailers)) == (b"abc", KEPT)
    assert seen.get("trailer") == "X-Sum, Grpc-Status"


def test_response_trailers_arrive_without_what_they_must_not_say(scripted):
    proxy, _ = scripted([CHUNKED_HEAD + TRAILERS])
    with Wire(proxy.address("edge")) as wire:
        for _ in range(2):
            answer = wire.ask("GET", "/", fields=[("TE", "trailers")])
            assert (answer.body, lower(answer.trailers)) == (b"abc", KEPT)
            assert answer.get("trailer") == "X-Sum, Grpc-Status"


def test_trailers_and_chunks_end_before_an_http_1_0_client(scripted):
    proxy, server = scripted([CHUNKED_HEAD + TRAILERS])
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = wire.reader.head()
        assert not answer.all("transfer-encoding") and not answer.all("content-length")
        assert answer.get("connection") == "close", "where it ends only the end can say"
        assert wire.reader.rest() == b"abc"
    assert server.requests[0].line == "GET / HTTP/1.1"


@pytest.mark.parametrize("said, told", [
    ([], []), (["trailers"], ["trailers"]), (["TRAILERS"], ["trailers"]),
    (["gzip, trailers;q=0"], []), (["gzip;q=0.5, trailers"], ["trailers"]),
    (["deflate", "trailers"], ["trailers"]), (["gzip"], []), ([""], []), (["trailersx"], [])])
def test_of_te_only_trailers_pass(scripted, said, told):
    proxy, server = scripted([answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=[("Connection", "TE"), *(("TE", value) for value in said)])
    seen = server.requests[0]
    assert seen.all("te") == told
    assert seen.all("connection") == (["te"] if told else []), "it is named where it is"


# -- interim responses -------------------------------------------------------------------------


HINTS = (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: X-Hop\r\n"
         b"X-Hop: 1\r\n\r\n")
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


def test_interim_responses_are_relayed_in_their_order(scripted):
    proxy, _ = scripted([[PROCESSING + HINTS, HINTS + answer_bytes(b"final")]])
    with Wire(proxy.address("edge")) as wire:
        for _ in range(2):
            wire.send(request_bytes("GET", "/"))
            got = [wire.reader.response() for _ in range(4)]
            assert [message.status for message in got] == [102, 103, 103, 200]
            assert got[1].line == "HTTP/1.1 103 Early Hints"
            assert got[1].all("link") == ["</a.css>; rel=preload"]
            assert not got[1].all("x-hop") and not got[1].all("connection")
            assert got[3].body == b"final"
    assert proxy.access_log(2)[0]["status"] == 200


def test_interim_responses_are_kept_from_an_http_1_0_client(scripted):
    proxy, _ = scripted([HINTS + answer_bytes(b"final")])
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        answer = wire.reader.response()
        assert (answer.status, answer.body) == (200, b"final")


# -- Connection --------------------------------------------------------------------------------


def test_fields_that_connection_names_beside_close_are_removed_both_ways(scripted):
    named = [("Connection", "close, X-Foo"), ("X-Foo", "1"), ("x-foo", "2"), ("X-Food", "3")]
    proxy, server = scripted([answer_bytes(b"ok", fields=named), answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/", fields=named)
        assert answer.all("x-foo") == [] and answer.get("x-food") == "3"
        assert answer.get("connection") == "close", "because the client said so"
        assert wire.reader.rest() == b""
    seen = server.requests[0]
    assert seen.all("x-foo") == [] and seen.get("x-food") == "3" and not seen.all("connection")
    assert server.ended_by_peer.wait(5), "because the upstream said so"


def test_close_of_the_upstream_is_not_the_clients(scripted):
    proxy, server = scripted([answer_bytes(fields=[("Connection", "close")])])
    with Wire(proxy.address("edge")) as wire:
        for _ in range(2):
            assert not wire.ask("GET", "/").all("connection")
    assert server.connections_of == [1, 2]


# -- from end to end ---------------------------------------------------------------------------


def test_date_and_server_are_the_upstreams_and_never_ours(scripted):
    fields = [("Date", "Tue, 15 Nov 1994 08:12:31 GMT"), ("Server", "uvicorn"),
              ("Server", "and another")]
    proxy, _ = scripted([answer_bytes(fields=fields), answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("GET", "/")
        assert answer.all("date") == ["Tue, 15 Nov 1994 08:12:31 GMT"]
        assert answer.all("server") == ["uvicorn", "and another"]
        bare = wire.ask("GET", "/")
        assert not bare.all("date") and not bare.all("server")


def test_http_1_0_client_that_asks_for_it_keeps_its_connection(scripted):
    proxy, server = scripted([answer_bytes(b"one"), answer_bytes(b"two")])
    with Wire(proxy.address("edge")) as wire:
        for body in (b"one", b"two"):
            wire.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            answer = wire.reader.response()
            assert (answer.body, answer.get("connection")) == (body, "keep-alive")
    assert [seen.line for seen in server.requests] == ["GET / HTTP/1.1"] * 2
