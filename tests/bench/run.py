#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares sluiced with other proxies: CPU, latency, memory. Adds a table to RESULTS.md.

Each proxy has one worker on core 0; the load generator and the upstream share core 1. All are up
during the whole session and are measured in turn, in an order that rotates from round to round; a
ratio is the median of the ratios of each round, because the machine changes more slowly than that.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from peers import LOAD_CORE, PEERS, ROOT, TCP_UPSTREAMS, Peer, install, output, pinned

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("BENCH_BUILD") or ROOT / "build" / "bench")
BIG = 10 << 20
IN_NAMESPACE = "SLUICED_BENCH_NAMESPACE"
Result = Dict[str, float]


class Case(NamedTuple):
    """A load, and what is read from its result. direct: measured without a proxy as well."""

    name: str
    load: List[str]
    rows: Dict[str, Callable[[Result, Result], float]]
    unix: bool = False
    direct: bool = False


def per_request_us(r: Result, _direct: Result) -> float:
    """CPU time of a request."""
    return r["cpu_ns"] / r["done"] / 1e3


def added(percentile: str) -> Callable[[Result, Result], float]:
    """What the proxy adds to a percentile."""
    return lambda r, direct: r[percentile] - direct[percentile]


def stream_case(streams: int) -> Case:
    """Event streams of 20 tokens a second."""
    return Case(f"{streams} streams, 20 tokens/s each",
                ["mode=sse", f"conns={streams}", "path=/sse/20/1000000", "warm_ms=1500"],
                {"CPU ms / 1 000 tokens": lambda r, _: r["cpu_ns"] / r["done"] / 1e3,
                 "added p50 us": added("p50_us"), "added p99 us": added("p99_us")}, direct=True)


CASES = [
    Case("1 KiB keep-alive, 64 connections, saturated", ["mode=closed", "conns=64"],
         {"CPU us/request": per_request_us,
          "user us/request": lambda r, _: r["user_ticks"] * 1e4 / r["done"],
          "requests/s": lambda r, _: r["done"] / r["took_ns"] * 1e9,
          "p50 us": lambda r, _: r["p50_us"], "p99 us": lambda r, _: r["p99_us"]}),
    Case("1 KiB, 5 000 requests/s", ["mode=open", "conns=64", "rate=5000"],
         {"CPU us/request": per_request_us, "added p50 us": added("p50_us"),
          "added p99 us": added("p99_us")}, direct=True),
    Case("1 KiB, unix upstream, saturated", ["mode=closed", "conns=64"],
         {"CPU us/request": per_request_us,
          "requests/s": lambda r, _: r["done"] / r["took_ns"] * 1e9}, unix=True),
    Case("a new connection each request", ["mode=connect", "conns=32"],
         {"CPU us/request": per_request_us}),
    stream_case(200),
    Case("10 MiB down, 4 connections", ["mode=closed", "conns=4", f"path=/bytes/{BIG}"],
         {"CPU ms/GiB": lambda r, _: r["cpu_ns"] / 1e6 / (r["bytes"] / (1 << 30))}),
    Case("10 MiB up, 4 connections", ["mode=closed", "conns=4", "path=/bytes/16", f"body={BIG}"],
         {"CPU ms/GiB": lambda r, _: r["cpu_ns"] / 1e6 / (r["done"] * BIG / (1 << 30))}),
]
IDLE_CONNS = 5000
DISTURBED = 0.08  # of a core used by others: measure again


