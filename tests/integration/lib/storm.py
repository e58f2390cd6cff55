# SPDX-License-Identifier: Apache-2.0
"""A storm of reloads under load, the same in short (each `make test`) and in long (`make soak`).

Each reload changes weights, limits, queues, routes, listeners, pools and the certificates of both
sides, or is a file that must be refused. What runs must not notice.
"""

import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import yaml

from lib.ca import CA
from lib.config import Config, config, listener, pool, route
from lib.fetch import fetch
from lib.handshakes import Handshakes
from lib.model import Model
from lib.rotation import Timeline, Volume, serial_of
from lib.sluiced import Sluiced, run_cli
from lib.steady import check_flat, is_sanitized, settled
from lib.streams import Streams
from lib.wait import Pace, wait_until
from lib.wrk import Wrk

SHARES = {"v1": 0.7, "v2": 0.3}
PER_S = 10.0
CONNECTIONS, TOKENS, CERTS = 16, 30, 5
HANDSHAKES_PER_S = 17.0  # not in step with the reloads
BAD_EVERY, VERB_EVERY = 10, 25
# Of two thirds of them, while the heap finds its shape. A reload that leaked its view would cost tens
# of KiB, and there are hundreds.
RSS_GROWTH_BYTES = 2 << 20
# Connections to the servers vary with the load. One that each reload leaked would be hundreds.
FDS_GROWTH = 32
# The servers are in Python, and share the machine with all the rest.
PATIENT = {"connect": "20s"}


class Strength(NamedTuple):
    """How much there is to do beside the reloads."""

    streams: int  # in plaintext, and as many over TLS
    think_ms: int  # of each connection of wrk between two requests; 0: full load
    per_s: float = PER_S  # reloads


MODERATE = Strength(streams=25, think_ms=40)
FULL = Strength(streams=50, think_ms=0, per_s=1000.0)


