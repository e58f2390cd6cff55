# SPDX-License-Identifier: Apache-2.0
"""Limits, queues, retries and fallbacks where they meet: what a review found."""

import os
import threading
import time
from typing import Any, Dict, Iterator

import pytest

from lib.config import config, pool, route
from lib.sluiced import Sluiced
from lib.wait import wait_until
from lib.wire import Wait, answer_bytes, request_bytes

WAITING_N = 64
WATCHED_S = 1.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event that is set at the end, whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def queue(**options: Any) -> Dict[str, Any]:
    """One in which nobody's time runs out; its own map, for a file has no anchors."""
    return {"timeout": "60s", **options}


# ---- Between workers


def cpu_s(proxy: Sluiced) -> float:
    """What the process has used of the CPUs so far."""
    with open(f"/proc/{proxy.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("pools_n, limit", [(1, "connections"), (8, "in_flight")])
def test_workers_whose_requests_wait_do_not_keep_each_other_awake(sluiced, upstream, wires, gate,
                                                                  pools_n, limit):
    """Workers tell each other whose turn it is, and ask for connections; with nothing to give they
    did so for ever, as fast as they could."""
    server = upstream([[Wait(gate), answer_bytes()]])
    names = [f"pool{n}" for n in range(pools_n)]
    proxy = sluiced(config(
        {name: pool(server.address, health="off", limits={limit: 1}, queue=queue())
         for name in names},
        [route(name, f"/{name}", name) for name in names], workers=4))
    for n in range(WAITING_N + pools_n):
        wires(proxy).send(request_bytes("GET", f"/{names[n % pools_n]}"))
    wait_until(lambda: proxy.metric("sluiced_pool_queued") == WAITING_N, 10, "all to wait",
               proxy.status)
    used, began = cpu_s(proxy), time.monotonic()
    wait_until(lambda: time.monotonic() - began > WATCHED_S, 2 * WATCHED_S, "some time to pass")
    assert cpu_s(proxy) - used < 0.5 * (time.monotonic() - began)
