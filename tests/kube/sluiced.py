# SPDX-License-Identifier: Apache-2.0
"""The binary under test: started with a config, asked over its admin listener, ended by SIGTERM."""

import json
import re
import signal
import time

import httpx
import yaml
from mount import Mount
from process import Process, eventually

LOCAL = "127.0.0.1:0"


def route(pool=None, **target):
    """The list of routes with one, of everything to a pool, or to a split."""
    target = {"pool": pool} if pool else target
    return [{"name": "all", "match": {"path": "/"}, **target}]


class Sluiced:
    """A running sluiced. Its config lies in a directory written like a mounted ConfigMap.

    `pools` goes into the config as it is; `routes` (default: everything to the only pool) makes a
    plain HTTP listener "edge"; other sections are given by name. All ports are the kernel's choice
    and read from the log.
    """

    def __init__(self, binary, directory, environment, *, kubernetes, **config):
        self.kubernetes = kubernetes
        self.mount = Mount(directory, {"sluiced.yaml": self._text(**config)})
        log = self.mount.directory.parent / f"{self.mount.directory.name}.log"
        command = [binary, "run", "-c", self.mount / "sluiced.yaml"]
        self.process = Process("sluiced", command, log, env=environment)

    def _text(self, pools, routes=None, **sections):
        if "listeners" not in sections:
            routes = routes or route(next(iter(pools)))
            sections["listeners"] = [{"name": "edge", "bind": LOCAL, "http": {"routes": routes}}]
        document = {
            "admin": {"listen": LOCAL, "probes": LOCAL},
            "drain": {"delay": "0s", "timeout": "10s"},
            "kubernetes": self.kubernetes,
            "pools": pools,
            **sections,
        }
        return yaml.safe_dump(
            {key: value for key, value in document.items() if value}, sort_keys=False
        )

    def configure(self, **config):
        """Writes another config the way a kubelet does. It is in force when status() has another
        generation.
        """
        self.mount.write({"sluiced.yaml": self._text(**config)})

    def reconfigure(self, timeout=10, **config):
        """Writes another config and waits until it is in force."""
        before = self.status()["generation"]
        self.configure(**config)
        eventually(lambda: self.status()["generation"] > before, "no new generation", timeout)

    # ---- What it says

    def events(self, name=None):
        """The log records so far, all or those of one event."""
        records = []
        for line in self.process.log.read_text(errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # not a log record: a sanitizer's report
            if name is None or record.get("event") == name:
                records.append(record)
        return records

    def address(self, listener="edge"):
        """IP:PORT of a listener, or of "admin" or "probes"; None while it is not bound."""
        for record in self.events("listening"):
            if record["listener"] == listener:
                return record["address"]
        return None

    def wait_listening(self, timeout=10):
        """Waits until the admin listener and the listeners of the config are bound."""

        def listening():
            assert self.process.running(), f"sluiced has ended; {self.process.tail()}"
            config = yaml.safe_load((self.mount / "sluiced.yaml").read_text())
            names = ["admin", "probes", *(listener["name"] for listener in config["listeners"])]
            return all(self.address(name) for name in names)

        eventually(listening, self.process.tail, timeout)

    def url(self, path="", listener="edge", scheme="http"):
        """URL of a path at a listener."""
        return f"{scheme}://{self.address(listener)}{path}"

    def admin(self, path):
        """Text of an admin page."""
        response = httpx.get(self.url(path, "admin"), timeout=5, trust_env=False)
        response.raise_for_status()
        return response.text

    def status(self):
        """GET /status."""
        return json.loads(self.admin("/status"))

    def pool(self, name):
        """The status of one pool."""
        return next(pool for pool in self.status()["pools"] if pool["name"] == name)

    def addresses(self, pool):
        """ADDRESS:PORT of the endpoints of a pool that take new requests."""
        return {e["address"] for e in self.pool(pool)["endpoints"] if not e["draining"]}

    def wait_endpoints(self, pool, pods, timeout=10):
        """Waits until the endpoints of a pool that take new requests are those of the pods."""
        wanted = {pod.address for pod in pods}

        def same():
            state = self.pool(pool)
            found = self.addresses(pool)
            assert state["discovery"]["synced"] and found == wanted, f"synced {state['discovery']['synced']}, {sorted(found)}"
            return True

        eventually(
            same, lambda: f"pool {pool} has {sorted(wanted)}; {self.process.tail(10)}", timeout
        )

    def metric(self, name, **labels):
        """Sum of the samples of a metric that have the labels; None when there is none."""
        total = None
        for line in self.admin("/metrics").splitlines():
            match = re.match(rf"{re.escape(name)}(?:{{(.*)}})? (\S+)", line)
            if match:
                found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[1] or ""))
                if labels.items() <= found.items():
                    total = (total or 0) + float(match[2])
        return total

    def ready(self):
        """True when the probe listener says ready."""
        return (
            httpx.get(self.url("/readyz", "probes"), timeout=5, trust_env=False).status_code == 200
        )

    # ---- Requests through it

    def served_by(self, count, path="/v1/models", **request):
        """Sends so many requests, one after the other; returns which address served how many. All
        must succeed.
        """
        served = {}
        with httpx.Client(base_url=self.url(), timeout=10, trust_env=False) as client:
            for _ in range(count):
                response = client.get(path, **request)
                assert response.status_code == 200, f"{response.status_code} {response.text}"
                address = response.headers["x-served-by"]
                served[address] = served.get(address, 0) + 1
        return served

    def stop(self):
        """SIGTERM; returns the exit code."""
        started = time.monotonic()
        code = self.process.stop(signal.SIGTERM, timeout=20)
        assert time.monotonic() - started < 20, f"sluiced did not end; {self.process.tail()}"
        return code