class Site:
    """Servers behind the proxy, and the certificates of both of its sides."""

    def __init__(self, directory: Path, start: Callable[..., Model], ca: CA, other_ca: CA) -> None:
        self.directory = directory
        self.models = {name: start("--version", name, "--token-rate", "10") for name in SHARES}
        leaf = ca.issue("sealed", ips=["127.0.0.1"])
        self.sealed = start("--token-rate", "10", "--tls", f"{leaf.cert},{leaf.key},{ca.path}")
        self.edge_certs = [ca.issue(f"edge{i}", ips=["127.0.0.1"]) for i in range(CERTS)]
        self.pool_certs = [ca.issue(f"pool{i}") for i in range(CERTS)]
        self.edge_serials = [serial_of(cert) for cert in self.edge_certs]
        self.pool_serials = [serial_of(cert) for cert in self.pool_certs]
        self.edge_times, self.pool_times = Timeline(), Timeline()
        self.volume = Volume(directory / "edge-tls", self.edge_certs)
        self.context = ca.client(ca.issue("caller"))
        self.ca_path = ca.path
        both = directory / "both.crt"  # another file for the same clients
        both.write_bytes(Path(ca.path).read_bytes() + Path(other_ca.path).read_bytes())
        self.client_cas = [ca.path, str(both)]

    def conf(self, number: int) -> Config:
        """Configuration number so-and-so: nearly all differs from the one before, but for the shares
        of the split."""
        factor = 1 + number % 97
        limits = {"in_flight": 1000 + number % 5, "connections": 2000 + number % 7,
                  "retries": 1 + number % 3}
        pools = {name: pool(server.address, limits=dict(limits), queue={"size": 1000 + number % 11},
                            timeouts=dict(PATIENT))
                 for name, server in self.models.items()}
        ours = self.pool_certs[number % CERTS]
        pools["sealed"] = pool(self.sealed.address, timeouts=dict(PATIENT),
                               tls={"ca": self.ca_path, "cert": ours.cert, "key": ours.key})
        routes = [route({name: round(10 * share) * factor for name, share in SHARES.items()})]
        if number % 2 == 1:
            pools["spare"] = pool(self.models["v1"].address)
            routes.append(route("spare", path="/spare", name="spare"))
        conf = config(pools, routes, workers=2, log={"level": "info", "access": "off"})
        conf["listeners"].append(listener([route("sealed")], name="secure", tls={
            "cert": str(self.volume.directory / "tls.crt"),
            "key": str(self.volume.directory / "tls.key"),
            "client_ca": self.client_cas[number // 2 % 2]}))
        if number % 3 == 1:
            conf["listeners"].append(listener([route("v1")], name="spare"))
        return conf

    def bad(self, number: int) -> str:
        """A file that cannot be applied, each time for another reason, and late where it can be: when
        pools and listeners beside what is wrong were made already."""
        conf = self.conf(number)
        conf["pools"]["fresh"] = pool(self.models["v1"].address)
        conf["listeners"].append(listener([route("fresh")], name="fresh"))
        kind = number // BAD_EVERY % 5
        if kind == 0:
            return yaml.safe_dump(conf) + "pools: ["
        if kind == 1:
            conf["listeners"].append(listener([route("nowhere")], name="lost"))
        elif kind == 2:
            conf["listeners"][1]["tls"].update(cert=self.edge_certs[0].cert,
                                               key=self.edge_certs[1].key)
        elif kind == 3:
            conf["pools"]["sealed"]["tls"]["ca"] = str(self.directory / "absent.crt")
        else:
            conf["listeners"].append({**listener([route("v1")], name="taken"),
                                      "bind": self.models["v2"].address})
        return yaml.safe_dump(conf)

    def serials(self, number: int) -> Tuple[str, str]:
        """Of the certificates that go with a configuration: the listener's, the pool's."""
        return self.edge_serials[number // 2 % CERTS], self.pool_serials[number % CERTS]

    def publish(self, number: int) -> None:
        """The listener's certificate of a configuration, as a volume shows it."""
        self.volume.publish(number // 2 % CERTS)


class Inside:
    """The admin interface, at an address asked for once: the log grows with each reload."""

    def __init__(self, proxy: Sluiced) -> None:
        self.proxy = proxy
        self.address = proxy.address("admin")

    def status(self) -> Dict[str, Any]:
        """GET /status."""
        return fetch(self.address, "/status").json()

    def sides(self) -> Tuple[int, Dict[str, int]]:
        """The generation in force, and its decisions for each side."""
        status = self.status()
        split = status["listeners"][0]["routes"][0]["split"]
        return status["generation"], {side["pool"]: side["picked"] for side in split}

    def accepted(self) -> List[int]:
        """Connections that edge and secure have accepted so far."""
        return [int(one["connections_total"]) for one in self.status()["listeners"][:2]]

    def reload(self) -> Dict[str, Any]:
        """POST /reload; what GET /reload says once there is an outcome."""
        asked = fetch(self.address, "/reload", "POST")
        if asked.status == 422:
            return {"ok": False, "error": asked.json()["error"]}
        number = asked.json()["asked"]

        def outcome() -> Optional[Dict[str, Any]]:
            now = fetch(self.address, "/reload").json()
            return now if now["answered"] >= number else None

        return wait_until(outcome, 20, f"the outcome of reload {number}", self.proxy.log)

    def reload_by_verb(self) -> Dict[str, Any]:
        """The same by `sluiced reload`."""
        verb = run_cli("reload", "--admin", self.address, deadline_s=40)
        return {"ok": verb.code == 0, "error": "\n".join(verb.stderr),
                "config_hash": self.status()["config_hash"]}


class Storm:
    """The reloads, one after the other, each known to have ended as it must."""

    def __init__(self, proxy: Sluiced, inside: Inside, site: Site) -> None:
        self.proxy = proxy
        self.inside = inside
        self.site = site
        self.hash = inside.status()["config_hash"]
        self.applied = self.refused = self.in_generations = 0
        self.rss: List[int] = []
        self.fds: List[int] = []

    def one(self, number: int) -> None:
        """Configuration number so-and-so, or a bad one in its place."""
        self._check_split()
        ask = self.inside.reload_by_verb if number % VERB_EVERY == 1 else self.inside.reload
        if number % BAD_EVERY == BAD_EVERY - 1:
            self._bad(number, ask)
        else:
            self._good(number, ask)
        self.rss.append(self.proxy.process.rss_bytes())
        self.fds.append(self.proxy.process.open_fds())

    def _good(self, number: int, ask: Callable[[], Dict[str, Any]]) -> None:
        site, now = self.site, time.monotonic()
        ours, upstream = site.serials(number)
        site.edge_times.install(ours, now)
        site.pool_times.install(upstream, now)
        site.publish(number)
        self.proxy.write_config(site.conf(number))
        outcome = ask()
        assert outcome["ok"], f"reload {number} is not applied: {outcome}"
        assert outcome["config_hash"] != self.hash, f"reload {number} changed nothing: {outcome}"
        self.hash = outcome["config_hash"]
        now = time.monotonic()
        site.edge_times.settle(ours, now)
        site.pool_times.settle(upstream, now)
        self.applied += 1

    def _bad(self, number: int, ask: Callable[[], Dict[str, Any]]) -> None:
        self.proxy.write_config(self.site.bad(number))
        outcome = ask()
        assert not outcome["ok"] and outcome["error"], f"bad file {number} is applied: {outcome}"
        assert self.inside.status()["config_hash"] == self.hash, f"bad file {number} left something"
        self.refused += 1

    def _check_split(self) -> None:
        """The shares of the generation in force, exact to less than one request."""
        generation, sides = self.inside.sides()
        total = sum(sides.values())
        for name, share in SHARES.items():
            assert abs(sides[name] - share * total) < 1, (generation, sides)
        self.in_generations += total


def storm(start: Callable[..., Sluiced], site: Site, count: int, strength: Strength,
          at_least_s: float = 0.0) -> Dict[str, Any]:
    """So many reloads, and for at least so long; returns figures for the log."""
    site.publish(0)
    for times, serial in zip((site.edge_times, site.pool_times), site.serials(0)):
        times.install(serial, 0.0)
        times.settle(serial, 0.0)
    proxy = start(site.conf(0))
    edge, secure, inside = proxy.address("edge"), proxy.address("secure"), Inside(proxy)
    with Streams(edge, strength.streams, TOKENS) as plain, \
            Streams(secure, strength.streams, TOKENS, tls=site.context) as sealed, \
            Handshakes(secure, site.context, site.edge_times, site.pool_times,
                       HANDSHAKES_PER_S) as handshakes:
        wrk = Wrk(f"http://{edge}/bytes/16", CONNECTIONS, 7200, think_ms=strength.think_ms)
        try:
            wait_until(lambda: inside.sides()[1]["v2"] > 100, 20, "load", proxy.status)
            accepted = inside.accepted()[0]
            reloads = Storm(proxy, inside, site)
            number, begun, pace = 0, time.monotonic(), Pace(strength.per_s)
            while number < count or time.monotonic() - begun < at_least_s:
                pace.wait()
                number += 1
                reloads.one(number)
            took = time.monotonic() - begun
            again = inside.accepted()[0]
        finally:
            wrk_report = wrk.stop()
    assert wrk_report.errors == 0, wrk_report.text
    for clients in (plain, sealed, handshakes):
        assert clients.failures == [], (len(clients.failures), clients.failures[:5])
    assert again == accepted, "connections were dropped and opened anew"
    assert [plain.connects, sealed.connects] == [strength.streams] * 2
    assert inside.accepted()[1] == sealed.connects + handshakes.done
    assert handshakes.seen == {*site.edge_serials, *site.pool_serials}, "not all were in force"
    settled(proxy)
    check_served(site, wrk_report.requests + plain.done, proxy.generation())
    check_flat("descriptors", reloads.fds, FDS_GROWTH)
    if not is_sanitized():
        check_flat("resident bytes", reloads.rss, RSS_GROWTH_BYTES)
    third = len(reloads.rss) // 3
    return {"applied": reloads.applied, "refused": reloads.refused, "seconds": round(took, 1),
            "per_s": round(number / took, 2), "requests": wrk_report.requests,
            "streams": [plain.done, sealed.done],
            "bytes_compared": plain.bytes + sealed.bytes + handshakes.bytes,
            "handshakes": handshakes.done, "resumed": handshakes.resumed,
            "in_generations": reloads.in_generations,
            "rss_kib": [x // 1024 for x in (reloads.rss[0], reloads.rss[third], reloads.rss[-1])],
            "fds": [reloads.fds[0], reloads.fds[third], reloads.fds[-1]]}


def check_served(site: Site, least: int, generations: int) -> None:
    """What the servers themselves counted has the shares, off by less than one each generation."""
    served = {name: server.state()["requests"] for name, server in site.models.items()}
    total = sum(served.values())
    assert total >= least, (served, least)
    for name, share in SHARES.items():
        assert abs(served[name] - share * total) < generations, (served, generations)
    aborted = [server.state()["aborted"] for server in site.models.values()]
    assert sum(aborted) <= CONNECTIONS and site.sealed.state()["aborted"] == 0, "wrk's own at most"