def compile_tools() -> None:
    """Builds the load generator and the upstream."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("load", "backend"):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=c11", "-D_GNU_SOURCE", "-Wall",
                        "-Wextra", "-o", str(BUILD / name), str(HERE / f"{name}.c"), "-lm"],
                       check=True)


def run_load(*args: str) -> Result:
    """One measurement; a single error in it ends the session, because its figures are worth nothing."""
    with pinned([str(BUILD / "load"), *args], LOAD_CORE, stdout=subprocess.PIPE) as child:
        text = (child.communicate(timeout=180)[0] or b"").decode()
    if child.returncode != 0:
        raise SystemExit(f"bench: load {' '.join(args)} failed")
    result: Result = json.loads(text.splitlines()[-1])
    if result["errors"] or result["late"]:
        raise SystemExit(f"bench: load {' '.join(args)}: errors in {text}")
    return result


def measure_memory(peer: Peer) -> Dict[str, float]:
    """At rest, and what an idle keep-alive connection costs."""
    rest = peer.pss_kib()
    argv = [str(BUILD / "load"), "mode=idle", f"addr={peer.listen}", f"conns={IDLE_CONNS}", "ms=700"]
    with pinned(argv, LOAD_CORE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        if child.stdout.readline() != b"holding\n":
            raise SystemExit(f"bench: {peer.name} does not hold {IDLE_CONNS} connections")
        held = peer.pss_kib()
    return {"at rest, MiB": rest / 1024, "idle connection, KiB": (held - rest) / IDLE_CONNS}


class Table:
    """Values of each row and peer, one a round."""

    def __init__(self, peers: List[str]) -> None:
        self.peers = peers
        self.rows: Dict[str, Dict[str, List[float]]] = {}

    def add(self, row: str, peer: str, value: float) -> None:
        """One value, of the round that runs."""
        self.rows.setdefault(row, {}).setdefault(peer, []).append(value)

    def lines(self) -> List[str]:
        """As Markdown."""
        own, others = self.peers[0], self.peers[1:]
        head = ["", *self.peers, *(f"{own} / {other}" for other in others)]
        out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for row, values in self.rows.items():
            cells = [number(statistics.median(values[peer])) for peer in self.peers]
            for other in others:
                pairs = list(zip(values[own], values[other]))
                # Tails, and what noise takes below zero, have no ratio that says anything.
                sound = "p99" not in row and all(a > 0 and b > 0 for a, b in pairs)
                ratio = statistics.median(a / b for a, b in pairs) if sound else 0.0
                cells.append(f"**{ratio:.2f}**" if sound else "-")
            out.append("| " + " | ".join([row, *cells]) + " |")
        return out


def number(value: float) -> str:
    """Three digits are what a measurement here is worth."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


class Quiet:
    """Measures again what others on the machine disturbed, as long as there is time for that."""

    def __init__(self, pids: List[int], again: int) -> None:
        self.pids = pids
        self.again = again
        self.foreign: List[float] = []  # cores used by others, of each measurement that counts

    def _own_s(self) -> float:
        own = os.times()
        return (own.user + own.system + own.children_user + own.children_system
                + sum(cpu_s(pid) for pid in self.pids))

    def _once(self, args: List[str]) -> Tuple[float, Result]:
        start, busy, own = time.monotonic(), busy_s(), self._own_s()
        result = run_load(*args)
        foreign = busy_s() - busy - (self._own_s() - own)
        return max(foreign, 0.0) / (time.monotonic() - start), result

    def measure(self, *args: str) -> Result:
        """The least disturbed of at most three measurements."""
        best = self._once(list(args))
        for _ in range(2):
            if best[0] <= DISTURBED or self.again == 0:
                break
            self.again -= 1
            best = min(best, self._once(list(args)), key=lambda pair: pair[0])
        self.foreign.append(best[0])
        return best[1]


def session(peers: List[Peer], cases: List[Case], rounds: int, ms: int, quiet: Quiet) -> Table:
    """All measurements."""
    table = Table([peer.name for peer in peers])
    for peer in peers:
        for row, value in measure_memory(peer).items():
            table.add(f"memory: {row}", peer.name, value)
    for turn in range(rounds):
        order = peers[turn % len(peers):] + peers[:turn % len(peers)]
        for case in cases:
            direct: Result = {}
            if case.direct:
                direct = quiet.measure(f"addr={TCP_UPSTREAMS[0]}", f"ms={ms}", *case.load)
            for peer in order:
                addr = peer.listen_unix if case.unix else peer.listen
                result = quiet.measure(f"addr={addr}", f"ms={ms}", f"pid={peer.worker()}",
                                       *case.load)
                for row, value in case.rows.items():
                    table.add(f"{case.name}: {row}", peer.name, value(result, direct))
                print(f"  {turn + 1}/{rounds} {case.name}: {peer.name} "
                      + ", ".join(f"{row} {number(table.rows[f'{case.name}: {row}'][peer.name][-1])}"
                                  for row in case.rows), flush=True)
    return table


