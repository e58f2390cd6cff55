# SPDX-License-Identifier: Apache-2.0
"""The first promise, in short: a storm of reloads costs nothing and leaves nothing behind."""

import pytest

from lib.steady import is_sanitized
from lib.storm import MODERATE, Site, storm


@pytest.mark.timeout(400)
def test_600_reloads_at_10_a_second_cost_no_byte_of_a_stream_and_no_handshake(
        sluiced, model, ca, other_ca, tmp_path):
    site = Site(tmp_path, model, ca, other_ca)
    # Under a sanitizer fewer: there it is not memory that is looked at, and all takes longer.
    print(storm(sluiced, site, 150 if is_sanitized() else 600, MODERATE))
