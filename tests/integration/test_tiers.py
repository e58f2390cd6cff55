# SPDX-License-Identifier: Apache-2.0
"""Who comes first: the pool that falls back on another one, and the zone that is our own."""

import json
import os
import threading
from pathlib import Path
from typing import Any, Dict

import pytest

from lib.config import config, pool, route
from lib.load import Load
from lib.sluiced import Sluiced, named, run_cli
from lib.wait import wait_until
from lib.wire import Wait, Wire, answer_bytes, request_bytes

QUICK = {"tcp": True, "interval": "100ms", "timeout": "100ms", "rise": 1, "fall": 1}
ANSWER_N = 12


def listed(path: Path, *endpoints: Any) -> None:
    """Replaces a file of endpoints in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps({"endpoints": list(endpoints)}))
    os.replace(fresh, path)


def asked(proxy: Sluiced, count: int = ANSWER_N) -> set:
    """The bodies of some answers, all of which are 200."""
    answers = [proxy.get("/version") for _ in range(count)]
    assert {answer.status for answer in answers} == {200}, answers
    return {answer.fields.get("x-model-version") for answer in answers}


def drain(proxy: Sluiced, *args: str) -> None:
    """Takes an endpoint out by hand, or back in."""
    result = run_cli("drain", *args, "--admin", proxy.address("admin"))
    assert result.code == 0, result.stderr


def kill_in_turn(proxy: Sluiced, models: Any) -> None:
    """One after the other: what runs there may be sent again once."""
    for victim in models:
        victim.kill()
        proxy.wait_health("chat", victim.address, "down")


def bring_back(proxy: Sluiced, models: Any) -> None:
    """All at once, until their checks say so."""
    for model in models:
        model.restart()
    for model in models:
        proxy.wait_health("chat", model.address, "up")


# ---- Fallback


def test_fallback_serves_while_the_pool_is_empty(sluiced, model, tmp_path):
    main, spare = model("--version", "main"), model("--version", "spare")
    path = tmp_path / "endpoints.json"
    listed(path)
    proxy = sluiced(config({
        "chat": {"discover": {"file": str(path)}, "fallback": "spare"},
        "spare": pool(spare.address),
    }))
    assert asked(proxy) == {"spare"}
    line = proxy.access_log()[0]
    assert (line["pool"], line["fallback_of"], line["endpoint"]) == ("spare", "chat", spare.address)
    assert proxy.metric("sluiced_pool_fallbacks_total", pool="chat") == ANSWER_N
    assert proxy.metric("sluiced_requests_total", route="all", pool="spare", reason="ok",
                        code="2xx") == ANSWER_N
    assert proxy.metric("sluiced_pool_queued_total", pool="chat") == 0
    assert proxy.sides("all") == {"chat": ANSWER_N}
    assert named(proxy.status()["pools"], "chat")["fallback"] == "spare"
    listed(path, main.address)
    wait_until(lambda: asked(proxy, 1) == {"main"}, 10, "the pool to serve", proxy.status)
    assert asked(proxy) == {"main"}
    assert "fallback_of" not in proxy.access_log(2 * ANSWER_N + 1)[-1]


def test_all_of_a_pool_down_under_load_and_back_without_a_failure(sluiced, model):
    mains = [model("--version", "main") for _ in range(2)]
    spare = model("--version", "spare")
    proxy = sluiced(config({
        "chat": pool(*[m.address for m in mains], health=dict(QUICK), fallback="spare"),
        "spare": pool(spare.address, health=dict(QUICK)),
    }, workers=2))
    with Load(proxy.address("edge"), request=request_bytes("GET", "/version")) as load:
        load.wait_more(200)
        kill_in_turn(proxy, mains)
        load.wait_more(200)
        before = proxy.metric("sluiced_pool_picks_total", pool="chat")
        load.wait_more(200)
        assert proxy.metric("sluiced_pool_picks_total", pool="chat") == before
        bring_back(proxy, mains)
        wait_until(lambda: asked(proxy, 1) == {"main"}, 20, "the pool to serve", proxy.status)
        load.wait_more(200)
        assert not load.failures, load.failures[:3]
    assert asked(proxy) == {"main"}


def test_last_resort_of_the_first_pool_comes_behind_all_that_are_ready(sluiced, model):
    """Of three in a row: the ready one of the last; and with nobody ready, the first."""
    pods = {name: model("--version", name) for name in ("a", "b", "c")}
    down = {"http": "/health", "interval": "100ms", "timeout": "100ms", "rise": 1, "fall": 1}
    proxy = sluiced(config({
        "a": pool(pods["a"].address, health=dict(down), fallback="b"),
        "b": pool(pods["b"].address, health=dict(down), fallback="c"),
        "c": pool(pods["c"].address, health=dict(down)),
    }))
    for name, expected in (("a", "b"), ("b", "c"), ("c", "a")):
        pods[name].control(unhealthy=True)
        proxy.wait_health(name, pods[name].address, "down")
        assert asked(proxy) == {expected}
    assert proxy.metric("sluiced_pool_picks_any_total", pool="a") == ANSWER_N
    assert proxy.metric("sluiced_pool_fallbacks_total", pool="a") == 2 * ANSWER_N


def test_drain_by_hand_of_the_last_one_moves_to_the_fallback(sluiced, model):
    main, spare = model("--version", "main"), model("--version", "spare")
    proxy = sluiced(config({"chat": pool(main.address, fallback="spare"),
                            "spare": pool(spare.address)}))
    assert asked(proxy) == {"main"}
    drain(proxy, main.address)
    assert asked(proxy) == {"spare"}
    drain(proxy, main.address, "--undo")
    assert asked(proxy) == {"main"}


def test_full_endpoints_are_waited_for_and_not_left(sluiced, upstream, model):
    gate = threading.Event()
    full = upstream([[Wait(gate), answer_bytes(b"first")], [answer_bytes(b"second")]])
    spare = model()
    proxy = sluiced(config({
        "chat": pool(full.address, health="off", limits={"per_endpoint": 1}, fallback="spare",
                     queue={"timeout": "60s"}),
        "spare": pool(spare.address),
    }, workers=1))
    wires = [Wire(proxy.address("edge")) for _ in range(2)]
    wires[0].send(request_bytes("GET", "/"))
    wait_until(lambda: full.requests, 10, "the first")
    wires[1].send(request_bytes("GET", "/"))
    wait_until(lambda: proxy.metric("sluiced_pool_queued", pool="chat") == 1, 10, "the second")
    gate.set()
    assert [wire.reader.response().body for wire in wires] == [b"first", b"second"]
    assert proxy.metric("sluiced_pool_fallbacks_total", pool="chat") == 0
    for wire in wires:
        wire.close()


def test_limits_and_queue_are_those_of_the_pool_that_serves(sluiced, upstream, tmp_path):
    """The fallback has one place: who is next waits there, and goes to the first pool if that
    comes back sooner."""
    gate = threading.Event()
    spare = upstream([[Wait(gate), answer_bytes(b"spare")]])
    main = upstream([[answer_bytes(b"main")]])
    path = tmp_path / "endpoints.json"
    listed(path)
    proxy = sluiced(config({
        "chat": {"discover": {"file": str(path)}, "health": "off", "fallback": "spare",
                 "limits": {"in_flight": 1}, "queue": "off"},
        "spare": pool(spare.address, health="off", limits={"in_flight": 1},
                      queue={"timeout": "60s"}),
    }, workers=1))
    wires = [Wire(proxy.address("edge")) for _ in range(2)]
    wires[0].send(request_bytes("GET", "/"))
    wait_until(lambda: spare.requests, 10, "the first")
    pools = proxy.status()["pools"]
    assert [named(pools, name)["places"] for name in ("chat", "spare")] == [0, 1]
    wires[1].send(request_bytes("GET", "/"))
    wait_until(lambda: proxy.metric("sluiced_pool_queued", pool="spare") == 1, 10, "the second")
    listed(path, main.address)
    assert wires[1].reader.response().body == b"main"
    assert proxy.metric("sluiced_pool_fallbacks_total", pool="chat") == 1  # the second only waited
    gate.set()
    assert wires[0].reader.response().body == b"spare"

    def idle() -> bool:
        pools = proxy.status()["pools"]
        return not any(p["places"] or p["queued"] or p["endpoints"][0]["in_flight"] for p in pools)

    wait_until(idle, 10, "all to be given back", proxy.status)
    for wire in wires:
        wire.close()


def two_gates(sluiced: Any, upstream: Any, path: Path, *first: str) -> Any:
    """A pool and its fallback, of one place each, whose first requests wait at gates. What is asked
    for below /spare goes straight to the fallback."""
    gates = {name: threading.Event() for name in ("main", "spare")}
    ups = {name: upstream([[Wait(gate), answer_bytes(name.encode())], [answer_bytes(name.encode())]])
           for name, gate in gates.items()}

    def one() -> Dict[str, Any]:
        return {"health": "off", "limits": {"in_flight": 1}, "queue": {"timeout": "60s"}}

    listed(path, *(ups[name].address for name in first))
    proxy = sluiced(config({
        "chat": {"discover": {"file": str(path)}, "fallback": "spare", **one()},
        "spare": pool(ups["spare"].address, **one()),
    }, [route("spare", "/spare", "spare"), route("chat", "/")], workers=1))
    return proxy, gates, ups


def sent(proxy: Sluiced, path: str = "/") -> Wire:
    """A client that has asked and waits for its answer."""
    wire = Wire(proxy.address("edge"))
    wire.send(request_bytes("GET", path))
    return wire


def wait_queued(proxy: Sluiced, **queued: int) -> None:
    def same() -> bool:
        pools = proxy.status()["pools"]
        return {name: named(pools, name)["queued"] for name in queued} == queued

    wait_until(same, 10, f"{queued} to wait", proxy.status)


def test_who_waits_at_the_fallback_goes_back_to_a_pool_that_has_someone(sluiced, upstream, tmp_path):
    """Without room there yet it waits there, and keeps nobody of the fallback's own waiting."""
    path = tmp_path / "endpoints.json"
    proxy, gates, ups = two_gates(sluiced, upstream, path)
    wires = [sent(proxy)]
    wait_until(lambda: ups["spare"].requests, 10, "the first")
    for n, target in enumerate(("/", "/", "/spare"), 1):
        wires.append(sent(proxy, target))
        wait_queued(proxy, chat=0, spare=n)
    listed(path, ups["main"].address)
    wait_until(lambda: ups["main"].requests, 10, "the second")
    wait_queued(proxy, chat=1, spare=1)
    gates["spare"].set()
    assert [wires[i].reader.response().body for i in (0, 3)] == [b"spare", b"spare"]
    wait_queued(proxy, chat=1, spare=0)
    gates["main"].set()
    assert [wires[i].reader.response().body for i in (1, 2)] == [b"main", b"main"]
    for wire in wires:
        wire.close()