def busy_s() -> float:
    """CPU time that anybody used since the machine started."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_model() -> str:
    """As the kernel calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def report(table: Table, peers: List[Peer], kind: str, noise: str) -> None:
    """Prints the table and appends it to RESULTS.md."""
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = "\n".join([
        f"## {today}, {kind}", "", ", ".join(peer.version() for peer in peers) + ".",
        f"Linux {platform.release()}, {cpu_model()}, {os.cpu_count()} CPUs. {noise}", "",
        *table.lines(), ""])
    print("\n" + text)
    with open(HERE / "RESULTS.md", "a", encoding="utf-8") as out:
        out.write("\n" + text)


def measure(options: argparse.Namespace, names: List[str]) -> None:
    """Starts everything, measures, reports, stops everything."""
    kind = "quick" if options.quick else "full"
    rounds, ms = (2, 1500) if options.quick else (5, 4000)
    rounds = options.rounds or rounds
    cases = [case for case in CASES if options.case in case.name]
    if not options.quick:
        cases += [case for case in [stream_case(1000)] if options.case in case.name]
    load_before = os.getloadavg()[0]
    run = Path(tempfile.mkdtemp(prefix="sluiced-bench-"))
    run.chmod(0o755)  # nginx's worker is another user
    unix = str(run / "upstream.sock")
    peers: List[Peer] = []
    backend = pinned([str(BUILD / "backend"), *TCP_UPSTREAMS, f"unix:{unix}"], LOAD_CORE,
                     stdout=subprocess.PIPE)
    try:
        assert backend.stdout is not None
        if backend.stdout.readline() != b"ready\n":
            raise SystemExit("bench: the upstream does not start")
        os.chmod(unix, 0o777)
        for i, name in enumerate(names):
            peer = PEERS[name](str(PEERS[name].find()), 8000 + 10 * i, run, unix)
            peers.append(peer)
            peer.start()
        pids = [backend.pid, *(pid for peer in peers for pid in peer.pids())]
        quiet = Quiet(pids, again=rounds * len(cases) * len(peers) // 2)
        table = session(peers, cases, rounds, ms, quiet)
    finally:
        for peer in peers:
            peer.stop()
        backend.kill()
        backend.wait()
        shutil.rmtree(run, ignore_errors=True)
    noise = (f"Load average before: {load_before:.2f}; others used {statistics.median(quiet.foreign):.2f} "
             f"of a core while it was measured (at worst {max(quiet.foreign):.2f}).")
    report(table, peers, kind, noise)


def main(argv: List[str]) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two minutes; without it a quarter of an hour")
    parser.add_argument("--peers", default="", help="haproxy,nginx,envoy (--quick: without envoy)")
    parser.add_argument("--rounds", type=int, default=0, help="how often each is measured")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    options = parser.parse_args(argv)
    if os.environ.get("FLAVOUR", "release") != "release":
        raise SystemExit("bench: only FLAVOUR=release says anything")
    if not os.sched_getaffinity(0) >= {0, 1}:
        raise SystemExit("bench: needs the cores 0 and 1")
    wanted = options.peers or ("haproxy,nginx" if options.quick else "haproxy,nginx,envoy")
    names = ["sluiced", *filter(None, wanted.split(","))]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise SystemExit(f"bench: no such peer: {', '.join(unknown)}")
    if not os.environ.get(IN_NAMESPACE):
        names = install(names)
        if "sluiced" not in names:
            raise SystemExit("bench: build sluiced first (make)")
        compile_tools()
        if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip"):
            # A network namespace of its own: no packet filter in the way, no port taken.
            os.environ[IN_NAMESPACE] = ",".join(names)
            os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
                                  sys.executable, *sys.argv])
    else:
        names = os.environ[IN_NAMESPACE].split(",")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, hard), hard))
    if os.geteuid() == 0:
        os.nice(-20)
    measure(options, names)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
