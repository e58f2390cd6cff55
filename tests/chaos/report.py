# SPDX-License-Identifier: Apache-2.0
"""The table of a session."""

import math
from typing import Callable, Dict, List, NamedTuple, Optional

from cases import ALONE_S, LONG, Result
from proxies import CHECK_S, CHECK_TIMEOUT_S, CONNECT_S, FALL_N, RISE_N, SILENCE_S
from traffic import GIVE_UP_S, RATE, STREAMS
from why import WHY

HEAD = f"""{RATE} requests a second (GET and POST in turn, 1 KiB each way) and {STREAMS} event streams of a second, on
five pods that take 20 ms. Timeouts of all: connect {CONNECT_S} s, {SILENCE_S} s for the first byte and between two; a
client gives up after {GIVE_UP_S:.0f} s. Checks of all: /health each {CHECK_S} s, timeout {CHECK_TIMEOUT_S} s,
fall {FALL_N}, rise {RISE_N}. All pick by requests in flight, and repeat a GET that was sent, but no POST.
A fault lasts {LONG.fault:.0f} s unless its case says so. *failed*: GET / POST / streams, and how. *left alone*: from
the fault to the last pick before one of five pods was not picked for {ALONE_S} s, in brackets how often it was picked after
that while the fault lasted. *back*: from the end of the fault to the first answer of that pod; looked for
{LONG.most:.0f} s."""


class Column(NamedTuple):
    """Of which less is better. slack: what is no difference in one run on a busy machine, in its unit and as
    a share."""

    name: str
    value: Callable[[Result], float]
    slack: float
    share: float


def or_never(value: Optional[float]) -> float:
    """For comparing."""
    return math.inf if value is None else value


COLUMNS = [
    Column("failed", lambda r: r.failed(), 2, 0.1),
    Column("p99", lambda r: r.p99_ms, 15, 0.25),
    Column("left alone", lambda r: or_never(r.eject_s), 0.15, 0.25),
    Column("back", lambda r: or_never(r.return_s), 0.3, 0.25),
]


def seconds(value: Optional[float]) -> str:
    """A cell."""
    return "-" if value is None else f"{value:.2f}"


def failed(result: Result) -> str:
    """A cell: how many of each kind, and how."""
    total: Dict[str, int] = {}
    for counter in result.failures.values():
        for how, n in counter.items():
            total[how] = total.get(how, 0) + n
    counts = " / ".join(str(result.failed(kind)) for kind in ("GET", "POST", "stream"))
    return counts + (" (" + ", ".join(f"{n} {how}" for how, n in sorted(total.items())) + ")" if total else "")


def worse(results: Dict[str, Result]) -> Dict[str, str]:
    """Columns in which the first proxy is not the best, and who is."""
    own, *others = results
    found = {}
    for column in COLUMNS:
        values = {name: column.value(results[name]) for name in results}
        best = min(others, key=lambda name: values[name], default=own)
        if values[own] > values[best] + column.slack and values[own] > values[best] * (1 + column.share):
            found[column.name] = best
    return found


def rows(case: str, results: Dict[str, Result]) -> List[str]:
    """A line for each proxy, and one for what is to be explained."""
    out = []
    for name, result in results.items():
        left = seconds(result.eject_s) + (f" ({result.later_n})" if result.eject_s is not None else "")
        cells = [case, name, sum(result.sent.values()), result.answered(), result.retried, failed(result),
                 f"{result.p50_ms:.0f}", f"{result.p99_ms:.0f}", left, seconds(result.return_s)]
        out.append("| " + " | ".join(map(str, cells)) + " |")
    return out


def lines(table: Dict[str, Dict[str, Result]]) -> List[str]:
    """As Markdown."""
    head = ["case", "proxy", "sent", "answered", "retried", "failed", "p50 ms", "p99 ms", "left alone s", "back s"]
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    notes = []
    for case, results in table.items():
        out += rows(case, results)
        for column, best in worse(results).items():
            reason = WHY.get((case, column), "not explained yet.")
            notes.append(f"- {case}, {column}: {best} is better. {reason}")
    closing = ["Where sluiced is not the best:", "", *notes] if notes else ["sluiced is the best in each row."]
    return out + ["", *closing]
