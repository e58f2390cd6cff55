# SPDX-License-Identifier: Apache-2.0
"""The loads that are measured, and what is read from each."""

from typing import Callable, Dict, List, NamedTuple

Result = Dict[str, float]
Reading = Callable[[Result, Result], float]

BIG = 10 << 20


class Case(NamedTuple):
    """A load, and what is read from its result: (with the proxy, without one) to a value.

    direct: measured without a proxy as well, for what is added. endpoints: so many of them, on proxies
    started for it. most_rounds: for what shows a slope, which takes fewer rounds than a ratio."""

    name: str
    load: List[str]
    rows: Dict[str, Reading]
    unix: bool = False
    direct: bool = False
    quick: bool = True
    endpoints: int = 0
    most_rounds: int = 100

    def row(self, reading: str) -> str:
        """How a row of the table is called."""
        return f"{self.name}: {reading}"


def per_request_us(r: Result, _direct: Result) -> float:
    """CPU time of a request."""
    return r["cpu_ns"] / r["done"] / 1e3


def per_second(r: Result, _direct: Result) -> float:
    """Requests or tokens."""
    return r["done"] / r["took_ns"] * 1e9


def added(percentile: str) -> Reading:
    """What the proxy adds to a percentile."""
    return lambda r, direct: r[percentile] - direct[percentile]


CPU = "CPU us/request"
RATE = "requests/s"
TOKEN_CPU = "CPU ms / 1 000 tokens"
ADDED_P50 = "added p50 us"
GIB_CPU = "CPU ms/GiB"
ADDED: Dict[str, Reading] = {ADDED_P50: added("p50_us"), "added p99 us": added("p99_us"),
                             "added p99.9 us": added("p999_us")}
SATURATED: Dict[str, Reading] = {CPU: per_request_us, RATE: per_second}


def stream_case(name: str, streams: int, rate: int, quick: bool) -> Case:
    """Event streams that never end."""
    return Case(name, ["mode=sse", f"conns={streams}", f"path=/sse/{rate}/1000000000", "warm_ms=1500"],
                {TOKEN_CPU: lambda r, _: r["cpu_ns"] / r["done"] / 1e3, "tokens/s": per_second, **ADDED},
                direct=True, quick=quick)


KEEP_ALIVE = Case(
    "1 KiB keep-alive, 64 connections, saturated", ["mode=closed", "conns=64"],
    {CPU: per_request_us, "user us/request": lambda r, _: r["user_ticks"] * 1e4 / r["done"],
     RATE: per_second, "p50 us": lambda r, _: r["p50_us"], "p99 us": lambda r, _: r["p99_us"],
     "p99.9 us": lambda r, _: r["p999_us"]})
FIXED_RATE = Case("1 KiB, 5 000 requests/s", ["mode=open", "conns=64", "rate=5000"],
                  {CPU: per_request_us, **ADDED}, direct=True)
UNIX = Case("1 KiB, unix upstream, saturated", ["mode=closed", "conns=64"], SATURATED, unix=True)
CONNECT = Case("a new connection each request", ["mode=connect", "conns=32"], SATURATED)
TOKENS = stream_case("200 streams, 20 tokens/s each", 200, 20, quick=True)
# So many that the generator's core, not the interval, is the limit.
TOKENS_SATURATED = stream_case("200 streams, saturated", 200, 1000, quick=True)
DOWN = Case("10 MiB down, 8 connections", ["mode=closed", "conns=8", f"path=/bytes/{BIG}"],
            {GIB_CPU: lambda r, _: r["cpu_ns"] / 1e6 / (r["bytes"] / (1 << 30))})
UP = Case("10 MiB up, 8 connections", ["mode=closed", "conns=8", "path=/bytes/16", f"body={BIG}"],
          {GIB_CPU: lambda r, _: r["cpu_ns"] / 1e6 / (r["done"] * BIG / (1 << 30))})

CASES = [KEEP_ALIVE, FIXED_RATE, UNIX, CONNECT, TOKENS, TOKENS_SATURATED, DOWN, UP]


def chosen(wanted: str, text: str) -> bool:
    """Whether a text has one of the wanted words in it; with none wanted it has."""
    return not wanted or any(word in text for word in wanted.split(","))