def test_who_waits_at_a_pool_that_loses_all_waits_at_the_fallback(sluiced, upstream, tmp_path):
    """In turn with those who wait there; and in vain nowhere."""
    path = tmp_path / "endpoints.json"
    proxy, gates, ups = two_gates(sluiced, upstream, path, "main")
    wires = [sent(proxy), sent(proxy, "/spare")]
    wait_until(lambda: ups["main"].requests and ups["spare"].requests, 10, "the first two")
    wires.append(sent(proxy))
    wait_queued(proxy, chat=1, spare=0)
    wires.append(sent(proxy, "/spare"))
    wait_queued(proxy, chat=1, spare=1)
    listed(path)
    wait_queued(proxy, chat=0, spare=2)
    gates["spare"].set()
    assert [wires[i].reader.response().body for i in (1, 2, 3)] == [b"spare"] * 3
    gates["main"].set()
    assert wires[0].reader.response().body == b"main"
    for wire in wires:
        wire.close()


def test_who_waits_for_an_endpoint_is_served_when_the_fallback_has_one(sluiced, model, tmp_path):
    spare = model("--version", "spare")
    paths: Dict[str, Path] = {name: tmp_path / f"{name}.json" for name in ("chat", "spare")}
    for path in paths.values():
        listed(path)
    proxy = sluiced(config({
        "chat": {"discover": {"file": str(paths["chat"])}, "fallback": "spare",
                 "queue": {"timeout": "60s"}},
        "spare": {"discover": {"file": str(paths["spare"])}},
    }))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/version"))
        wait_until(lambda: proxy.metric("sluiced_pool_queued", pool="chat") == 1, 10, "it to wait")
        listed(paths["spare"], spare.address)
        assert wire.reader.response().get("x-model-version") == "spare"
    assert proxy.metric("sluiced_pool_queued", pool="chat") == 0


