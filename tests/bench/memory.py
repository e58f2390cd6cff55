# SPDX-License-Identifier: Apache-2.0
"""What a proxy holds: at rest, for idle connections, for streams that go on.

Each figure is of a process just started and alone: a program that is up twice shares its pages, and
an allocator keeps what an earlier load made it take."""

import contextlib
import time
from typing import Dict, Iterator, List, Tuple

import load
from peers import PASSING_PORT, Peer, Place, fleet
from table import Table

IDLE_CONNS = 5000
STREAMS = 1000
SETTLE_S = 1.5  # until each stream had several events behind its head
FIRST = 20  # before what is counted: code and tables that the first few touch are not theirs
REST = "memory at rest, PSS MiB"
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


def of_streams(peer: Peer) -> Dict[str, float]:
    """Of streams in which something is sent now and then: what they hold while they wait counts too."""
    _, each, each_own = beyond_first(peer, STREAMS, "mode=sse", "path=/sse/2/0")
    return {STREAM: each, STREAM_OWN: each_own}


def measure(table: Table, programs: Dict[str, List[str]], place: Place, rounds: int) -> None:
    """All figures of all programs, each by itself."""
    for turn in range(rounds):
        for name, program in programs.items():
            for read in (of_connections, of_streams):
                with fleet({name: program}, place, PASSING_PORT) as peers:
                    for row, value in read(peers[0]).items():
                        table.add(row, name, value)
            print(f"  {turn + 1}/{rounds} memory: {name}", flush=True)
