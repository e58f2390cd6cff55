# SPDX-License-Identifier: Apache-2.0
"""What a reload took from the heap it gives back, to the block."""

import pytest

from lib.config import Config
from lib.fetch import fetch
from lib.handshakes import Handshakes
from lib.heap import Heap, Held
from lib.steady import is_sanitized, settled
from lib.storm import CERTS, Inside, Site, Storm
from lib.streams import Streams
from lib.wait import wait_until

# Configurations so far apart are of the same shape: lib/storm.py counts by 2, 3, 4, 5 and 10.
PERIOD = 60
# What may come late and once: the first of something for a thread, an array that had to grow. One
# block that each reload leaked would be PERIOD times PERIODS, and so would one each request.
PERIODS, LATE_BLOCKS, LATE_BYTES = 3, 32, 16 << 10


class Quiet(Site):
    """Whose servers are asked by nobody but the test."""

    def bare(self) -> Config:
        """Without TLS: of a pool's sessions some workers have one to go on with, and some have not."""
        conf = self.conf(0)
        conf["listeners"] = conf["listeners"][:1]
        del conf["pools"]["sealed"]
        return conf

    def conf(self, number: int) -> Config:
        conf = super().conf(number)
        for pool in conf["pools"].values():
            pool["health"] = "off"
        return conf


@pytest.mark.timeout(300)
def test_reloads_with_requests_and_handshakes_between_keep_nothing_of_the_heap(
        sluiced, model, ca, other_ca, tmp_path):
    site, heap = Quiet(tmp_path, model, ca, other_ca), Heap(tmp_path)
    site.publish(0)
    for times, serial in zip((site.edge_times, site.pool_times), site.serials(0)):
        times.install(serial, 0.0)
        times.settle(serial, 0.0)
    # The sanitizers have a heap of their own, and say themselves what was leaked.
    proxy = sluiced(site.conf(0), env={} if is_sanitized() else heap.env)
    edge, inside = proxy.address("edge"), Inside(proxy)
    reloads = Storm(proxy, inside, site)

    def pass_by(period: int) -> None:
        reloads.one(period * PERIOD + 1)
        secure = proxy.address("secure")
        with Streams(edge, 2, CERTS) as plain, \
                Streams(secure, 2, CERTS, tls=site.context) as sealed, \
                Handshakes(secure, site.context, site.edge_times, site.pool_times, 30) as shaken:
            for number in range(period * PERIOD + 2, (period + 1) * PERIOD + 1):
                reloads.one(number)
                assert fetch(edge, "/bytes/16").status == 200
        for clients in (plain, sealed, shaken):
            assert clients.done > 0 and clients.failures == [], clients.failures

    def at_rest() -> Held:
        settled(proxy)
        wait_until(lambda: proxy.metric("sluiced_endpoint_connections") == 0, 20,
                   "idle connections to be closed",
                   lambda: {k: v for k, v in proxy.metrics().items() if "connections" in k and v})
        proxy.write_config(site.bare())
        assert inside.reload()["ok"]
        settled(proxy)
        return heap.at_rest()

    pass_by(0)
    before = at_rest()
    for period in range(1, 1 + PERIODS):
        pass_by(period)
    after = at_rest()
    if is_sanitized():
        return
    print(before, after, "after", reloads.applied, "applied and", reloads.refused, "refused")
    assert before.blocks > 50, "what is counted is not this process"
    assert after.blocks - before.blocks < LATE_BLOCKS, (before, after)
    assert after.bytes - before.bytes < LATE_BYTES, (before, after)