def test_retry_goes_to_the_fallback_where_the_pool_has_nobody_else(sluiced, upstream, model):
    """A connection that is refused, and a 503 that asks to come later."""
    busy = upstream([[answer_bytes(b"", "503 Service Unavailable", [("Retry-After", "60")])]])
    gone, spare = model(), model("--version", "spare")
    gone.kill()
    proxy = sluiced(config({
        "gone": pool(gone.address, health="off", fallback="spare", limits={"in_flight": 1}),
        "busy": pool(busy.address, health="off", fallback="spare", limits={"in_flight": 1}),
        "spare": pool(spare.address, limits={"in_flight": 1}),
    }, routes=[route("gone", "/version", "gone"), route("busy", "/", "busy")]))
    answer = proxy.get("/version")
    assert (answer.status, answer.fields["x-model-version"]) == (200, "spare")
    answer = proxy.get("/v1/models")
    assert answer.status == 200
    lines = proxy.access_log(2)
    assert {(line["pool"], line["fallback_of"], line["tries"]) for line in lines} == {
        ("spare", "gone", 2), ("spare", "busy", 2)}
    assert busy.requests
    assert [p["places"] for p in proxy.status()["pools"]] == [0, 0, 0]


BUSY = [answer_bytes(b"busy", "503 Service Unavailable")]
LATER = {"attempts": 2, "statuses": 503, "backoff": {"min": "6s", "max": "1m"}}
SOON = {**LATER, "backoff": {"min": "1ms", "max": "1ms"}}
ONE = {"in_flight": 1, "per_endpoint": 1, "connections": 1, "retries": 1}


