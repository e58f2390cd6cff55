# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition with a deadline: the only place of these tests that sleeps."""

import time
from typing import Any, Callable, Optional, TypeVar

T = TypeVar("T")
STEP_S = 0.02


def wait_until(cond: Callable[[], T], deadline_s: float, what: str,
               dump: Optional[Callable[[], Any]] = None) -> T:
    """Calls cond until it is true and returns its value; on time-out fails and shows dump().

    An OSError of cond counts as "not yet"; the last one is shown.
    """
    end = time.monotonic() + deadline_s
    last: Any = None
    while True:
        try:
            last = cond()
            if last:
                return last
        except OSError as error:
            last = repr(error)
        if time.monotonic() >= end:
            state = f"\nstate: {dump()}" if dump is not None else ""
            raise AssertionError(f"waited {deadline_s} s for {what}; last value {last!r}{state}")
        time.sleep(STEP_S)


class Pace:
    """Moments at a fixed distance, counted from the first: whoever is late goes on at once."""

    def __init__(self, per_s: float) -> None:
        self.distance_s = 1.0 / per_s
        self.due = time.monotonic()

    def wait(self) -> None:
        """Until the next moment, should it not be over already."""
        self.due += self.distance_s
        time.sleep(max(0.0, self.due - time.monotonic()))


def stays(cond: Callable[[], Any], for_s: float, what: str) -> None:
    """Checks that cond holds during all of a time span."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert cond(), f"did not stay for {for_s} s: {what}"
        time.sleep(STEP_S)
