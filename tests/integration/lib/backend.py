# SPDX-License-Identifier: Apache-2.0
"""The upstream of the benchmarks as a server of tests: one thread of C, which thousands of
connections do not trouble. Compiled here, from tests/bench/backend.c."""

import os
import resource
import subprocess
from pathlib import Path
from typing import Set

from lib.process import Process
from lib.sluiced import ROOT
from lib.wait import wait_until

SOURCE = ROOT / "tests" / "bench" / "backend.c"


def want_descriptors(count: int) -> None:
    """Raises the limit of this process and its children, as far as it goes; it must be enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    assert soft >= count, f"this test needs {count} descriptors, the limit is {soft}"


def build(directory: Path) -> Path:
    """Compiles it into a directory."""
    program = directory / "backend"
    done = subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", str(program), str(SOURCE)],
                          check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    return program


def sockets_of(pid: int) -> Set[str]:
    """Inodes of the sockets that a process has."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(fd)
        if target.startswith("socket:["):
            found.add(target[len("socket:["):-1])
    return found


def listening_port(pid: int) -> int:
    """The TCP port that a process listens on, by the kernel's tables: it was asked for any."""
    own = sockets_of(pid)
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and words[9] in own:
            return int(words[1].split(":")[1], 16)
    raise AssertionError(f"process {pid} does not listen")


class Backend:
    """/bytes/N: N bytes; /sse/R/N: N events, R a second, each with the time it was sent at."""

    def __init__(self, program: Path) -> None:
        self.process = Process([str(program), "127.0.0.1:0"])
        wait_until(lambda: "ready" in self.process.stdout, 10, "the backend", self.process.log)
        self.address = f"127.0.0.1:{listening_port(self.process.pid)}"

    def stop(self) -> None:
        """Ends it; it must not have ended by itself, which it does at the first error."""
        running = self.process.running()
        self.process.kill()
        assert running, self.process.log()
