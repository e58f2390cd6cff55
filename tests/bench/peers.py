# SPDX-License-Identifier: Apache-2.0
"""The proxies that are compared: each configured alike, one worker or thread, on one core."""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from machine import HERE, ROOT, output, pinned

PROXY_CORE = 0
STANDING_PORT, PASSING_PORT = 8000, 8500  # of peers that are up all the time, and for one case only
TCP_UPSTREAMS = [f"127.0.0.1:{port}" for port in (9001, 9002, 9003, 9004)]


class Place(NamedTuple):
    """Where the peers of a session run, and before which upstreams."""

    run: Path
    unix_upstream: str
    upstreams: List[str]


class Peer:
    """One running proxy. listen and listen_unix: the listener before each kind of upstream."""

    template = ""

    def __init__(self, name: str, program: List[str], port: int, place: Place) -> None:
        self.name = name
        self.program = program
        self.place = place
        self.listen = f"127.0.0.1:{port}"
        self.listen_unix = f"127.0.0.1:{port + 1}"
        self.admin = f"127.0.0.1:{port + 2}"
        self.run = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place.run))
        self.run.chmod(0o755)  # a worker may be another user
        self.process: Optional["subprocess.Popen[bytes]"] = None

    def servers(self) -> str:
        """The upstreams, as the configuration writes them."""
        raise NotImplementedError

    def argv(self, config: str) -> List[str]:
        """How it is started."""
        raise NotImplementedError

    def version(self) -> str:
        """Name and version."""
        raise NotImplementedError

    def found_version(self, pattern: str, option: str) -> str:
        """Name and version, from what the program itself prints."""
        found = re.search(pattern, output(*self.program, option))
        return f"{self.name} {found.group(1) if found else '?'}"

    def config(self) -> str:
        """The text of its configuration."""
        text = (HERE / "conf" / self.template).read_text()
        for name, value in (("LISTEN_UNIX", self.listen_unix), ("LISTEN", self.listen),
                            ("UPSTREAM_UNIX", self.place.unix_upstream), ("ADMIN", self.admin),
                            ("SERVERS", self.servers()), ("RUN", str(self.run))):
            text = text.replace(f"@{name}@", value)
        return text

    def start(self) -> None:
        """Runs it; returns once it answers."""
        path = self.run / (self.template or "config.json")
        path.write_text(self.config())
        log = self.run / "log"
        with open(log, "wb") as out:
            self.process = pinned(self.argv(str(path)), PROXY_CORE, stdout=out, stderr=out)
        for address in (self.listen, self.listen_unix):
            end = time.monotonic() + 20
            while not answers(f"http://{address}/bytes/16"):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"bench: {self.name} does not serve\n{log.read_text()}")
                time.sleep(0.05)

    def pids(self) -> List[int]:
        """All its processes."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def worker(self) -> int:
        """The process that carries the traffic."""
        return self.pids()[-1]

    def memory_kib(self, what: str) -> int:
        """Of all its processes: "Pss", in which shared pages count in parts, or "Anonymous"."""
        total = 0
        for pid in self.pids():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(rf"^{what}:\s+(\d+) kB", text, re.M).group(1))  # type: ignore
        return total

    def stop(self) -> None:
        """Ends it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Sluiced(Peer):
    """Ours."""

    template = "sluiced.yaml"

    def servers(self) -> str:
        return ", ".join(f'"{address}"' for address in self.place.upstreams)

    def argv(self, config: str) -> List[str]:
        return [*self.program, "run", "-c", config]

    def version(self) -> str:
        words = output(*self.program, "version").splitlines()[0].split()
        built = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(os.path.getmtime(self.program[0])))
        tree = ""
        if Path(self.program[0]).is_relative_to(ROOT):
            tree = f", tree now {output('git', '-C', str(ROOT), 'describe', '--always', '--dirty').strip()}"
        return " ".join([self.name, *words[1:]]) + f" (built {built}{tree})"


class Haproxy(Peer):
    """HAProxy."""

    template = "haproxy.cfg"

    def servers(self) -> str:
        return "\n".join(f"    server s{i} {a}" for i, a in enumerate(self.place.upstreams))

    def argv(self, config: str) -> List[str]:
        return [*self.program, "-db", "-f", config]

    def version(self) -> str:
        return self.found_version(r"version (\d[\d.]*)", "-v")


class Nginx(Peer):
    """nginx: a master that does nothing and one worker."""

    template = "nginx.conf"

    def servers(self) -> str:
        return "\n".join(f"    server {address};" for address in self.place.upstreams)

    def argv(self, config: str) -> List[str]:
        return [*self.program, "-p", str(self.run), "-e", str(self.run / "nginx.err"), "-c", config]

    def version(self) -> str:
        return self.found_version(r"nginx/(\d[\d.]*)", "-v")


class Envoy(Peer):
    """Envoy, from its Python wheel."""

    def servers(self) -> str:
        return ""

    def argv(self, config: str) -> List[str]:
        return [*self.program, "-c", config, "--concurrency", "1", "--disable-hot-restart",
                "-l", "error"]

    def version(self) -> str:
        return self.found_version(r"/(\d+\.\d+\.\d+)[-/]", "--version")

    def config(self) -> str:
        def tcp(address: str) -> Dict[str, Any]:
            host, _, port = address.rpartition(":")
            return {"socket_address": {"address": host, "port_value": int(port)}}

        pipe = {"pipe": {"path": self.place.unix_upstream}}
        return json.dumps({"static_resources": {
            "listeners": [envoy_listener(tcp(self.listen), "tcp"),
                          envoy_listener(tcp(self.listen_unix), "unix")],
            "clusters": [envoy_cluster("tcp", [tcp(a) for a in self.place.upstreams]),
                         envoy_cluster("unix", [pipe])]}})


def envoy_type(name: str, **fields: Any) -> Dict[str, Any]:
    """A filter of a type, with its typed_config."""
    kind = "type.googleapis.com/envoy.extensions.filters." + name
    return {"name": name, "typed_config": {"@type": kind, **fields}}


def envoy_listener(address: Dict[str, Any], cluster: str) -> Dict[str, Any]:
    """A listener that sends all to one cluster."""
    router = envoy_type("http.router.v3.Router", suppress_envoy_headers=True)
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    manager = envoy_type(
        "network.http_connection_manager.v3.HttpConnectionManager", stat_prefix=cluster,
        codec_type="HTTP1", generate_request_id=False, stream_idle_timeout="300s",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        http_filters=[router])
    return {"name": cluster, "address": address, "filter_chains": [{"filters": [manager]}]}


def envoy_cluster(name: str, addresses: List[Dict[str, Any]]) -> Dict[str, Any]:
    """A cluster without limits."""
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    many = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {"name": name, "type": "STATIC", "lb_policy": "LEAST_REQUEST", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [many]},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}}


def answers(url: str) -> bool:
    """Whether a GET gets its 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


KINDS = {"haproxy": Haproxy, "nginx": Nginx, "envoy": Envoy}


@contextlib.contextmanager
def fleet(programs: Dict[str, List[str]], place: Place, port: int) -> Iterator[List[Peer]]:
    """All programs, running; those of another name than the peers' are builds of sluiced."""
    peers: List[Peer] = []
    try:
        for i, (name, program) in enumerate(programs.items()):
            peers.append(KINDS.get(name, Sluiced)(name, program, port + 10 * i, place))
            peers[-1].start()
        yield peers
    finally:
        for peer in peers:
            peer.stop()
