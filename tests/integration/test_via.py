# SPDX-License-Identifier: Apache-2.0
"""Via: nothing is added without a pseudonym; with one both ways, and a loop ends."""

import socket
from typing import Any, Optional, Tuple

import pytest

from lib.config import Config, config, pool, route
from lib.wire import DEADLINE_S, RawUpstream, Reader, Wire, answer_bytes, request_bytes

CAME = [("Via", "1.1 a"), ("Via", "1.0 b (c, d)")]


def named(address: str, via: Optional[str]) -> Config:
    """A file with one endpoint and one listener of that pseudonym."""
    conf = config({"chat": pool(address)}, [route("chat", path="/v1/")], workers=1)
    if via is not None:
        conf["listeners"][0]["http"]["via"] = via
    return conf


def start(sluiced: Any, upstream: Any, via: Optional[str], answers: Any) -> Tuple[Any, RawUpstream]:
    """A scripted endpoint behind a proxy of that pseudonym."""
    server = upstream(answers)
    return sluiced(named(server.address, via)), server


def test_without_pseudonym_via_passes_as_it_came(sluiced, upstream):
    proxy, server = start(sluiced, upstream, None, [answer_bytes(fields=CAME)])
    with Wire(proxy.address("edge")) as wire:
        bare = wire.ask("GET", "/v1/")
        answer = wire.ask("GET", "/v1/", fields=CAME)
    assert bare.all("via") == answer.all("via") == [value for _, value in CAME]
    assert [seen.all("via") for seen in server.requests] == [[], [value for _, value in CAME]]


def test_pseudonym_is_added_behind_what_came_with_the_version_received(sluiced, upstream):
    ancient = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nVia: 1.1 a\r\n\r\nok"
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    proxy, server = start(sluiced, upstream, "edge-1", [
        answer_bytes(), [hints, answer_bytes(fields=CAME)], ancient])
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/v1/").all("via") == ["1.1 edge-1"]
        wire.send(request_bytes("GET", "/v1/", fields=CAME))
        assert wire.reader.response().all("via") == ["1.1 edge-1"]
        assert wire.reader.response().all("via") == [*(v for _, v in CAME), "1.1 edge-1"]
        assert wire.ask("GET", "/elsewhere").all("via") == [], "an answer of our own"
        wire.send(b"GET /v1/ HTTP/1.0\r\nHost: a\r\n\r\n")
        assert wire.reader.response().all("via") == ["1.1 a", "1.0 edge-1"]
    assert [seen.all("via") for seen in server.requests] == [
        ["1.1 edge-1"], [*(v for _, v in CAME), "1.1 edge-1"], ["1.0 edge-1"]]


@pytest.mark.parametrize("value", ["1.1 edge-1", "HTTP/1.0 EDGE-1 (x)", "1.1 a, 1.1 edge-1, 1.1 b",
                                   "1.1 a (, 1.1 edge-1"])
def test_request_that_was_here_before_is_508(sluiced, upstream, value):
    proxy, server = start(sluiced, upstream, "edge-1", [answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("POST", "/v1/", b"x", [("Via", "1.1 z"), ("Via", value)])
        assert answer.line == "HTTP/1.1 508 Loop Detected"
        assert b'"reason":"loop"' in answer.body
    assert not server.requests
    assert proxy.access_log(1)[0]["reason"] == "loop"
    assert proxy.metric("sluiced_listener_refused_total", reason="loop") == 1


def test_name_that_only_looks_like_ours_is_no_loop(sluiced, upstream):
    proxy, _ = start(sluiced, upstream, "edge-1", [answer_bytes()])
    with Wire(proxy.address("edge")) as wire:
        for value in ("1.1 edge-10", "1.1 a (edge-1)", "edge-1", "1.1 edge-1:80"):
            assert wire.ask("GET", "/v1/", fields=[("Via", value)]).status == 200, value


def test_proxy_that_is_its_own_endpoint_ends_the_loop(sluiced, tmp_path):
    path = f"{tmp_path}/edge.sock"
    conf = named(f"unix:{path}", "edge-1")
    conf["listeners"][0]["bind"] = f"unix:{path}"
    conf["pools"]["chat"]["health"] = "off"
    proxy = sluiced(conf)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(path)
        sock.sendall(request_bytes("POST", "/v1/", b"x"))
        answer = Reader(sock).response()
    assert answer.status == 508 and answer.all("via") == ["1.1 edge-1"]
    assert sorted(line["reason"] for line in proxy.access_log(2)) == ["loop", "ok"]
