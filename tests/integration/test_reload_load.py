# SPDX-License-Identifier: Apache-2.0
"""The first promise, in short: reloads at full load cost nothing and leave nothing behind."""

from lib.reload_load import is_sanitized, reload_under_load, versions, weights


def test_200_reloads_at_full_load_cost_no_request_and_no_stream(sluiced, model):
    models = versions(model)
    proxy = sluiced(weights(models, 0))
    # A sanitizer makes each slower: fewer there, in the same time.
    print(reload_under_load(proxy, models, 60 if is_sanitized() else 200, at_most_s=60))
