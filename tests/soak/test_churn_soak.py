# SPDX-License-Identifier: Apache-2.0
"""Endpoints die without a word and come back, at random: only what had been sent may fail."""

import random
import time

from lib.config import config, pool, route
from lib.load import Load
from lib.steady import settled
from lib.wire import request_bytes

SEED = 20240607
ASK = b'{"prompt": "x", "max_tokens": 3}'


def reasons(proxy, name: str) -> dict:
    """How the exchanges of a route ended, and how many each way."""
    found: dict = {}
    for sample, value in proxy.metrics().items():
        if sample.startswith("sluiced_requests_total{") and f'route="{name}"' in sample:
            reason = sample.partition('reason="')[2].partition('"')[0]
            found[reason] = found.get(reason, 0) + int(value)
    return found


def test_killed_endpoints_cost_sent_generations_only(sluiced, model, seconds):
    servers = [model() for _ in range(4)]
    proxy = sluiced(config(
        {"chat": pool(*(server.address for server in servers))},
        [route("chat", "/v1/", "generate"), route("chat", "/", "get")], workers=2,
        log={"level": "info", "access": "off"}))
    edge = proxy.address("edge")
    dice = random.Random(SEED)
    kills = 0
    generate = request_bytes("POST", "/v1/completions", ASK, [("content-type", "application/json")])
    with Load(edge, 8) as gets, Load(edge, 4, generate) as generations:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            victim = dice.choice(servers)
            victim.kill()
            kills += 1
            time.sleep(dice.uniform(0.0, 1.0))
            victim.restart()
            time.sleep(dice.uniform(0.0, 0.5))
        gets.wait_more(100)
        generations.wait_more(100)
    assert gets.failures == [], (kills, len(gets.failures), gets.failures[:5], reasons(proxy, "get"))
    settled(proxy)
    ended = reasons(proxy, "generate")
    print({"kills": kills, "gets": gets.done, "generations": generations.done, "ended": ended})
    assert set(reasons(proxy, "get")) == {"ok"}
    assert set(ended) <= {"ok", "upstream_reset"}
    assert ended.get("upstream_reset", 0) == len(generations.failures), generations.failures[:5]
    # At most what was under way with the one that died.
    assert len(generations.failures) <= kills * generations.connections
    assert generations.done > kills
