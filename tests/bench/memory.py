# SPDX-License-Identifier: Apache-2.0
"""What a proxy holds: at rest, for idle connections, for streams that go on.

Each figure is of a process just started and alone, from a copy of its program and libraries: who runs
beside it would take a share of the pages of libc, and an allocator keeps what an earlier load made it
take."""

import contextlib
import re
import shutil
import time
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import load
from machine import output
from peers import PASSING_PORT, Peer, Place, fleet
from table import Table

IDLE_CONNS = 5000
STREAMS = 1000
SETTLE_S = 1.0  # until each stream had an event or two behind its head
FIRST = 20  # before what is counted: code and tables that the first few touch are not theirs
REST = "memory at rest, PSS MiB"
REST_SHARED = "memory at rest, libraries shared with what else runs here, PSS MiB"
IDLE = "memory of an idle connection of 5 000, PSS KiB"
IDLE_OWN = "memory of an idle connection of 5 000, anonymous KiB"
IDLE_TOTAL = "memory at 5 000 idle connections, anonymous MiB"
STREAM = "memory of an active stream of 1 000, PSS KiB"
STREAM_OWN = "memory of an active stream of 1 000, anonymous KiB"


def both_kib(peer: Peer) -> Tuple[int, int]:
    """Shared pages in parts, and those that are its alone."""
    return peer.memory_kib("Pss"), peer.memory_kib("Anonymous")


@contextlib.contextmanager
def holding(*args: str) -> Iterator[None]:
    """While a load's connections are up, each of which got an answer, and its streams are read."""
    held = load.Load(*args)
    try:
        held.start_slice("warm", 60000)
        yield
        if held.child.poll() is not None:
            raise SystemExit(f"bench: {' '.join(args)} was not held")
    finally:
        held.stop()


def beyond_first(peer: Peer, count: int, *args: str) -> Tuple[int, float, float]:
    """Anonymous KiB while so many connections are held, and what each costs: PSS KiB, anonymous KiB."""
    common = [f"addr={peer.listen}", *args]
    with holding(f"conns={FIRST}", *common):
        time.sleep(SETTLE_S)
    before, before_own = both_kib(peer)
    with holding(f"conns={count}", *common):
        time.sleep(SETTLE_S)
        held, held_own = both_kib(peer)
    return held_own, (held - before) / count, (held_own - before_own) / count


def of_connections(peer: Peer) -> Dict[str, float]:
    """At rest, and idle."""
    rest = peer.memory_kib("Pss")
    total, each, each_own = beyond_first(peer, IDLE_CONNS, "mode=open", "rate=1")
    return {REST: rest / 1024, IDLE: each, IDLE_OWN: each_own, IDLE_TOTAL: total / 1024}


def at_rest(peer: Peer) -> Dict[str, float]:
    """As it is installed: less by what others take their share of."""
    return {REST_SHARED: peer.memory_kib("Pss") / 1024}


def of_streams(peer: Peer) -> Dict[str, float]:
    """Of streams in which something is sent now and then: what they hold while they wait counts too."""
    _, each, each_own = beyond_first(peer, STREAMS, "mode=sse", "path=/sse/2/0")
    return {STREAM: each, STREAM_OWN: each_own}


def copied(name: str, program: List[str], into: Path) -> List[str]:
    """The same program from files of its own; what comes with its own loader has such files already."""
    if len(program) > 1:
        return program
    folder = into / f"{name}-alone"
    folder.mkdir()
    loader = ""
    for path in {program[0], *re.findall(r"(/\S+) \(0x", output("ldd", program[0]))}:
        copy = shutil.copy(path, folder)
        loader = copy if Path(copy).name.startswith("ld-") else loader
    alone = str(folder / Path(program[0]).name)
    return [loader, "--library-path", str(folder), alone] if loader else [alone]


def measure(table: Table, programs: Dict[str, List[str]], place: Place, rounds: int) -> None:
    """All figures of all programs, each by itself."""
    alone = {name: copied(name, program, place.run) for name, program in programs.items()}
    for turn in range(rounds):
        for name, program in alone.items():
            for path, read in ((program, of_connections), (programs[name], at_rest), (program, of_streams)):
                with fleet({name: path}, place, PASSING_PORT) as peers:
                    for row, value in read(peers[0]).items():
                        table.add(row, name, value)
            print(f"  {turn + 1}/{rounds} memory: {name}", flush=True)