def held(proxy: Sluiced) -> Dict[str, int]:
    """What requests hold in both pools."""
    pools = proxy.status()["pools"]
    return {f"{name} {what}": sum(e[what] for e in p["endpoints"]) if what == "in_flight" else p[what]
            for name in ("chat", "spare") for p in [named(pools, name)]
            for what in ("places", "in_flight", "retries")}


def of_two_pools(sluiced: Any, main: Any, spare: Any, retry: Any) -> Sluiced:
    """sluiced with one of everything in either pool."""
    return sluiced(config({
        "chat": pool(main.address, health="off", fallback="spare", limits=dict(ONE), queue="off"),
        "spare": pool(spare.address, health="off", limits=dict(ONE), queue="off"),
    }, [route("chat", retry=retry)], workers=1))


def test_retry_that_waits_holds_what_it_needs_of_the_fallback(sluiced, upstream):
    """And gives it all back when its client leaves: place, endpoint, connection and retry."""
    main, spare = upstream([BUSY]), upstream([[answer_bytes(b"spare")]])
    proxy = of_two_pools(sluiced, main, spare, LATER)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: held(proxy)["spare in_flight"] == 1, 10, "the retry", proxy.status)
        assert held(proxy) == {"chat places": 0, "chat in_flight": 0, "chat retries": 1,
                               "spare places": 1, "spare in_flight": 1, "spare retries": 0}
        assert named(proxy.status()["pools"], "spare")["connections"] == 1
        with Wire(proxy.address("edge")) as other:  # the only place of the fallback is taken
            assert other.ask("GET", "/").body == b"busy"
    wait_until(lambda: not any(held(proxy).values()), 10, "all to be given back", proxy.status)
    assert named(proxy.status()["pools"], "spare")["connections"] == 0
    assert not spare.requests
    assert proxy.endpoint("spare", spare.address)["requests"] == 0
    assert proxy.access_log(2)[-1]["reason"] == "client_gone"
    assert proxy.metric("sluiced_pool_fallbacks_total", pool="chat") == 0


