# SPDX-License-Identifier: Apache-2.0
"""A thousand streams at once, many given up by their clients: nothing is lost and nothing stays."""

import time
from typing import List, Tuple

from lib.config import config, pool
from lib.steady import is_sanitized, settled
from lib.streams import Streams
from lib.wait import wait_until

CLIENTS, TOKENS, SPARE = 1000, 12, 4
# Over the measured time. A leak of 1 KiB a stream would be several MiB.
GROWTH_BYTES = 1 << 20


def growth(samples: List[Tuple[float, int]]) -> float:
    """By how much a straight line through (time, bytes) rises from the first sample to the last."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    slope = (sum((x - mean_x) * (y - mean_y) for x, y in samples)
             / sum((x - mean_x) ** 2 for x, _ in samples))
    return slope * (samples[-1][0] - samples[0][0])


def test_a_thousand_streams_with_cancels_leave_nothing_behind(sluiced, model, seconds):
    servers = [model("--token-rate", "2", "--slots", "1024") for _ in range(2)]
    proxy = sluiced(config({"chat": pool(*(server.address for server in servers))}, workers=2,
                           log={"level": "info", "access": "off"}))
    samples: List[Tuple[float, int]] = []
    begun = time.monotonic()
    warm = max(10.0, seconds / 5)
    with Streams(proxy.address("edge"), CLIENTS, TOKENS, cancel_share=0.4, spare=SPARE,
                 seed=7) as streams:
        end = time.monotonic() + max(seconds, 30.0)
        while time.monotonic() < end:
            time.sleep(0.5)
            assert proxy.process.running(), "it ended"
            if time.monotonic() - begun > warm:
                samples.append((time.monotonic(), proxy.process.rss_bytes()))
        fds_under_load = proxy.process.open_fds()
    assert streams.failures == [], (len(streams.failures), streams.failures[:5])
    assert streams.cancelled > CLIENTS / 4 and streams.done > CLIENTS / 4
    settled(proxy)

    def aborted() -> int:
        return sum(server.state()["aborted"] for server in servers)

    wait_until(lambda: aborted() == streams.cancelled, 10,
               f"{streams.cancelled} aborts seen upstream", aborted)
    assert proxy.metric("sluiced_pool_cancels_total") == streams.cancelled
    assert proxy.metric("sluiced_requests_total", reason="client_gone") == streams.cancelled
    assert proxy.metric("sluiced_requests_total", reason="ok") == streams.done
    wait_until(lambda: proxy.process.open_fds() < fds_under_load / 10, 20, "descriptors to be closed",
               proxy.process.open_fds)
    rise = growth(samples)
    print({"done": streams.done, "cancelled": streams.cancelled, "rss_growth_kib": int(rise / 1024),
           "rss_kib": samples[-1][1] // 1024})
    assert is_sanitized() or rise < GROWTH_BYTES, [y // 1024 for _, y in samples[::10]]
