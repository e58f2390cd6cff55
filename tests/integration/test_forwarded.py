# SPDX-License-Identifier: Apache-2.0
"""Whose word on earlier hops is taken: what the endpoint is told, and who the log says it was."""

import socket
from typing import Any, Dict, List, Optional, Tuple

import pytest

from lib.config import Config, config, pool
from lib.wire import DEADLINE_S, RawUpstream, Reader, Wire, answer_bytes, request_bytes

TOLD = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
        "x-real-ip", "forwarded")
SAID = [("Host", "edge.test"), ("X-Forwarded-For", "6.6.6.6, 192.0.2.1"),
        ("X-Forwarded-For", "10.0.0.7"), ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "api.test"), ("X-Forwarded-Port", "443"), ("X-Real-IP", "192.0.2.1"),
        ("Forwarded", 'for=192.0.2.1;proto=https, for="[fd00::1]"')]
BY_DEFAULT = {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http",
              "x-forwarded-host": "edge.test"}


def trusting(server: RawUpstream, trusted: Optional[List[str]]) -> Config:
    """One upstream behind one worker, which trusts these."""
    conf = config({"chat": pool(server.address)}, workers=1)
    if trusted is not None:
        conf["listeners"][0]["http"]["trusted_proxies"] = trusted
    return conf


def start(sluiced: Any, upstream: Any, trusted: Optional[List[str]]) -> Tuple[Any, RawUpstream]:
    """The same, running."""
    server = upstream([answer_bytes()])
    return sluiced(trusting(server, trusted)), server


def told(server: RawUpstream) -> Dict[str, str]:
    """What the endpoint was told of the way of the last request."""
    seen = server.requests[-1]
    return {name: seen.get(name) or "" for name in TOLD if seen.all(name)}


@pytest.mark.parametrize("trusted", [None, ["10.0.0.0/8", "::/0", "unix"]])
def test_peer_that_is_not_trusted_is_the_client(sluiced, upstream, trusted):
    proxy, server = start(sluiced, upstream, trusted)
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=SAID)
    assert told(server) == BY_DEFAULT
    line = proxy.access_log(1)[0]
    assert line["client"] == "127.0.0.1" and "peer_address" not in line


def test_what_a_trusted_peer_says_is_kept_and_extended(sluiced, upstream):
    proxy, server = start(sluiced, upstream, ["10.0.0.0/8", "127.0.0.0/8"])
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=SAID)
    assert told(server) == {
        "x-forwarded-for": "6.6.6.6, 192.0.2.1, 10.0.0.7, 127.0.0.1",
        "x-forwarded-proto": "https", "x-forwarded-host": "api.test", "x-forwarded-port": "443",
        "x-real-ip": "192.0.2.1",
        "forwarded": 'for=192.0.2.1;proto=https, for="[fd00::1]", '
                     "for=127.0.0.1;proto=http;host=edge.test"}
    assert server.requests[0].get("host") == "edge.test", "routed and sent by Host alone"
    line = proxy.access_log(1)[0]
    assert (line["client"], line["peer_address"]) == ("192.0.2.1", "127.0.0.1")


def test_trusted_peer_that_says_nothing_or_nonsense(sluiced, upstream):
    proxy, server = start(sluiced, upstream, ["127.0.0.1"])
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/")
        assert told(server) == BY_DEFAULT
        wire.ask("GET", "/", fields=[
            ("X-Forwarded-For", "who?"), ("X-Forwarded-Proto", "https, http"),
            ("X-Forwarded-Host", "a, b"), ("X-Forwarded-Port", "x"), ("X-Real-IP", "me"),
            ("Forwarded", 'for="')])
        assert told(server) == {**BY_DEFAULT, "x-forwarded-for": "who?, 127.0.0.1",
                                "forwarded": "for=127.0.0.1;proto=http;host=edge.test"}
    assert [line["client"] for line in proxy.access_log(2)] == ["127.0.0.1"] * 2


def test_long_list_is_cut_at_its_beginning(sluiced, upstream):
    proxy, server = start(sluiced, upstream, ["127.0.0.1", "10.0.0.0/8"])
    hops = [f"10.1.{i // 256}.{i % 256}" for i in range(1000)]
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=[("X-Forwarded-For", ", ".join(hops))])
    assert told(server)["x-forwarded-for"].split(", ") == [*hops[-64:], "127.0.0.1"]
    assert proxy.access_log(1)[0]["client"] == hops[-64]


@pytest.mark.parametrize("trusted", [None, ["unix"]])
def test_peer_on_a_unix_socket(sluiced, upstream, tmp_path, trusted):
    server = upstream([answer_bytes()])
    conf = trusting(server, trusted)
    path = str(tmp_path / "edge.sock")
    conf["listeners"][0]["bind"] = f"unix:{path}"
    proxy = sluiced(conf)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(path)
        sock.sendall(request_bytes("GET", "/", fields=SAID))
        assert Reader(sock).response().status == 200
    line = proxy.access_log(1)[0]
    if trusted is None:
        assert told(server) == {**BY_DEFAULT, "x-forwarded-for": "unix"}
        assert line["client"] == "unix" and "peer_address" not in line
    else:
        assert told(server)["x-forwarded-for"] == "6.6.6.6, 192.0.2.1, 10.0.0.7"
        assert told(server)["forwarded"].endswith(", for=unknown;proto=http;host=edge.test")
        assert (line["client"], line["peer_address"]) == ("10.0.0.7", "unix")


def test_retry_is_told_the_same(sluiced, upstream):
    """The fields are made once for an exchange, and outlive its first attempt."""
    refused = answer_bytes(b"", "503 Service Unavailable", [("Retry-After", "1")])
    servers = [upstream([refused]), upstream([refused, answer_bytes()])]
    conf = config({"chat": pool(*(s.address for s in servers), health="off")}, workers=1)
    conf["listeners"][0]["http"]["trusted_proxies"] = ["127.0.0.1"]
    proxy = sluiced(conf)
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=SAID)
    assert len(servers[0].requests) == len(servers[1].requests) == 1
    assert told(servers[0]) == told(servers[1])
    assert proxy.access_log(1)[0]["client"] == "10.0.0.7"


def test_reload_changes_whom_an_open_connection_is_believed_by(sluiced, upstream):
    proxy, server = start(sluiced, upstream, None)
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", "/", fields=SAID)
        assert told(server) == BY_DEFAULT
        assert proxy.reload(trusting(server, ["127.0.0.0/8"]))
        wire.ask("GET", "/", fields=SAID)
        assert told(server)["x-forwarded-proto"] == "https"
