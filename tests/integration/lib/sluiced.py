# SPDX-License-Identifier: Apache-2.0
"""sluiced as a child process: its file, its log events, its admin interface."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import yaml

from lib.fetch import Answer, fetch
from lib.process import Process
from lib.wait import wait_until

ROOT = Path(__file__).resolve().parents[3]
SANITIZER = re.compile(r"ERROR: (Address|Leak|Thread|Memory)Sanitizer|WARNING: ThreadSanitizer"
                       r"|runtime error: ")
SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*(?:\{.*\})?) (\S+)(?: \d+)?$")


def binary() -> str:
    """Path of the program under test: $SLUICED or build/release/sluiced. Missing is an error."""
    path = os.environ.get("SLUICED") or str(ROOT / "build" / "release" / "sluiced")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"{path}: no such program; build it, or name it in $SLUICED")
    return path


def run_cli(*args: str, deadline_s: float = 20.0) -> Process:
    """Runs a verb of sluiced to its end."""
    process = Process([binary(), *args])
    try:
        process.wait(deadline_s)
    finally:
        process.kill()
    return process


class Sluiced:
    """One running proxy. Ports come from the kernel and are learned from its log."""

    def __init__(self, directory: Path, conf: Union[str, Dict[str, Any]],
                 path: Optional[Path] = None, ready: bool = True,
                 env: Optional[Dict[str, str]] = None, wrap: Sequence[str] = (),
                 pass_fds: Sequence[int] = ()) -> None:
        """wrap: a command that the command to run is appended to."""
        self.directory = directory
        self.path = path or directory / "sluiced.yaml"
        self.stopped = False
        if path is None:
            self.write_config(conf)
        self.process = Process([*wrap, binary(), "run", "-c", str(self.path)], cwd=str(directory),
                               env=env, pass_fds=pass_fds)
        if ready:
            self.wait_ready()

    # -- the file ------------------------------------------------------------------------------

    def write_config(self, conf: Union[str, Dict[str, Any]]) -> None:
        """Replaces the file in one step, by rename."""
        text = conf if isinstance(conf, str) else yaml.safe_dump(conf, sort_keys=False)
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_text(text)
        os.replace(fresh, self.path)

    def generation(self) -> int:
        """Number of the configuration in force."""
        return int(self.status()["generation"])

    def reload(self, conf: Union[None, str, Dict[str, Any]] = None) -> bool:
        """Writes conf if given, sends SIGHUP, waits for the outcome: False when it was refused."""
        before, failures = self.generation(), len(self.events("reload_failed"))
        if conf is not None:
            self.write_config(conf)
        self.process.signal(signal.SIGHUP)
        return self.wait_reloaded(before, failures)

    def wait_reloaded(self, before: int, failures: int = 0, deadline_s: float = 10.0) -> bool:
        """Waits until the generation passed before, or one more reload was refused."""
        def outcome() -> str:
            if self.generation() > before:
                return "applied"
            return "refused" if len(self.events("reload_failed")) > failures else ""
        return wait_until(outcome, deadline_s, "the reload to end", self.log) == "applied"

    # -- the log -------------------------------------------------------------------------------

    def lines(self) -> List[Dict[str, Any]]:
        """All log lines that are JSON objects, from both outputs."""
        parsed = []
        for line in [*self.process.stderr, *self.process.stdout]:
            if line.startswith("{"):
                try:
                    parsed.append(json.loads(line))
                except ValueError as error:
                    raise AssertionError(f"a log line is not JSON: {line!r}") from error
        return parsed

    def events(self, name: str) -> List[Dict[str, Any]]:
        """All log lines of one event."""
        return [line for line in self.lines() if line.get("event") == name]

    def access_log(self, count: int = 1, deadline_s: float = 5.0) -> List[Dict[str, Any]]:
        """The access log, once it has at least count lines."""
        def find() -> List[Dict[str, Any]]:
            found = [line for line in self.lines() if "reason" in line and "method" in line]
            return found if len(found) >= count else []
        return wait_until(find, deadline_s, f"{count} access log lines", self.log)

    def address(self, name: str) -> str:
        """Address of a listener ("admin" and "probes" too), the last one that was announced."""
        def find() -> Optional[str]:
            for event in reversed(self.events("listening")):
                if event.get("listener") == name:
                    return str(event["address"])
            assert self.process.running(), self.log()
            return None
        return str(wait_until(find, 10, f"listener {name!r}", self.log))

    def url(self, name: str = "edge") -> str:
        """http:// URL of a listener."""
        return f"http://{self.address(name)}"

    def log(self) -> str:
        """File and output, for a failure report."""
        text = self.path.read_text() if self.path.exists() else "(no file)"
        return f"{self.process.log()}\n--- {self.path}\n{text}"

    # -- admin ---------------------------------------------------------------------------------

    def admin(self, path: str, method: str = "GET", body: Optional[bytes] = None) -> Answer:
        """A request to the admin listener."""
        return fetch(self.address("admin"), path, method, body)

    def get(self, path: str, **options: Any) -> Answer:
        """A request through the proxy, on a connection of its own."""
        return fetch(self.address("edge"), path, **options)

    def status(self) -> Dict[str, Any]:
        """GET /status."""
        answer = self.admin("/status")
        assert answer.status == 200, answer
        return answer.json()

    def metrics(self) -> Dict[str, float]:
        """GET /metrics as {"name{labels}": value}."""
        answer = self.admin("/metrics")
        assert answer.status == 200, answer
        return parse_metrics(answer.body.decode())

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that carry these labels; 0 where there is none."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(value for sample, value in self.metrics().items()
                   if sample.partition("{")[0] == name and all(w in sample for w in wanted))

    def sides(self, route: str, listener: str = "edge") -> Dict[str, int]:
        """Decisions of this generation for each pool of a route's split."""
        for one in named(self.status()["listeners"], listener)["routes"]:
            if one["name"] == route:
                return {side["pool"]: side["picked"] for side in one["split"]}
        raise AssertionError(f"no route {route!r} in {self.status()}")

    def endpoint(self, pool: str, address: str) -> Dict[str, Any]:
        """What /status says of one endpoint."""
        for one in named(self.status()["pools"], pool)["endpoints"]:
            if one["address"] == address:
                return one
        raise AssertionError(f"no endpoint {address} in pool {pool}: {self.status()}")

    def wait_health(self, pool: str, address: str, health: str, deadline_s: float = 10.0) -> None:
        """Waits until a probe has said "up" or "down" of an endpoint."""
        wait_until(lambda: self.endpoint(pool, address)["health"] == health, deadline_s,
                   f"{address} to be {health}", self.status)

    def wait_ready(self, deadline_s: float = 15.0) -> None:
        """Waits until /readyz says yes."""
        def ready() -> bool:
            assert self.process.running(), self.log()
            return self.admin("/readyz").status == 200
        wait_until(ready, deadline_s, "sluiced to be ready", self.log)

    # -- the end -------------------------------------------------------------------------------

    def stop(self, deadline_s: float = 30.0) -> None:
        """SIGTERM; it must end by itself, with code 0 and nothing from a sanitizer."""
        if self.stopped:
            return
        self.stopped = True
        try:
            if self.process.running():
                self.process.signal(signal.SIGTERM)
            code = self.process.wait(deadline_s)
        finally:
            self.process.kill()
        self.check_sanitizers()
        assert code == 0, f"sluiced ended with code {code}\n{self.log()}"

    def check_sanitizers(self) -> None:
        """Fails when a sanitizer wrote anything."""
        bad = [line for line in self.process.stderr if SANITIZER.search(line)]
        assert not bad, f"{bad[0]}\n{self.log()}"


def named(items: List[Dict[str, Any]], name: str) -> Dict[str, Any]:
    """The item of a list that has this name."""
    for item in items:
        if item["name"] == name:
            return item
    raise AssertionError(f"no {name!r} in {items}")


def parse_metrics(text: str) -> Dict[str, float]:
    """Parses the text exposition; any line that is neither comment nor sample is an error."""
    samples: Dict[str, float] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, f"not a metrics line: {line!r}"
        assert match.group(1) not in samples, f"twice in one scrape: {line!r}"
        samples[match.group(1)] = float(match.group(2))
    return samples
