# SPDX-License-Identifier: Apache-2.0
"""One session: everything is started, measured in turn, and stopped."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

import memory
from cases import DIRECT, TURN, Case
from load import LOAD_CORE, Quiet, take_turns
from machine import BUILD, pinned
from peers import PASSING_PORT, STANDING_PORT, TCP_UPSTREAMS, Peer, Place, fleet
from table import Table, number

EVERYWHERE = "0.0.0.0:9100"
OVER_TCP = " over TCP"


def many_upstreams(count: int) -> List[str]:
    """Addresses of EVERYWHERE."""
    return [f"127.1.{i // 250}.{i % 250 + 1}:9100" for i in range(count)]


class Plan(NamedTuple):
    """How often: rounds of so many slices for each load of each case."""

    rounds: int
    slices: int
    memory_rounds: int


@contextlib.contextmanager
def upstream() -> Iterator["tuple[Place, int]"]:
    """The upstream on all its addresses; where peers may be put before it, and its process."""
    run = Path(tempfile.mkdtemp(prefix="sluiced-bench-"))
    run.chmod(0o755)  # nginx's worker is another user
    unix = str(run / "upstream.sock")
    backend = pinned([str(BUILD / "backend"), *TCP_UPSTREAMS, EVERYWHERE, f"unix:{unix}"], LOAD_CORE,
                     stdout=subprocess.PIPE)
    try:
        assert backend.stdout is not None
        if backend.stdout.readline() != b"ready\n":
            raise SystemExit("bench: the upstream does not start")
        os.chmod(unix, 0o777)
        yield Place(run, unix, TCP_UPSTREAMS), backend.pid
    finally:
        backend.kill()
        backend.wait()
        shutil.rmtree(run, ignore_errors=True)


class Session:
    """A table that fills."""

    def __init__(self, programs: Dict[str, List[str]], plan: Plan, cases: List[Case]) -> None:
        self.programs, self.plan, self.cases = programs, plan, cases
        self.table = Table(list(programs))
        self.quiet = Quiet(again=plan.rounds * len(cases) // 4)
        self.versions: Dict[str, str] = {}

    def run(self, with_memory: bool) -> None:
        """All of it. Memory first: nothing else is up then."""
        with upstream() as (place, pid):
            if with_memory:
                memory.measure(self.table, self.programs, place, self.plan.memory_rounds)
            with fleet(self.programs, place, STANDING_PORT) as peers:
                self.versions = {peer.name: peer.version() for peer in peers}
                for turn in range(self.plan.rounds):
                    for case in self.cases:
                        if turn < case.most_rounds:
                            self._place(case, turn, peers, place, pid)

    def _place(self, case: Case, turn: int, peers: List[Peer], place: Place, upstream_pid: int) -> None:
        """A case before the peers that are up, or before some with the endpoints that it asks for."""
        if not case.endpoints:
            self._case(case, turn, peers, upstream_pid)
            return
        many = place._replace(upstreams=many_upstreams(case.endpoints))
        with fleet(self.programs, many, PASSING_PORT) as passing:
            self._case(case, turn, passing, upstream_pid)

    def _case(self, case: Case, turn: int, peers: List[Peer], upstream_pid: int) -> None:
        """One round of a case before every peer."""
        pids = [upstream_pid, *(pid for peer in peers for pid in peer.pids())]
        loads = self._loads(case, peers)
        results = self.quiet.measure(
            pids, lambda: take_turns(loads, self.plan.slices, case.slice_ms, turn))
        direct = results.pop(DIRECT, {})
        for name, result in results.items():
            said = []
            for reading, read in case.rows.items():
                value = read(result, direct)
                row = case.row(reading, over_tcp=name.endswith(OVER_TCP))
                self.table.add(row, name.removesuffix(OVER_TCP), value)
                said.append(f"{reading} {number(value)}")
            print(f"  {turn + 1}/{self.plan.rounds} {case.name}: {name} {', '.join(said)}", flush=True)

    @staticmethod
    def _loads(case: Case, peers: List[Peer]) -> Dict[str, List[str]]:
        """What takes turns: the arguments of each generator."""
        loads = {}
        if case.direct:
            loads[DIRECT] = [f"addr={TCP_UPSTREAMS[0]}", *case.load]
        for peer in peers:
            common = [f"pid={peer.worker()}", *case.load]
            loads[peer.name] = [f"addr={peer.listen_unix if case.unix else peer.listen}", *common]
            if case.unix:
                loads[peer.name + OVER_TCP] = [f"addr={peer.listen}", *common]
        for i, args in enumerate(loads.values()):
            if any(TURN in arg for arg in args):
                args[:] = [arg.replace(TURN, str(i + 1)) for arg in args]
                args += [f"turn={i + 1}", f"upstream={TCP_UPSTREAMS[0]}"]
        return loads
