# SPDX-License-Identifier: Apache-2.0
"""Values of each row and peer, one a round, and what a reader is shown of them."""

import statistics
from typing import Dict, List, Optional


def number(value: float) -> str:
    """Three digits are what a measurement here is worth."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: List[float]) -> str:
    """The median, and from where to where the rounds went."""
    middle = number(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values))} to {number(max(values))})"


class Table:
    """The first peer is ours: the others are what its ratios are to."""

    def __init__(self, peers: List[str]) -> None:
        self.peers = peers
        self.rows: Dict[str, Dict[str, List[float]]] = {}

    def add(self, row: str, peer: str, value: float) -> None:
        """One value, of the round that runs."""
        self.rows.setdefault(row, {}).setdefault(peer, []).append(value)

    def values(self, row: str, peer: str) -> List[float]:
        """Of all rounds, in their order; empty if it was not measured."""
        return self.rows.get(row, {}).get(peer, [])

    def ratios(self, row: str, other: str) -> Optional[List[float]]:
        """Ours to another's, of each round. Tails, and what noise takes below zero, have none that says
        anything."""
        pairs = list(zip(self.values(row, self.peers[0]), self.values(row, other)))
        if "p99" in row or not all(a > 0 and b > 0 for a, b in pairs):
            return None
        return [a / b for a, b in pairs]

    def lines(self) -> List[str]:
        """As Markdown."""
        own, others = self.peers[0], self.peers[1:]
        head = ["", *self.peers, *(f"{own} / {other}" for other in others)]
        out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for row in self.rows:
            cells = [spread(self.values(row, peer)) for peer in self.peers]
            for other in others:
                ratios = self.ratios(row, other)
                cells.append(f"**{statistics.median(ratios):.2f}**" if ratios else "-")
            out.append("| " + " | ".join([row, *cells]) + " |")
        return out
