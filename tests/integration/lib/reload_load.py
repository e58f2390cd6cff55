# SPDX-License-Identifier: Apache-2.0
"""Reloads under load, the same in short (each `make test`) and in long (`make soak`)."""

import os
import signal
import time
from typing import Any, Callable, Dict, List, Tuple

from lib.config import Config, config, listener, pool, route
from lib.fetch import fetch
from lib.model import Model
from lib.sluiced import Sluiced
from lib.streams import Streams
from lib.wait import wait_until
from lib.wrk import Wrk

SHARES = {"v1": 0.7, "v2": 0.3}
CONNECTIONS, STREAMS, WARM = 16, 50, 20
# Of 180 reloads and more. A reload that leaked its view would cost tens of KiB each.
RSS_GROWTH_BYTES = 1 << 20
# Connections to the servers vary with the load. One that each reload leaked would be 180 and more.
FDS_GROWTH = 32


def versions(start: Callable[..., Model]) -> Dict[str, Model]:
    """A model server for each side."""
    return {name: start("--version", name, "--token-rate", "10") for name in SHARES}


def weights(models: Dict[str, Model], number: int) -> Config:
    """Configuration number so-and-so: other weights, limits, listeners, routes and pools than the
    one before, always the same shares."""
    factor = 1 + number % 97
    limits = {"in_flight": 1000 + number % 5, "connections": 2000 + number % 7,
              "retries": 1 + number % 3}
    pools = {name: pool(server.address, limits=dict(limits), queue={"size": 1000 + number % 11})
             for name, server in models.items()}
    split = {name: round(10 * share) * factor for name, share in SHARES.items()}
    routes = [route(split)]
    if number % 2 == 1:
        pools["spare"] = pool(models["v1"].address)
        routes.append(route("spare", path="/spare", name="spare"))
    conf = config(pools, routes, workers=2, log={"level": "info", "access": "off"})
    if number % 3 == 1:
        conf["listeners"].append(listener([route("v1")], name="spare"))
    return conf


class Inside:
    """The admin interface, at an address asked for once: the log grows with each reload."""

    def __init__(self, proxy: Sluiced) -> None:
        self.address = proxy.address("admin")

    def status(self) -> Dict[str, Any]:
        """GET /status."""
        return fetch(self.address, "/status").json()

    def sides(self) -> Tuple[int, Dict[str, int]]:
        """The generation in force, and its decisions for each side."""
        status = self.status()
        split = status["listeners"][0]["routes"][0]["split"]
        return status["generation"], {side["pool"]: side["picked"] for side in split}

    def accepted(self) -> int:
        """Connections that the listener has accepted so far."""
        return int(self.status()["listeners"][0]["connections_total"])


def reload_once(proxy: Sluiced, inside: Inside, conf: Config) -> None:
    """One reload, known to be applied when it returns."""
    before = inside.sides()[0]
    proxy.write_config(conf)
    proxy.process.signal(signal.SIGHUP)
    wait_until(lambda: inside.sides()[0] > before, 20, "the reload", proxy.log)


def check_split(inside: Inside) -> int:
    """The shares of the generation in force, exact to less than one request; returns its requests."""
    generation, sides = inside.sides()
    total = sum(sides.values())
    for name, share in SHARES.items():
        assert abs(sides[name] - share * total) < 1, (generation, sides)
    return total


def settled(proxy: Sluiced) -> None:
    """Nothing is left of what was: one view, and no request that runs."""
    wait_until(lambda: proxy.metric("sluiced_live_views") == 1, 20, "one live view", proxy.log)
    wait_until(lambda: proxy.metric("sluiced_endpoint_in_flight") == 0, 20, "nothing in flight",
               proxy.status)


def is_sanitized() -> bool:
    """Whether memory is the sanitizer's: quarantine and shadow grow without a leak."""
    return os.environ.get("FLAVOUR", "release") in ("asan", "tsan")


def reload_under_load(proxy: Sluiced, models: Dict[str, Model], least: int,
                      at_least_s: float = 0.0, at_most_s: float = 600.0) -> Dict[str, Any]:
    """Reloads at least so often and so long while wrk and streams run, and checks what the headline
    promises. Returns figures for the log."""
    edge, inside = proxy.address("edge"), Inside(proxy)
    rss: List[int] = []
    fds: List[int] = []
    in_generations = 0
    begun = time.monotonic()
    with Streams(edge, STREAMS, tokens=30) as streams:
        wrk = Wrk(f"http://{edge}/bytes/16", CONNECTIONS, int(at_most_s) + 60)
        try:
            wait_until(lambda: inside.sides()[1]["v2"] > 300, 20, "load", proxy.status)
            accepted = inside.accepted()
            count = 0
            while count < least or time.monotonic() - begun < at_least_s:
                assert time.monotonic() - begun < at_most_s, f"only {count} reloads in {at_most_s} s"
                in_generations += check_split(inside)
                reload_once(proxy, inside, weights(models, count + 1))
                count += 1
                rss.append(proxy.process.rss_bytes())
                fds.append(proxy.process.open_fds())
            again = inside.accepted()
        finally:
            wrk_report = wrk.stop()
    took = time.monotonic() - begun
    assert wrk_report.errors == 0, wrk_report.text
    assert streams.failures == [], streams.failures[:5]
    assert again == accepted, "connections were dropped and opened anew"
    settled(proxy)
    check_served(models, wrk_report.requests, proxy.generation())
    check_flat(rss, fds)
    return {"reloads": count, "seconds": round(took, 1), "requests": wrk_report.requests,
            "streams": streams.done, "seen_in_status": in_generations, "rss_kib":
            [x // 1024 for x in (rss[WARM], rss[-1])], "fds": [max(fds[:WARM]), max(fds[WARM:])]}


def check_served(models: Dict[str, Model], least: int, generations: int) -> None:
    """What the servers themselves counted has the shares, off by less than one each generation."""
    served = {name: server.state()["requests"] for name, server in models.items()}
    total = sum(served.values())
    assert total >= least, (served, least)
    for name, share in SHARES.items():
        assert abs(served[name] - share * total) < generations, (served, generations)
    assert sum(server.state()["aborted"] for server in models.values()) <= CONNECTIONS, "wrk's own"


def check_flat(rss: List[int], fds: List[int]) -> None:
    """Neither memory nor descriptors grew once the first reloads were over."""
    tail = max(1, len(fds) // 10)
    assert max(fds[-tail:]) <= max(fds[:WARM]) + FDS_GROWTH, (fds[:WARM], fds[-tail:])
    if not is_sanitized():
        growth = min(rss[-tail:]) - max(rss[:WARM])
        assert growth < RSS_GROWTH_BYTES, [x // 1024 for x in rss[::10]]
