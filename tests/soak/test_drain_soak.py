# SPDX-License-Identifier: Apache-2.0
"""SIGTERM while streams run that last five minutes: they end whole."""

from lib.drain import drain_with_streams


def test_streams_of_minutes_end_whole_and_then_the_process(sluiced, model, upstream, ca, seconds):
    print(drain_with_streams(sluiced, model, upstream, ca, max(seconds, 12.0)))
