# SPDX-License-Identifier: Apache-2.0
"""The proxies, each configured as its own documentation recommends for health checks and retries, with
the same timeouts.

All pick by the requests that run at each pod, and repeat for the client what is idempotent; a POST only as
far as nothing of it was sent. Beyond what the documentation of each recommends, HAProxy redispatches at each
retry and not at the last only, and Envoy may eject half of the pods and not a tenth, which of five is none, and
takes the word of discovery for a pod that is gone, without checks until they fail.
"""

import csv
import io
import json
import os
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Optional

from lib.sluiced import Sluiced as Process
from lib.wait import wait_until

CONNECT_S, SILENCE_S = 1, 2  # to connect; for the first byte, and between two
CHECK_S, CHECK_TIMEOUT_S, FALL_N, RISE_N = 2, 1, 3, 2
LISTEN = "127.0.0.1:8080"
ADMIN = "127.0.0.1:9901"


class Proxy:
    """One running proxy."""

    name = ""
    address = LISTEN

    def __init__(self, program: List[str], directory: Path, pods: List[str]) -> None:
        self.program = program
        self.directory = directory
        self.pods = pods
        self.process: Optional["subprocess.Popen[bytes]"] = None
        directory.mkdir(parents=True, exist_ok=True)

    def config(self) -> str:
        """The text of its configuration."""
        raise NotImplementedError

    def argv(self, path: Path) -> List[str]:
        """How it is started."""
        raise NotImplementedError

    def picks(self) -> Dict[str, int]:
        """How often each pod was picked: sent to, or tried in vain."""
        raise NotImplementedError

    def retries(self) -> int:
        """How often a request was tried again."""
        raise NotImplementedError

    def name_pods(self, pods: List[str]) -> None:
        """What discovery says now."""
        raise NotImplementedError

    def named_n(self) -> int:
        """How many pods it knows by discovery."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it has begun, and knows of all pods that they are well."""
        raise NotImplementedError

    def start(self) -> None:
        """Returns once it is ready."""
        path = self.directory / "config"
        path.write_text(self.config())
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(self.argv(path), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.is_ready, 20, f"{self.name} to be ready", self.log)

    def log(self) -> str:
        """What it wrote."""
        return (self.directory / "log").read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Sluiced(Proxy):
    """Ours: what is not said here is a default."""

    name = "sluiced"

    def config(self) -> str:
        return json.dumps({
            "workers": 1,
            "admin": {"listen": ADMIN},
            "log": {"access": "off"},
            "drain": {"delay": "0s", "timeout": "1s"},
            "listeners": [{"name": "edge", "bind": LISTEN, "http": {"routes": [{"name": "all", "pool": "pods"}]}}],
            "pools": {"pods": {
                "discover": {"file": str(self.directory / "pods.json")},
                "health": {"http": "/health"},
                "timeouts": {"connect": f"{CONNECT_S}s", "first_byte": f"{SILENCE_S}s",
                             "inter_byte": f"{SILENCE_S}s"}}}})

    def start(self) -> None:
        self.name_pods(self.pods)
        self.sluiced = Process(self.directory, self.config())
        wait_until(self.is_ready, 20, "sluiced to be ready", self.sluiced.log)

    def log(self) -> str:
        return self.sluiced.log()

    def _of_pods(self, name: str) -> Dict[str, int]:
        found = {}
        for sample, value in self.sluiced.metrics().items():
            if sample.startswith(name + "{"):
                found[sample.partition('endpoint="')[2].partition('"')[0]] = int(value)
        return found

    def picks(self) -> Dict[str, int]:
        return self._of_pods("sluiced_endpoint_requests_total")

    def named_n(self) -> int:
        return len(self.sluiced.status()["pools"][0]["endpoints"])

    def is_ready(self) -> bool:
        return sum(self._of_pods("sluiced_endpoint_healthy").values()) == len(self.pods)

    def retries(self) -> int:
        return int(self.sluiced.metric("sluiced_pool_retries_total"))

    def name_pods(self, pods: List[str]) -> None:
        fresh = self.directory / "pods.new"
        fresh.write_text(json.dumps({"endpoints": pods}))
        os.replace(fresh, self.directory / "pods.json")

    def stop(self) -> None:
        self.sluiced.stop()


