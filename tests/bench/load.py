# SPDX-License-Identifier: Apache-2.0
"""Runs the load generator, and knows what others did to the machine meanwhile."""

import json
import os
import subprocess
import time
from typing import List, Tuple

from cases import Result
from machine import BUILD, HERE, busy_s, cpu_s, pinned

LOAD_CORE = 1
DISTURBED = 0.08  # of a core used by others: measure again
SOURCES = {"load": ["load.c", "measure.c"], "backend": ["backend.c"]}


def compile_tools() -> None:
    """Builds the load generator and the upstream."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name, sources in SOURCES.items():
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=c11", "-D_GNU_SOURCE", "-Wall",
                        "-Wextra", "-o", str(BUILD / name), *(str(HERE / source) for source in sources),
                        "-lm"], check=True)


def start(*args: str) -> "subprocess.Popen[bytes]":
    """The generator, its output in a pipe."""
    return pinned([str(BUILD / "load"), *args], LOAD_CORE, stdout=subprocess.PIPE)


def run(*args: str) -> Result:
    """One measurement; a single error in it ends the session, because its figures are worth nothing."""
    with start(*args) as child:
        text = (child.communicate(timeout=180)[0] or b"").decode()
    if child.returncode != 0:
        raise SystemExit(f"bench: load {' '.join(args)} failed")
    result: Result = json.loads(text.splitlines()[-1])
    if result["errors"] or result["late"]:
        raise SystemExit(f"bench: load {' '.join(args)}: errors in {text}")
    if not result["done"]:
        raise SystemExit(f"bench: load {' '.join(args)}: nothing was answered")
    return result


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

    def _once(self, pids: List[int], args: List[str]) -> Tuple[float, Result]:
        begun, busy, own = time.monotonic(), busy_s(), self._own_s(pids)
        result = run(*args)
        foreign = busy_s() - busy - (self._own_s(pids) - own)
        return max(foreign, 0.0) / (time.monotonic() - begun), result

    def measure(self, pids: List[int], *args: str) -> Result:
        """The least disturbed of at most three measurements. pids: whose CPU time is no disturbance."""
        best = self._once(pids, list(args))
        for _ in range(2):
            if best[0] <= DISTURBED or self.again == 0:
                break
            self.again -= 1
            best = min(best, self._once(pids, list(args)), key=lambda pair: pair[0])
        self.foreign.append(best[0])
        return best[1]
