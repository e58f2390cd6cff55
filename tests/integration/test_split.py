# SPDX-License-Identifier: Apache-2.0
"""Weighted splits are exact: after any n requests each side is off by less than one."""

import collections
import threading
from typing import Any, Counter, Dict, List, Sequence

import pytest

from lib.config import config, pool, route
from lib.wire import Wire, answer_bytes

SPLITS = [
    [90, 10],
    [1, 1],
    [999, 1],
    [70, 20, 10],
    [0, 3, 7],
    [1, 2, 3, 5, 89],
    [95, 1, 1, 2, 1],
]


def names(weights: Sequence[int]) -> List[str]:
    """Pool names, one a weight; the name is also the version its upstream tells."""
    return [f"v{i}" for i in range(1, len(weights) + 1)]


@pytest.fixture
def split_config(upstream):
    """Builds a configuration with one upstream for each weight."""
    servers: Dict[str, Any] = {}

    def build(weights: List[int], **options: Any) -> Dict[str, Any]:
        for name in names(weights):
            if name not in servers:
                servers[name] = upstream([answer_bytes(fields=[("x-model-version", name)])])
        pools = {name: pool(servers[name].address) for name in names(weights)}
        return config(pools, [route(dict(zip(names(weights), weights)))], **options)

    return build


def check(counts: Counter[str], weights: Sequence[int]) -> None:
    """Each side has its share of all requests so far, to less than one."""
    n = sum(counts.values())
    for name, weight in zip(names(weights), weights):
        wanted = weight / sum(weights) * n
        assert abs(counts[name] - wanted) < 1 + 1e-9, (n, name, wanted, counts)


def ask_many(address: str, count: int, seen: Counter[str],
             weights: Sequence[int] = ()) -> None:
    """So many requests on one connection; with weights, each prefix is checked."""
    with Wire(address) as wire:
        for _ in range(count):
            answer = wire.ask("GET", "/")
            assert answer.status == 200, answer
            seen[str(answer.get("x-model-version"))] += 1
            if weights:
                check(seen, weights)


@pytest.mark.parametrize("weights", SPLITS, ids=lambda w: ":".join(map(str, w)))
def test_every_prefix_of_a_generation_has_the_shares(sluiced, split_config, weights):
    proxy = sluiced(split_config(weights, workers=1))
    seen: Counter[str] = collections.Counter()
    ask_many(proxy.address("edge"), 300, seen, weights)
    assert {k: v for k, v in proxy.sides("all").items() if v} == dict(seen)


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("weights", [[90, 10], [70, 20, 10], [1, 2, 3, 5, 89]],
                         ids=lambda w: ":".join(map(str, w)))
def test_shares_hold_over_workers_and_concurrent_clients(sluiced, split_config, weights, workers):
    proxy = sluiced(split_config(weights, workers=workers))
    address = proxy.address("edge")
    seen = [collections.Counter() for _ in range(8)]
    threads = [threading.Thread(target=ask_many, args=(address, 40 + i, seen[i]))
               for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(seen, collections.Counter())
    assert sum(total.values()) == sum(40 + i for i in range(8))
    check(total, weights)
    assert {k: v for k, v in proxy.sides("all").items() if v} == dict(total)


def test_new_weights_count_from_the_reload(sluiced, split_config):
    proxy = sluiced(split_config([90, 10], workers=2))
    for weights in ([90, 10], [50, 50], [10, 90], [0, 1]):
        if weights != [90, 10]:
            assert proxy.reload(split_config(weights, workers=2))
        ask_many(proxy.address("edge"), 100, collections.Counter(), weights)


def test_side_of_weight_zero_gets_nothing(sluiced, split_config):
    proxy = sluiced(split_config([1, 0]))
    seen: Counter[str] = collections.Counter()
    ask_many(proxy.address("edge"), 50, seen)
    assert seen == {"v1": 50}
