# SPDX-License-Identifier: Apache-2.0
"""What sluiced has to reach beside the better of HAProxy and nginx, and whether it does."""

import statistics
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import cases
import memory
from table import Table

BETTER_OF = ("haproxy", "nginx")


def ratio(own: float, best: float) -> float:
    """Ours to theirs."""
    return own / best


def difference(own: float, best: float) -> float:
    """Ours beyond theirs."""
    return own - best


def alone(own: float, _best: float) -> float:
    """Whatever theirs is."""
    return own


class Target(NamedTuple):
    """Of a row: what may be at most so much, of ours and of the peers' best in the same round."""

    what: str
    row: str
    required: float
    stretch: Optional[float] = None
    against: str = ""  # a row of the peers', if not the same
    peers: Tuple[str, ...] = BETTER_OF
    figure: Callable[[float, float], float] = ratio


TARGETS = [
    Target("saturated, CPU", cases.KEEP_ALIVE.row(cases.CPU), 0.85, 0.76),
    Target("5 000 requests/s, CPU", cases.FIXED_RATE.row(cases.CPU), 0.88, 0.80),
    Target("new connections, CPU", cases.CONNECT.row(cases.CPU), 0.88, 0.80),
    Target("10 MiB down, CPU", cases.DOWN.row(cases.GIB_CPU), 0.50, 0.40),
    Target("10 MiB up, CPU", cases.UP.row(cases.GIB_CPU), 0.50, 0.40),
    Target("4 000 tokens/s, CPU", cases.TOKENS.row(cases.TOKEN_CPU), 0.92, 0.80),
    Target("4 000 tokens/s, added p50 us beyond theirs", cases.TOKENS.row(cases.ADDED_P50), 0.0,
           figure=difference),
    Target("saturated tokens, CPU", cases.TOKENS_SATURATED.row(cases.TOKEN_CPU), 1.0),
    Target("saturated tokens, added p50 us beyond theirs", cases.TOKENS_SATURATED.row(cases.ADDED_P50),
           0.0, figure=difference),
    Target("sluiced unix / haproxy TCP, CPU", cases.UNIX.row(cases.CPU), 0.65, 0.60,
           against=cases.UNIX.row(cases.CPU, over_tcp=True), peers=("haproxy",)),
    Target("at rest, PSS MiB", memory.REST, 10.0, peers=(), figure=alone),
    Target("at 5 000 idle connections, anonymous", memory.IDLE_TOTAL, 1.0),
    Target("an idle connection, anonymous KiB", memory.IDLE_OWN, 0.5, peers=(), figure=alone),
    Target("an active stream, PSS KiB", memory.STREAM, 5.0, peers=(), figure=alone),
]


def measured(table: Table, target: Target) -> List[float]:
    """One figure a round; none if one side was not measured."""
    own = table.values(target.row, table.peers[0])
    theirs = [table.values(target.against or target.row, peer) for peer in target.peers]
    if not own or not all(theirs):
        return []
    best = [min(values) for values in zip(*theirs)] if theirs else own
    return [target.figure(a, b) for a, b in zip(own, best)]


def verdict(target: Target, value: float) -> str:
    """In a word or two."""
    if value > target.required:
        return "not reached"
    return "reached" if target.stretch is None or value <= target.stretch else "required only"


def figures(table: Table) -> List[Dict[str, Any]]:
    """Each target that this session measured."""
    out: List[Dict[str, Any]] = []
    for target in TARGETS:
        values = measured(table, target)
        if values:
            out.append({"target": target.what, "required": target.required, "stretch": target.stretch,
                        "measured": values, "verdict": verdict(target, statistics.median(values))})
    return out


def lines(table: Table, versions: Dict[str, str]) -> List[str]:
    """As Markdown; empty if no target was measured. versions: a target is one against these."""
    out = []
    for figure in figures(table):
        stretch = "-" if figure["stretch"] is None else f"{figure['stretch']:.2f}"
        values = figure["measured"]
        # One digit more than elsewhere: 0.504 is not 0.50.
        said = f"{statistics.median(values):.3f} ({min(values):.2f} to {max(values):.2f})"
        out.append(f"| {figure['target']} | {figure['required']:.2f} | {stretch} | {said} | {figure['verdict']} |")
    better_of = " and ".join(versions[peer] for peer in BETTER_OF if peer in versions)
    head = [f"| ratio to the better of {better_of}, or as said | required | stretch | measured | |",
            "|---" * 5 + "|"]
    return head + out if out else []
