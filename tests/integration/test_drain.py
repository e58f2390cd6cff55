# SPDX-License-Identifier: Apache-2.0
"""SIGTERM over real sockets: long streams end whole, and the application beside a sidecar keeps its
way out until it is done."""

import signal
import threading
from typing import Any, Iterator, NamedTuple

import pytest

from lib.config import config, listener, pool, route
from lib.drain import drain_with_streams, is_refused, wait_step, watch
from lib.model import Model
from lib.sluiced import Sluiced
from lib.streams import Streams
from lib.wait import Pace, wait_until
from lib.wire import RawUpstream, Wait, Wire, answer_bytes, request_bytes


def test_long_streams_end_whole_and_then_the_process(sluiced, model, upstream, ca):
    print(drain_with_streams(sluiced, model, upstream, ca, 12))


class Sidecar(NamedTuple):
    """Others reach the application by edge, and the application reaches the model by out."""

    proxy: Sluiced
    app: RawUpstream
    model: Model
    may_answer: threading.Event

    def out(self) -> Wire:
        """A connection of the application's."""
        return Wire(self.proxy.address("out"))

    def hold(self, wire: Wire) -> None:
        """Somebody asks the application, which has work with it until it may answer."""
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: self.app.requests, 10, "the request")


@pytest.fixture
def sidecar(sluiced, model, upstream) -> Iterator[Any]:
    """Factory: drain options."""
    event = threading.Event()

    def start(**drain: str) -> Sidecar:
        app, server = upstream([[Wait(event), answer_bytes(b"done")]]), model("--token-rate", "10")
        conf = config({"app": pool(app.address, health="off"), "llama": pool(server.address)},
                      workers=1, drain={"delay": "0s", "timeout": "60s", "quiet": "2s", **drain})
        conf["listeners"].append(listener([route("llama")], name="out", direction="outbound"))
        return Sidecar(sluiced(conf), app, server, event)

    yield start
    event.set()


def ask(wire: Wire) -> None:
    """The application asks the model, and may ask again."""
    answer = wire.ask("GET", "/version")
    assert answer.status == 200 and answer.get("connection") != "close", answer


def test_the_application_keeps_its_way_out_until_it_is_done(sidecar):
    side = sidecar()
    proxy, edge = side.proxy, side.proxy.address("edge")
    with side.out() as kept, Wire(edge) as inbound:
        ask(kept)
        side.hold(inbound)
        with Streams(proxy.address("out"), 5, 30, once=True) as streams:
            proxy.process.signal(signal.SIGTERM)
            left = wait_step(proxy, closing=True, outbound_served=True)
            assert (left["inbound"], left["outbound"]) == (1, 6), left
            verb = watch(proxy)
            wait_until(lambda: is_refused(edge), 10, "the inbound listener to be closed", proxy.log)
            ask(kept)
            # New connections, too, and those to the endpoint are kept as ever.
            before = side.model.state()["connections_total"]
            for _ in range(5):
                with side.out() as fresh:
                    ask(fresh)
            assert side.model.state()["connections_total"] == before
        assert streams.failures == [] and streams.done == 5, streams.failures
        side.may_answer.set()
        answer = inbound.reader.response()
        assert (answer.body, answer.get("connection")) == (b"done", "close"), answer
        # It has answered, and may still have something to say.
        wait_step(proxy, inbound=0, outbound=1, outbound_served=True)
        ask(kept)
        wait_until(lambda: "closing inbound: connections inbound 0, outbound 1; requests 0"
                   in verb.stdout, 10, "progress", verb.log)
    with side.out() as last:  # within the time that must be quiet
        ask(last)
    assert proxy.process.wait(20) == 0, proxy.log()
    assert verb.wait(10) == 0, verb.log()
    assert verb.stdout[-1] == "ended", verb.log()
    assert [event["connections_cut"] for event in proxy.events("drained")] == [0]


def test_the_time_of_the_drain_is_up_for_outbound_connections_too(sidecar):
    side = sidecar(timeout="2s")
    with side.out() as kept:
        ask(kept)
        side.proxy.process.signal(signal.SIGTERM)
        assert side.proxy.process.wait(20) == 0, side.proxy.log()
        assert kept.closed_within(5)
    assert side.proxy.events("drained")[0]["connections_cut"] == 1


def test_a_second_sigterm_ends_outbound_connections_too(sidecar):
    side = sidecar()
    with side.out() as kept:
        ask(kept)
        side.proxy.process.signal(signal.SIGTERM)
        wait_step(side.proxy, outbound_served=True)
        side.proxy.process.signal(signal.SIGTERM)
        assert side.proxy.process.wait(5) == 0, side.proxy.log()


def test_whoever_is_quiet_is_not_waited_for(sidecar):
    side = sidecar(quiet="0s", timeout="600s")
    with side.out() as wire:
        ask(wire)
    side.proxy.process.signal(signal.SIGTERM)
    assert side.proxy.process.wait(10) == 0, side.proxy.log()
    assert side.proxy.events("drained")[0]["connections_cut"] == 0


def test_short_connections_keep_the_way_out_open_as_long_ones_do(sidecar):
    """None need be open at the moment somebody looks."""
    side = sidecar(quiet="2s")
    with side.out() as wire:
        ask(wire)
    side.proxy.process.signal(signal.SIGTERM)
    wait_step(side.proxy, outbound_served=True)
    pace = Pace(1)
    for _ in range(12):
        with side.out() as wire:
            ask(wire)
        pace.wait()
    assert side.proxy.process.wait(20) == 0, side.proxy.log()


def test_a_reload_changes_the_direction(sidecar):
    """What counts is the configuration in force when the drain begins."""
    side = sidecar(quiet="60s")
    conf = config({"llama": pool(side.model.address)}, [route("llama")],
                  drain={"delay": "0s", "timeout": "60s", "quiet": "60s"})
    conf["listeners"].append(listener([route("llama")], name="out"))
    out = side.proxy.address("out")
    assert side.proxy.reload(conf)
    assert side.proxy.address("out") == out, "it is the same listener"
    side.proxy.process.signal(signal.SIGTERM)
    assert side.proxy.process.wait(10) == 0, side.proxy.log()
