# SPDX-License-Identifier: Apache-2.0
"""The loads that are measured, and what is read from each."""

from typing import Callable, Dict, List, NamedTuple

Result = Dict[str, float]
Reading = Callable[[Result, Result], float]

BIG = 10 << 20
TURN = "@TURN@"  # in a path: the number of the load, so that only its streams run in its slice
DIRECT = "direct"  # the load without a proxy


class Case(NamedTuple):
    """A load, and what is read from its result: (with the proxy, without one) to a value.

    key: for --case. direct: measured without a proxy as well, for what is added. endpoints: so many of
    them, on proxies started for it. most_rounds: a slope takes fewer of them than a ratio. slice_ms: each
    of several in a round; more where a request is large, or few of them leave a tail uncertain. unix: by the
    listener whose upstream is a unix socket; the other one takes turns with it, as rows of their own."""

    key: str
    name: str
    load: List[str]
    rows: Dict[str, Reading]
    unix: bool = False
    direct: bool = False
    quick: bool = True
    endpoints: int = 0
    most_rounds: int = 100
    slice_ms: int = 100

    def row(self, reading: str, over_tcp: bool = False) -> str:
        """How a row of the table is called."""
        return f"{self.name}: {'over TCP instead, ' if over_tcp else ''}{reading}"


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


def plural(count: int, what: str) -> str:
    """A number as the rows have it: 1 000 connections."""
    return f"{count:,} {what}{'' if count == 1 else 's'}".replace(",", " ")


def stream_case(key: str, streams: int, each: str, rate: int, quick: bool = True) -> Case:
    """Event streams that never end."""
    return Case(key, f"{plural(streams, 'stream')}, {each}",
                ["mode=sse", f"conns={streams}", f"path=/sse/{rate}/{TURN}"],
                {TOKEN_CPU: lambda r, _: r["cpu_ns"] / r["done"] / 1e3, "tokens/s": per_second, **ADDED},
                direct=True, quick=quick, slice_ms=200)


def connections_case(conns: int) -> Case:
    """Many connections of which few are busy at any time, as those of clients that think in between; the
    bound keeps the queue of the one core from being what is measured."""
    active = min(conns, 64)
    return Case(f"conns-{conns}", f"{plural(conns, 'connection')}, {plural(active, 'request')} at once",
                ["mode=closed", f"conns={conns}", f"active={active}"], SATURATED, quick=False,
                most_rounds=3)


def endpoints_case(endpoints: int) -> Case:
    """The same upstream at many addresses: what choosing costs, and many connections to keep."""
    return Case(f"endpoints-{endpoints}", f"{plural(endpoints, 'endpoint')}, 64 connections, saturated",
                ["mode=closed", "conns=64"], SATURATED, quick=False, endpoints=endpoints,
                most_rounds=3)


KEEP_ALIVE = Case(
    "keep-alive", "1 KiB keep-alive, 64 connections, saturated", ["mode=closed", "conns=64"],
    {CPU: per_request_us, "user us/request": lambda r, _: r["user_ticks"] * 1e4 / r["done"],
     RATE: per_second, "p50 us": lambda r, _: r["p50_us"], "p99 us": lambda r, _: r["p99_us"],
     "p99.9 us": lambda r, _: r["p999_us"]})
FIXED_RATE = Case("rate", "1 KiB, 5 000 requests/s", ["mode=open", "conns=64", "rate=5000"],
                  {CPU: per_request_us, **ADDED}, direct=True, slice_ms=200)
POST = Case("post", "4 KiB POST, 64 connections, saturated", ["mode=closed", "conns=64", "body=4096"],
            SATURATED, quick=False)
UNIX = Case("unix", "1 KiB, unix upstream, saturated", ["mode=closed", "conns=64"], SATURATED, unix=True)
CONNECT = Case("connect", "a new connection each request", ["mode=connect", "conns=32"], SATURATED)
TOKENS = stream_case("tokens", 200, "20 tokens/s each", 20)
# More than the upstream can send: the cores, not the interval, are the limit.
TOKENS_SATURATED = stream_case("tokens-saturated", 200, "saturated", 1000)
TOKENS_1000 = stream_case("tokens-1000", 1000, "20 tokens/s each", 20, quick=False)
DOWN = Case("down", "10 MiB down, 8 connections", ["mode=closed", "conns=8", f"path=/bytes/{BIG}"],
            {GIB_CPU: lambda r, _: r["cpu_ns"] / 1e6 / (r["bytes"] / (1 << 30))},
            slice_ms=200)
UP = Case("up", "10 MiB up, 8 connections", ["mode=closed", "conns=8", "path=/bytes/16", f"body={BIG}"],
          {GIB_CPU: lambda r, _: r["cpu_ns"] / 1e6 / (r["done"] * BIG / (1 << 30))},
          slice_ms=200)

CASES = [KEEP_ALIVE, FIXED_RATE, POST, UNIX, CONNECT, TOKENS, TOKENS_SATURATED, TOKENS_1000, DOWN, UP,
         *(connections_case(conns) for conns in (1, 10, 100, 1000, 8000)),
         *(endpoints_case(endpoints) for endpoints in (1, 10, 100, 1000))]
MEMORY = "memory"


def chosen(wanted: str, key: str) -> bool:
    """Whether a key begins with one of the words; with no words it is wanted."""
    return not wanted or any(key.startswith(word) for word in wanted.split(","))
