# SPDX-License-Identifier: Apache-2.0
"""An upstream that thousands of connections do not trouble: backend.c, compiled by who uses it."""

import resource
import subprocess
from pathlib import Path

from lib.process import Process
from lib.wait import wait_until

SOURCE = Path(__file__).with_name("backend.c")
MARK = "listening "


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


class Backend:
    """/bytes/N: N bytes; /sse/R/N: N events, R a second, numbered from 0."""

    def __init__(self, program: Path) -> None:
        self.process = Process([str(program)])
        wait_until(lambda: self.process.stdout, 10, "the backend to listen", self.process.log)
        assert self.process.stdout[0].startswith(MARK), self.process.log()
        self.address = self.process.stdout[0][len(MARK):]

    def stop(self) -> None:
        """Ends it; it must not have ended by itself, which it does at the first error."""
        running = self.process.running()
        self.process.kill()
        assert running, self.process.log()