class Haproxy(Proxy):
    """HAProxy: active checks, passive ones beside them, and what its manual says of retry-on."""

    name = "haproxy"

    def config(self) -> str:
        servers = "\n".join(f"    server {address} {address}" for address in self.pods)
        return f"""
global
    nbthread 1
    maxconn 4000
    stats socket {self.directory}/admin.sock mode 600 level admin
defaults
    mode http
    timeout connect {CONNECT_S}s
    timeout server {SILENCE_S}s
    timeout client 60s
    timeout check {CHECK_TIMEOUT_S}s
    timeout queue 5s
    option http-no-delay
frontend edge
    bind {LISTEN}
    default_backend pods
backend pods
    balance leastconn
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response response-timeout 0rtt-rejected
    http-request disable-l7-retry unless METH_GET
    option httpchk GET /health
    default-server check inter {CHECK_S}s fall {FALL_N} rise {RISE_N} observe layer7 error-limit 10 on-error mark-down
{servers}
"""

    def argv(self, path: Path) -> List[str]:
        return [*self.program, "-db", "-f", str(path)]

    def _ask(self, order: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(str(self.directory / "admin.sock"))
            admin.sendall(order.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def _rows(self) -> Dict[str, Dict[str, str]]:
        rows = csv.DictReader(io.StringIO(self._ask("show stat").lstrip("# ")))
        return {row["svname"]: row for row in rows if row["pxname"] == "pods"}

    def picks(self) -> Dict[str, int]:
        return {name: int(row["lbtot"]) + int(row["wretr"]) for name, row in self._rows().items()
                if name != "BACKEND"}

    def retries(self) -> int:
        row = self._rows()["BACKEND"]
        return int(row["wretr"]) + int(row["wredis"])

    def named_n(self) -> int:
        return sum(row["status"] != "MAINT" for name, row in self._rows().items() if name != "BACKEND")

    def is_ready(self) -> bool:
        rows = self._rows()
        return all(rows[pod]["check_status"] == "L7OK" for pod in self.pods)

    def name_pods(self, pods: List[str]) -> None:
        for pod in self.pods:
            self._ask(f"set server pods/{pod} state {'ready' if pod in pods else 'maint'}")


def typed(kind: str, **fields: Any) -> Dict[str, Any]:
    """An extension of Envoy's."""
    return {"name": kind, "typed_config": {"@type": "type.googleapis.com/envoy.extensions." + kind, **fields}}


class Envoy(Proxy):
    """Envoy: active checks, outlier detection, retries within a budget and at another host."""

    name = "envoy"

    def config(self) -> str:
        host, _, port = LISTEN.rpartition(":")
        admin, _, admin_port = ADMIN.rpartition(":")
        unsent = "connect-failure,refused-stream,reset-before-request"
        get = {"name": ":method", "string_match": {"exact": "GET"}}
        manager = typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager", stat_prefix="edge",
            stream_idle_timeout="60s", generate_request_id=False,
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/", "headers": [get]}, "route": self.route("gateway-error,reset," + unsent)},
                {"match": {"prefix": "/"}, "route": self.route(unsent)}]}]},
            http_filters=[typed("filters.http.router.v3.Router")])
        return json.dumps({
            "node": {"id": "chaos", "cluster": "chaos"},
            "admin": {"address": {"socket_address": {"address": admin, "port_value": int(admin_port)}}},
            "static_resources": {
                "listeners": [{
                    "name": "edge", "address": {"socket_address": {"address": host, "port_value": int(port)}},
                    "filter_chains": [{"filters": [manager]}]}],
                "clusters": [self.cluster()]}})

    @staticmethod
    def route(retry_on: str) -> Dict[str, Any]:
        """To the pods; what is repeated."""
        previous = typed("retry.host.previous_hosts.v3.PreviousHostsPredicate")
        return {"cluster": "pods", "timeout": "0s", "retry_policy": {
            "retry_on": retry_on, "num_retries": 3, "per_try_idle_timeout": f"{SILENCE_S}s",
            "retry_host_predicate": [previous], "host_selection_retry_max_attempts": 5}}

    def cluster(self) -> Dict[str, Any]:
        """The pods."""
        budget = {"budget_percent": {"value": 20}, "min_retry_concurrency": 3}
        return {
            "name": "pods", "type": "EDS", "lb_policy": "LEAST_REQUEST", "connect_timeout": f"{CONNECT_S}s",
            "eds_cluster_config": {"eds_config": {
                "resource_api_version": "V3", "path_config_source": {"path": str(self.directory / "pods.json")}}},
            "health_checks": [{
                "timeout": f"{CHECK_TIMEOUT_S}s", "interval": f"{CHECK_S}s", "unhealthy_threshold": FALL_N,
                "healthy_threshold": RISE_N, "http_health_check": {"path": "/health"}}],
            "ignore_health_on_host_removal": True, "outlier_detection": {"max_ejection_percent": 50},
            "circuit_breakers": {"thresholds": [{"retry_budget": budget}]}}

    def argv(self, path: Path) -> List[str]:
        return [*self.program, "--config-path", str(path), "--concurrency", "1", "--disable-hot-restart",
                "-l", "error"]

    def start(self) -> None:
        self.name_pods(self.pods)
        super().start()

    @staticmethod
    def _ask(path: str) -> bytes:
        with urllib.request.urlopen(f"http://{ADMIN}{path}", timeout=5) as answer:
            return answer.read()

    def _hosts(self) -> Dict[str, Dict[str, Any]]:
        clusters = json.loads(self._ask("/clusters?format=json"))["cluster_statuses"]
        found = {}
        for host in clusters[0].get("host_statuses", []):
            place = host["address"]["socket_address"]
            found[f"{place['address']}:{place['port_value']}"] = host
        return found

    def picks(self) -> Dict[str, int]:
        found = {}
        for address, host in self._hosts().items():
            stats = {one["name"]: int(one.get("value", 0)) for one in host["stats"]}
            found[address] = stats["rq_total"] + stats["cx_connect_fail"]
        return found

    def named_n(self) -> int:
        return len(self._hosts())

    def is_ready(self) -> bool:
        hosts = self._hosts().values()
        return len(hosts) == len(self.pods) and not any(
            host["health_status"].get("failed_active_health_check") for host in hosts)

    def retries(self) -> int:
        text = self._ask("/stats?filter=^cluster.pods.upstream_rq_retry$").decode()
        return int(text.rpartition(":")[2])

    def name_pods(self, pods: List[str]) -> None:
        endpoints = []
        for pod in pods:
            host, _, port = pod.rpartition(":")
            endpoints.append({"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}})
        fresh = self.directory / "pods.new"
        fresh.write_text(json.dumps({"resources": [{
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "pods", "endpoints": [{"lb_endpoints": endpoints}]}]}))
        os.replace(fresh, self.directory / "pods.json")


KINDS = {kind.name: kind for kind in (Sluiced, Haproxy, Envoy)}
