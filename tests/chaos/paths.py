# SPDX-License-Identifier: Apache-2.0
"""Where the modules are that are shared with other tests. To be imported first."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
for folder in ("chaos", "integration", "kube", "bench"):
    sys.path.append(str(TESTS / folder))
