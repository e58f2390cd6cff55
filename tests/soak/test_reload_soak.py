# SPDX-License-Identifier: Apache-2.0
"""Reloads for minutes at full load; and for a shorter time under the sanitizers."""

import os
import subprocess
from pathlib import Path

import pytest

from lib.reload_load import reload_under_load, versions, weights
from lib.sluiced import ROOT, binary


def test_reloads_at_full_load_cost_nothing_and_leave_nothing(sluiced, model, seconds):
    models = versions(model)
    proxy = sluiced(weights(models, 0))
    print(reload_under_load(proxy, models, 200, at_least_s=seconds, at_most_s=seconds + 120))


@pytest.mark.parametrize("flavour", ["asan", "tsan"])
def test_reloads_at_full_load_under_a_sanitizer(sluiced, model, seconds, flavour, tmp_path,
                                                monkeypatch):
    build = Path(binary()).resolve().parents[1]
    subprocess.run(["make", "-C", str(ROOT), f"-j{os.cpu_count()}", f"FLAVOUR={flavour}",
                    f"BUILD_ROOT={build}", "all"], check=True)
    wrapper = tmp_path / "sluiced"  # without address randomisation, with which the sanitizers collide
    wrapper.write_text(f'#!/bin/sh\nexec {ROOT}/.ci/fixed-layout {build}/{flavour}/sluiced "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("SLUICED", str(wrapper))
    monkeypatch.setenv("FLAVOUR", flavour)
    models = versions(model)
    proxy = sluiced(weights(models, 0))
    print(reload_under_load(proxy, models, 100, at_least_s=seconds / 10, at_most_s=seconds + 120))
