# SPDX-License-Identifier: Apache-2.0
"""The soak tests use the fixtures of the integration tests. SOAK_SECONDS says how long each of them
loads the proxy (300); the storm of reloads takes ten minutes, unless it says less."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

INTEGRATION = Path(__file__).resolve().parents[1] / "integration"
sys.path.insert(0, str(INTEGRATION))

SPEC = importlib.util.spec_from_file_location("integration_fixtures", INTEGRATION / "conftest.py")
assert SPEC is not None and SPEC.loader is not None
FIXTURES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(FIXTURES)
pytest_runtest_makereport = FIXTURES.pytest_runtest_makereport
sluiced = FIXTURES.sluiced
model = FIXTURES.model
ca = FIXTURES.ca
other_ca = FIXTURES.other_ca
upstream = FIXTURES.upstream


@pytest.fixture
def seconds() -> float:
    """How long each test loads the proxy."""
    return float(os.environ.get("SOAK_SECONDS", "300"))


@pytest.fixture
def storm_seconds() -> float:
    """How long the storm of reloads lasts."""
    return min(600.0, float(os.environ.get("SOAK_SECONDS", "600")))
