# SPDX-License-Identifier: Apache-2.0
"""What in a request could be read in two ways: refused or brought to one form, as the file says."""

from typing import Any, Dict, Tuple

import pytest

from lib.config import config, pool, route
from lib.wire import RawUpstream, Wire, answer_bytes

# The switch, a target, and what the endpoint is asked for by default and with it; None: refused.
SWITCHES = {
    "double_slash": ("keep", b"/a//b", "/a/b", "/a//b"),
    "escaped_slash": ("refuse", b"/a%2fb", "/a%2Fb", None),
    "escaped_backslash": ("keep", b"/a%5cb", None, "/a%5Cb"),
    "escaped_nul": ("keep", b"/a%00b", None, "/a%00b"),
    "escaped_dots": ("decode", b"/a/%2e%2e/b", None, "/b"),
    "dot_params": ("keep", b"/a/..;x/b", None, "/a/..;x/b"),
    "backslash": ("keep", b"/a\\b", None, "/a\\b"),
    "high_bytes": ("keep", b"/\xc3\xa9?q=\xc3\xa9", None, "/\xc3\xa9?q=\xc3\xa9"),
}
ALL_LAX = {"underscores": "keep", **{key: row[0] for key, row in SWITCHES.items()},
           "escaped_slash": "keep"}


def start(sluiced: Any, upstream: Any, switches: Dict[str, str]) -> Tuple[Any, RawUpstream]:
    """One scripted upstream behind one worker, with these switches."""
    server = upstream([answer_bytes()])
    conf = config({"chat": pool(server.address)}, workers=1)
    if switches:
        conf["listeners"][0]["http"]["ambiguous"] = switches
    return sluiced(conf), server


def status_of(proxy: Any, target: bytes, fields: bytes = b"") -> int:
    """The status that a request on a connection of its own gets."""
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
        return wire.reader.response().status


@pytest.mark.parametrize("switched", [False, True])
@pytest.mark.parametrize("key", sorted(SWITCHES))
def test_switch_changes_its_rule(sluiced, upstream, key, switched):
    word, target, by_default, with_it = SWITCHES[key]
    proxy, server = start(sluiced, upstream, {key: word} if switched else {})
    expected = with_it if switched else by_default
    assert status_of(proxy, target) == (400 if expected is None else 200)
    assert [seen.target for seen in server.requests] == ([] if expected is None else [expected])


@pytest.mark.parametrize("word", [None, "drop", "keep", "refuse"])
def test_names_with_underscore(sluiced, upstream, word):
    proxy, server = start(sluiced, upstream, {"underscores": word} if word else {})
    status = status_of(proxy, b"/", b"X_Forwarded_For: 6.6.6.6\r\nX-Ok: a_b\r\n")
    if word == "refuse":
        assert status == 400 and not server.requests
        assert proxy.access_log(1)[0]["reason"] == "bad_request"
        return
    seen = server.requests[0]
    assert status == 200 and seen.get("x-ok") == "a_b"
    assert seen.all("x_forwarded_for") == (["6.6.6.6"] if word == "keep" else [])
    assert seen.get("x-forwarded-for") == "127.0.0.1"
    dropped = proxy.metric("sluiced_listener_headers_dropped_total", listener="edge")
    assert dropped == (0 if word == "keep" else 1)


@pytest.mark.parametrize("target", [b"/a\x01b", b"/a\tb", b"/a b", b"/a\x7fb", b"/a#b", b"/?a#b",
                                    b"/?a b", b"/%", b"/%4g"])
def test_what_has_no_switch_is_refused_whatever_the_others_say(sluiced, upstream, target):
    proxy, server = start(sluiced, upstream, ALL_LAX)
    assert status_of(proxy, target) == 400
    assert not server.requests


def test_routes_match_exactly_what_is_forwarded(sluiced, upstream):
    """An escaped slash is no separator, and a route may be written with one in either case."""
    servers = {name: upstream([answer_bytes(name.encode())]) for name in ("one", "below", "rest")}
    routes = [route("one", path="/org%2fmodel", name="one"),
              route("below", path="/org%2Fmodel/", name="below"),
              route("rest", name="rest")]
    proxy = sluiced(config({n: pool(s.address) for n, s in servers.items()}, routes))
    with Wire(proxy.address("edge")) as wire:
        got = {path: wire.ask("GET", path).body for path in (
            "/org%2Fmodel", "/org%2fmodel", "/x/../org%2fmodel", "/org%2Fmodel/v1", "/org/model",
            "/org%2Fmodel2", "/org%252Fmodel")}
    assert got == {"/org%2Fmodel": b"one", "/org%2fmodel": b"one", "/x/../org%2fmodel": b"one",
                   "/org%2Fmodel/v1": b"below", "/org/model": b"rest", "/org%2Fmodel2": b"rest",
                   "/org%252Fmodel": b"rest"}
    assert {seen.target for seen in servers["one"].requests} == {"/org%2Fmodel"}
    assert servers["rest"].requests[0].target == "/org/model"


def test_reload_changes_the_switches_of_open_connections(sluiced, upstream):
    proxy, server = start(sluiced, upstream, {})
    conf = config({"chat": pool(server.address)}, workers=1)
    conf["listeners"][0]["http"]["ambiguous"] = {"double_slash": "keep"}
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/a//b").status == 200
        assert proxy.reload(conf)
        assert wire.ask("GET", "/a//b").status == 200
    assert [seen.target for seen in server.requests] == ["/a/b", "/a//b"]
