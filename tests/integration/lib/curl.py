# SPDX-License-Identifier: Apache-2.0
"""curl, the client that everybody has."""

import subprocess
from typing import Tuple


def curl(*args: str) -> Tuple[str, str]:
    """Runs curl to its end, which must be a good one; returns its output and what -v tells."""
    done = subprocess.run(["curl", "-sS", "-v", "--max-time", "60", *args], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    told = done.stderr.decode("latin-1")
    assert done.returncode == 0, f"curl ended with {done.returncode}\n{told}"
    return done.stdout.decode("latin-1"), told
