# SPDX-License-Identifier: Apache-2.0
"""What a proxy holds: at rest, for idle connections, for streams that go on.

Each figure is of a process just started and alone: a program that is up twice shares its pages, and
an allocator keeps what an earlier load made it take."""

import contextlib
import time
from typing import Dict, Iterator, List

import load
from peers import PASSING_PORT, Peer, Place, fleet
from table import Table

IDLE_CONNS = 5000
STREAMS = 1000
REST = "memory at rest, PSS MiB"
IDLE = f"memory of an idle connection of {IDLE_CONNS}, PSS KiB"
IDLE_OWN = f"memory of an idle connection of {IDLE_CONNS}, anonymous KiB"
IDLE_TOTAL = f"memory at {IDLE_CONNS} idle connections, anonymous MiB"
STREAM = f"memory of an active stream of {STREAMS}, PSS KiB"


@contextlib.contextmanager
def holding(peer: Peer, conns: int, *args: str) -> Iterator[None]:
    """While so many connections are up, each of which got an answer."""
    child = load.start(f"addr={peer.listen}", f"conns={conns}", "hold=1", "ms=60000", *args)
    try:
        assert child.stdout is not None
        if child.stdout.readline() != b"holding\n":
            raise SystemExit(f"bench: {peer.name} does not hold {conns} connections")
        yield
        if child.poll() is not None:
            raise SystemExit(f"bench: {peer.name} did not keep {conns} connections")
    finally:
        child.kill()
        child.wait()


def of_connections(peer: Peer) -> Dict[str, float]:
    """At rest, and idle."""
    rest, rest_own = peer.memory_kib("Pss"), peer.memory_kib("Anonymous")
    with holding(peer, IDLE_CONNS, "mode=closed"):
        held, held_own = peer.memory_kib("Pss"), peer.memory_kib("Anonymous")
    return {REST: rest / 1024, IDLE: (held - rest) / IDLE_CONNS,
            IDLE_OWN: (held_own - rest_own) / IDLE_CONNS, IDLE_TOTAL: held_own / 1024}


def of_streams(peer: Peer) -> Dict[str, float]:
    """Of streams in which something is sent now and then: what they hold while they wait counts too."""
    rest = peer.memory_kib("Pss")
    with holding(peer, STREAMS, "mode=sse", "path=/sse/2/1000000"):
        time.sleep(1.5)  # until each had an event or more behind its head
        return {STREAM: (peer.memory_kib("Pss") - rest) / STREAMS}


def measure(table: Table, programs: Dict[str, List[str]], place: Place, rounds: int) -> None:
    """All figures of all programs, each by itself."""
    for turn in range(rounds):
        for name, program in programs.items():
            for read in (of_connections, of_streams):
                with fleet({name: program}, place, PASSING_PORT) as peers:
                    for row, value in read(peers[0]).items():
                        table.add(row, name, value)
            print(f"  {turn + 1}/{rounds} memory: {name}", flush=True)
