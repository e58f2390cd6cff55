# SPDX-License-Identifier: Apache-2.0
"""What a process has from its heap, to the block: heap_count.c, compiled and preloaded."""

import struct
import subprocess
from pathlib import Path
from typing import Dict, List, NamedTuple

from lib.wait import wait_until

SOURCE = Path(__file__).with_name("heap_count.c")
SAME_N = 25  # looks at a heap at rest, each a step of wait_until after the one before


class Held(NamedTuple):
    """Blocks that were allocated and not freed, and their bytes."""

    blocks: int
    bytes: int


class Heap:
    """Of the process that is started with env."""

    def __init__(self, directory: Path) -> None:
        library = directory / "heap_count.so"
        done = subprocess.run(
            ["cc", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
             "-o", str(library), str(SOURCE)], check=False, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode()
        self.counts = directory / "heap_count"
        self.counts.write_bytes(bytes(struct.calcsize("qq")))
        self.env: Dict[str, str] = {"LD_PRELOAD": str(library), "HEAP_COUNT": str(self.counts)}

    def held(self) -> Held:
        """As of now."""
        return Held(*struct.unpack("qq", self.counts.read_bytes()))

    def at_rest(self) -> Held:
        """Once nothing comes and goes."""
        looks: List[Held] = []

        def is_steady() -> bool:
            looks.append(self.held())
            return len(looks) >= SAME_N and len(set(looks[-SAME_N:])) == 1

        wait_until(is_steady, 20, "a heap at rest", lambda: looks[-SAME_N:])
        return looks[-1]
