# SPDX-License-Identifier: Apache-2.0
"""The machine that it runs on: places, programs, and who else uses it."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any, List

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = Path(os.environ.get("BENCH_BUILD") or ROOT / "build" / "bench")


def output(*argv: str) -> str:
    """What a command prints, on whichever of its outputs."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode("utf-8", "replace")


def pinned(argv: List[str], core: int, **options: Any) -> "subprocess.Popen[bytes]":
    """Starts a child on one core."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(argv, preexec_fn=lambda: os.sched_setaffinity(0, {core}), **options)


def busy_s() -> float:
    """CPU time that anybody used since the machine started."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def describe() -> str:
    """Kernel and processor, for a reader of the results."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"Linux {platform.release()}, {model}, {os.cpu_count()} CPUs"