def test_retry_that_has_waited_runs_at_the_fallback(sluiced, upstream):
    main, spare = upstream([BUSY]), upstream([[answer_bytes(b"spare")]])
    proxy = of_two_pools(sluiced, main, spare, SOON)
    for _ in range(5):
        with Wire(proxy.address("edge")) as wire:
            assert wire.ask("GET", "/").body == b"spare"
    assert not any(held(proxy).values())
    lines = proxy.access_log(5)
    assert {(line["pool"], line["fallback_of"], line["tries"]) for line in lines} == {
        ("spare", "chat", 2)}
    assert proxy.metric("sluiced_pool_idle_closed_total", pool="spare") == 4  # not after the wait


def test_second_retry_is_of_the_pool_where_the_first_one_ran(sluiced, upstream):
    """Either pool allows one: the fallback's is taken when the first pool's is given back."""
    main = upstream([BUSY])
    spares = [upstream([BUSY]), upstream([[answer_bytes(b"spare")]])]
    proxy = sluiced(config({
        "chat": pool(main.address, health="off", fallback="spare", limits={"retries": 1}),
        "spare": pool(*(s.address for s in spares), health="off", limits={"retries": 1},
                      balance="round_robin"),
    }, [route("chat", retry=SOON)], workers=1))
    bodies = [proxy.get("/").body for _ in range(6)]
    assert set(bodies) == {b"spare"}
    assert {line["tries"] for line in proxy.access_log(6)} == {2, 3}
    for name in ("chat", "spare"):
        assert proxy.metric("sluiced_pool_retries_running", pool=name) == 0


def test_timeouts_are_those_of_the_pool_that_serves(sluiced, upstream, tmp_path):
    gate = threading.Event()
    spare = upstream([[Wait(gate), answer_bytes()]])
    path = tmp_path / "endpoints.json"
    listed(path)
    proxy = sluiced(config({
        "chat": {"discover": {"file": str(path)}, "fallback": "spare"},
        "spare": pool(spare.address, health="off", timeouts={"total": "200ms"}),
    }))
    answer = proxy.get("/")
    gate.set()
    assert answer.status == 504 and b"total_timeout" in answer.body


