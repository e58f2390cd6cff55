# SPDX-License-Identifier: Apache-2.0
"""OPTIONS and TRACE go as many hops as Max-Forwards says; in other methods it is a field."""

import json
from typing import Any, Tuple

import pytest

from lib.config import config, pool
from lib.wire import RawUpstream, Wire, answer_bytes, request_bytes

ALLOWED = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


@pytest.fixture
def scripted(sluiced, upstream) -> Tuple[Any, RawUpstream]:
    """One scripted upstream behind one worker."""
    server = upstream([answer_bytes()])
    return sluiced(config({"chat": pool(server.address)}, workers=1)), server


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_each_hop_takes_one(scripted, method):
    proxy, server = scripted
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask(method, "/a").status == 200
        assert wire.ask(method, "/a", fields=[("Max-Forwards", "10")]).status == 200
        assert wire.ask(method, "/a", fields=[("Max-Forwards", "1")]).status == 200
    assert [seen.get("max-forwards") for seen in server.requests] == [None, "9", "0"]


@pytest.mark.parametrize("target", ["/a", "*"])
def test_options_that_goes_no_further_is_answered_empty(scripted, target):
    proxy, server = scripted
    with Wire(proxy.address("edge")) as wire:
        for _ in range(2):  # the connection stays
            answer = wire.ask("OPTIONS", target, fields=[("Max-Forwards", "0")])
            assert (answer.status, answer.get("content-length"), answer.body) == (200, "0", b"")
            assert set((answer.get("allow") or "").split(", ")) == ALLOWED
            assert answer.get("x-request-id") and not answer.all("content-type")
    assert not server.requests
    line = proxy.access_log(2)[0]
    assert (line["reason"], line["status"], line["bytes_out"]) == ("answered_here", 200, 0)


def test_trace_that_goes_no_further_reflects_nothing(scripted):
    proxy, server = scripted
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("TRACE", "/a", fields=[("Max-Forwards", "0"), ("Cookie", "secret=1")])
        assert answer.status == 405 and set((answer.get("allow") or "").split(", ")) == ALLOWED
        assert json.loads(answer.body)["error"]["reason"] == "method_not_allowed"
        assert b"secret" not in answer.head + answer.body
        assert wire.ask("GET", "/a").status == 200, "the connection stays"
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
@pytest.mark.parametrize("values", [["x"], [""], ["-1"], ["1.0"], ["1", "1"], ["0", "0"]])
def test_what_is_not_one_number_is_refused(scripted, method, values):
    proxy, server = scripted
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask(method, "/a",
                        fields=[("Max-Forwards", value) for value in values]).status == 400
    assert not server.requests


@pytest.mark.parametrize("field, body", [
    (("Content-Length", "3"), b"abc"),
    (("Transfer-Encoding", "chunked"), b"3\r\nabc\r\n0\r\n\r\n")])
def test_trace_with_a_body_is_refused_and_the_body_is_no_request(scripted, field, body):
    proxy, server = scripted
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("TRACE", "/a", None, [field]) + body)
        assert wire.reader.response().status == 400
        assert wire.ask("GET", "/b").status == 200
    assert [seen.line for seen in server.requests] == ["GET /b HTTP/1.1"]


def test_other_methods_pass_it_as_it_came(scripted):
    proxy, server = scripted
    with Wire(proxy.address("edge")) as wire:
        for method in ("GET", "POST", "PROPFIND"):
            fields = [("Max-Forwards", "0"), ("Max-Forwards", "x")]
            assert wire.ask(method, "/a", b"", fields).status == 200
    assert [seen.all("max-forwards") for seen in server.requests] == [["0", "x"]] * 3
