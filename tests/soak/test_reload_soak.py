# SPDX-License-Identifier: Apache-2.0
"""The storm of reloads for ten minutes, at full load, and under the sanitizers."""

import os
import subprocess
from pathlib import Path

import pytest

from lib.sluiced import ROOT, binary
from lib.storm import FULL, MODERATE, PER_S, Site, storm


@pytest.fixture
def site(model, ca, other_ca, tmp_path) -> Site:
    """What is behind the proxy."""
    return Site(tmp_path, model, ca, other_ca)


def test_ten_reloads_a_second_cost_nothing_and_leave_nothing(sluiced, site, storm_seconds):
    print(storm(sluiced, site, int(storm_seconds * PER_S), MODERATE))


def test_reloads_at_full_load_cost_nothing_and_leave_nothing(sluiced, site, seconds):
    print(storm(sluiced, site, 200, FULL, at_least_s=seconds))


@pytest.mark.parametrize("flavour", ["asan", "tsan"])
def test_reloads_at_full_load_under_a_sanitizer(sluiced, site, seconds, flavour, tmp_path,
                                                monkeypatch):
    build = Path(binary()).resolve().parents[1]
    subprocess.run(["make", "-C", str(ROOT), f"-j{os.cpu_count()}", f"FLAVOUR={flavour}",
                    f"BUILD_ROOT={build}", "all"], check=True)
    wrapper = tmp_path / "sluiced"  # without address randomisation, with which the sanitizers collide
    wrapper.write_text(f'#!/bin/sh\nexec {ROOT}/.ci/fixed-layout {build}/{flavour}/sluiced "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("SLUICED", str(wrapper))
    monkeypatch.setenv("FLAVOUR", flavour)
    print(storm(sluiced, site, 100, FULL, at_least_s=seconds / 10))
