# SPDX-License-Identifier: Apache-2.0
"""Whatever happens, in whatever order: what a pool holds in the end is what the API server lists.

KUBE_RUNS says how many sequences, KUBE_SEED the first one's seed: KUBE_RUNS=1 KUBE_SEED=n repeats
the one that failed.
"""

import model
import pytest
from lengths import RUNS, SEED
from process import eventually
from world import MARKER, SOURCES, World

STEPS = 40
RESTART_EACH = 10  # restarting takes longer than all the rest of a sequence
BACK_OFF_S = 40  # the delay between two tries grows to 30 s


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
def test_after_any_sequence_of_events_pools_hold_what_the_api_server_lists(
    namespace, start_sluiced, relay, through_relay, seed
):
    world = World(namespace, relay, seed, restarts=seed % RESTART_EACH == 0)
    proxy = start_sluiced(
        pools=world.pools(),
        routes=[{"name": "all", "match": {"path": "/"}, "pool": "service"}],
        env=through_relay,
    )
    world.run(STEPS)
    world.settle()
    world.mark()
    wanted = {}

    def marked():
        pools = {pool["name"]: pool for pool in proxy.status()["pools"]}
        for name in SOURCES:
            found = {e["address"].rpartition(":")[0] for e in pools[name]["endpoints"]}
            assert MARKER in found, f"{name} lacks the marker: {pools[name]['discovery']}"
        return True

    def same():
        wanted.update(world.expected())
        pools = {pool["name"]: pool for pool in proxy.status()["pools"]}
        wrong = {
            name: difference
            for name in SOURCES
            if (difference := model.difference(wanted[name], model.held(pools[name])))
        }
        assert not wrong, wrong
        return True

    story = f"seed {seed}: " + "; ".join(world.happened)
    eventually(marked, story, BACK_OFF_S)
    # The marker was written last, and events come in order: what differs now was lost. But the
    # controllers answer the marker with a slice of their own, and a storm is applied each 50 ms.
    eventually(same, story, 2)
    assert all(wanted[name] for name in SOURCES), story
