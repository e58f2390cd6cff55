# SPDX-License-Identifier: Apache-2.0
"""Runs load generators, and knows what others did to the machine meanwhile."""

import json
import os
import subprocess
import time
from typing import Callable, Dict, List, Tuple

from cases import Result
from machine import BUILD, HERE, busy_s, cpu_s, pinned

LOAD_CORE = 1
DISTURBED = 0.08  # of a core used by others: measure again
WARM_MS = 50
SOURCES = {"load": ["load.c", "options.c", "measure.c"], "backend": ["backend.c"]}


def compile_tools() -> None:
    """Builds the load generator and the upstream."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name, sources in SOURCES.items():
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=c11", "-D_GNU_SOURCE", "-Wall",
                        "-Wextra", "-o", str(BUILD / name), *(str(HERE / source) for source in sources),
                        "-lm"], check=True)


class Load:
    """A generator with its connections open. Any error in it ends the session, because its figures are
    worth nothing then."""

    def __init__(self, *args: str) -> None:
        self.args = args
        self.child = pinned([str(BUILD / "load"), *args], LOAD_CORE, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
        self._expect(b"ready\n")

    def _expect(self, line: bytes) -> None:
        assert self.child.stdout is not None
        if self.child.stdout.readline() != line:
            self.stop()
            raise SystemExit(f"bench: load {' '.join(self.args)} failed")

    def start_slice(self, what: str, ms: int) -> None:
        """Tells it to: warm, or run."""
        assert self.child.stdin is not None
        self.child.stdin.write(f"{what} {ms}\n".encode())
        self.child.stdin.flush()

    def slice(self, what: str, ms: int) -> None:
        """One turn of its own."""
        self.start_slice(what, ms)
        self._expect(b".\n")

    def result(self) -> Result:
        """Of all slices that count; ends it."""
        text = self.child.communicate(timeout=60)[0]
        if self.child.returncode != 0:
            raise SystemExit(f"bench: load {' '.join(self.args)} failed")
        result: Result = json.loads(text)
        if not result["done"]:
            raise SystemExit(f"bench: load {' '.join(self.args)}: nothing was answered")
        return result

    def stop(self) -> None:
        """Whatever it does."""
        self.child.kill()
        self.child.communicate()


def rotated(names: List[str], by: int) -> List[str]:
    """Another one first."""
    first = by % len(names)
    return names[first:] + names[:first]


def take_turns(wanted: Dict[str, List[str]], slices: int, ms: int, turn: int) -> Dict[str, Result]:
    """Loads, one at a time, in slices: what changes about the machine changes for all of them. (Its speed
    does by tens of percent within a second where it is a part of a larger one.)"""
    loads: Dict[str, Load] = {}
    names = list(wanted)
    try:
        for name in names:
            loads[name] = Load(*wanted[name])
        for name in names:
            loads[name].slice("warm", WARM_MS)
        for i in range(slices):
            for name in rotated(names, turn + i):
                loads[name].slice("run", ms)
        return {name: loads[name].result() for name in names}
    finally:
        for one in loads.values():
            one.stop()


class Quiet:
    """Measures again what others on the machine disturbed, as long as there is time for that."""

    def __init__(self, again: int) -> None:
        self.again = again
        self.foreign: List[float] = []  # cores used by others, of each measurement that counts

    @staticmethod
    def _own_s(pids: List[int]) -> float:
        own = os.times()
        return (own.user + own.system + own.children_user + own.children_system
                + sum(cpu_s(pid) for pid in pids))

    def _once(self, pids: List[int], what: Callable[[], Dict[str, Result]]) -> Tuple[float, Dict[str, Result]]:
        begun, busy, own = time.monotonic(), busy_s(), self._own_s(pids)
        results = what()
        foreign = busy_s() - busy - (self._own_s(pids) - own)
        return max(foreign, 0.0) / (time.monotonic() - begun), results

    def measure(self, pids: List[int], what: Callable[[], Dict[str, Result]]) -> Dict[str, Result]:
        """The least disturbed of at most three times. pids: whose CPU time is no disturbance."""
        best = self._once(pids, what)
        for _ in range(2):
            if best[0] <= DISTURBED or self.again == 0:
                break
            self.again -= 1
            best = min(best, self._once(pids, what), key=lambda pair: pair[0])
        self.foreign.append(best[0])
        return best[1]