def test_each_side_of_a_split_has_its_own_fallback(sluiced, model, tmp_path):
    stable, spare = model("--version", "stable"), model("--version", "spare")
    path = tmp_path / "endpoints.json"
    listed(path)
    proxy = sluiced(config({
        "stable": pool(stable.address, fallback="spare"),
        "canary": {"discover": {"file": str(path)}, "fallback": "stable"},
        "spare": pool(spare.address),
    }, routes=[route({"stable": 1, "canary": 1})]))
    assert asked(proxy) == {"stable"}
    assert proxy.sides("all") == {"stable": ANSWER_N // 2, "canary": ANSWER_N // 2}
    drain(proxy, stable.address)
    assert asked(proxy) == {"spare"}
    assert proxy.metric("sluiced_pool_fallbacks_total", pool="canary") == ANSWER_N
    assert proxy.metric("sluiced_pool_fallbacks_total", pool="stable") == ANSWER_N // 2


def test_fallback_may_be_changed_by_a_reload(sluiced, model, tmp_path):
    spares = {name: model("--version", name) for name in ("one", "two")}
    path = tmp_path / "endpoints.json"
    listed(path)

    def conf(fallback: str) -> Any:
        return config({"chat": {"discover": {"file": str(path)}, "fallback": fallback},
                       **{name: pool(m.address) for name, m in spares.items()}})

    proxy = sluiced(conf("one"))
    assert asked(proxy) == {"one"}
    assert proxy.reload(conf("two"))
    assert asked(proxy) == {"two"}
    assert "pools.chat.fallback" in proxy.admin("/config").body.decode()


# ---- Zones


def zoned(*endpoints: Any, **options: Any) -> Dict[str, Any]:
    """A pool of endpoints, each with its zone, that prefers zone a."""
    listed_ones = [{"address": address, "zone": zone} for address, zone in endpoints]
    return {"discover": {"static": listed_ones}, "prefer_zone": "a", **options}


def test_own_zone_down_under_load_and_back_without_a_failure(sluiced, model):
    owns = [model("--version", "own") for _ in range(2)]
    other = model("--version", "other")
    proxy = sluiced(config({"chat": zoned((owns[0].address, "a"), (owns[1].address, "a"),
                                          (other.address, "b"), health=dict(QUICK))}, workers=2))
    with Load(proxy.address("edge"), request=request_bytes("GET", "/version")) as load:
        load.wait_more(200)
        assert proxy.metric("sluiced_pool_picks_other_zone_total", pool="chat") == 0
        kill_in_turn(proxy, owns)
        before = proxy.metric("sluiced_pool_picks_own_zone_total", pool="chat")
        load.wait_more(200)
        assert proxy.metric("sluiced_pool_picks_own_zone_total", pool="chat") == before
        bring_back(proxy, owns)
        wait_until(lambda: asked(proxy) == {"own"}, 20, "the zone to serve", proxy.status)
        load.wait_more(200)
        assert not load.failures, load.failures[:3]
    shown = named(proxy.status()["pools"], "chat")
    assert (shown["prefer_zone"], shown["own_zone"]) == ("a", "a")
    assert shown["picks_own_zone"] + shown["picks_other_zone"] == shown["picks"]
    text = run_cli("status", "--admin", proxy.address("admin")).stdout
    assert [line for line in text if line.startswith("zone of chat: a, ")]


def test_full_zone_spills_at_once(sluiced, upstream, model):
    gate = threading.Event()
    own, other = upstream([[Wait(gate), answer_bytes(b"own")]]), model("--version", "other")
    proxy = sluiced(config({"chat": zoned((own.address, "a"), (other.address, "b"), health="off",
                                          limits={"per_endpoint": 1})}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: own.requests, 10, "the first")
        assert asked(proxy) == {"other"}
        gate.set()
        assert wire.reader.response().body == b"own"


def test_drain_by_hand_of_the_last_one_of_the_zone(sluiced, model):
    own, other = model("--version", "own"), model("--version", "other")
    proxy = sluiced(config({"chat": zoned((own.address, "a"), (other.address, "b"))}))
    assert asked(proxy) == {"own"}
    drain(proxy, own.address)
    assert asked(proxy) == {"other"}
    drain(proxy, own.address, "--undo")
    wait_until(lambda: asked(proxy, 1) == {"own"}, 10, "the zone to serve", proxy.status)
    assert asked(proxy) == {"own"}


def test_zone_of_a_file_and_another_one_after_a_reload(sluiced, model, tmp_path):
    """auto is what kubernetes.zone says; then a name, then no zone at all."""
    one, two = model("--version", "one"), model("--version", "two")
    path = tmp_path / "endpoints.json"
    listed(path, {"address": one.address, "zone": "a"}, {"address": two.address, "zone": "b"})

    def conf(**options: Any) -> Any:
        chat = {"discover": {"file": str(path)}, "balance": "round_robin", **options}
        return config({"chat": chat}, kubernetes={"zone": "a"})

    proxy = sluiced(conf(prefer_zone="auto"))
    assert asked(proxy) == {"one"}
    assert proxy.reload(conf(prefer_zone="b"))
    wait_until(lambda: asked(proxy, 1) == {"two"}, 10, "the other zone", proxy.status)
    assert asked(proxy) == {"two"}
    assert proxy.reload(conf())
    wait_until(lambda: asked(proxy) == {"one", "two"}, 10, "both zones", proxy.status)


def test_zone_and_fallback_together(sluiced, model):
    """The other zone comes before another pool."""
    pods = {name: model("--version", name) for name in ("own", "other", "spare")}
    proxy = sluiced(config({
        "chat": zoned((pods["own"].address, "a"), (pods["other"].address, "b"), fallback="spare"),
        "spare": pool(pods["spare"].address),
    }))
    for name, expected in (("own", "other"), ("other", "spare")):
        drain(proxy, pods[name].address)
        assert asked(proxy) == {expected}
