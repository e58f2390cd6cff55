# SPDX-License-Identifier: Apache-2.0
"""Where the modules are."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import paths  # noqa: E402,F401  pylint: disable=wrong-import-position,unused-import
