# SPDX-License-Identifier: Apache-2.0
"""What must not be left, and what must not grow."""

import os
from typing import List

from lib.sluiced import Sluiced
from lib.wait import wait_until


def is_sanitized() -> bool:
    """Whether memory is the sanitizer's: quarantine and shadow grow without a leak."""
    return os.environ.get("FLAVOUR", "release") in ("asan", "tsan")


def settled(proxy: Sluiced) -> None:
    """Nothing is left of what was: one view, and no request that runs."""
    wait_until(lambda: proxy.metric("sluiced_live_views") == 1, 20, "one live view", proxy.log)
    wait_until(lambda: proxy.metric("sluiced_endpoint_in_flight") == 0, 20, "nothing in flight",
               proxy.status)


def check_flat(what: str, samples: List[int], most: int) -> None:
    """The lowest of the last tenth is not above the highest of the first third, in which a heap
    finds its shape, by more than most."""
    tail = samples[-max(1, len(samples) // 10):]
    growth = min(tail) - max(samples[:len(samples) // 3])
    assert growth < most, (what, growth, samples[::max(1, len(samples) // 50)])
