# SPDX-License-Identifier: Apache-2.0
"""A child process whose output lines are read by a thread, so that it never blocks on a pipe."""

import os
import signal
import subprocess
import threading
from typing import Dict, List, Optional, Sequence


class Process:
    """Runs argv; keeps the lines of its stdout and stderr apart."""

    def __init__(self, argv: Sequence[str], env: Optional[Dict[str, str]] = None,
                 cwd: Optional[str] = None, pass_fds: Sequence[int] = ()) -> None:
        self.argv = list(argv)
        self.popen = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})}, cwd=cwd, pass_fds=pass_fds)
        self.pid = self.popen.pid
        self.code = -1  # of its exit, after wait()
        self.stdout: List[str] = []
        self.stderr: List[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.popen.stdout, self.stdout), (self.popen.stderr, self.stderr))]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines: List[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def signal(self, signum: int) -> None:
        """Sends a signal, to this one pid."""
        self.popen.send_signal(signum)

    def wait(self, deadline_s: float) -> int:
        """Waits for the end, then for all output; returns the exit code."""
        self.code = self.popen.wait(deadline_s)
        for reader in self._readers:
            reader.join(5)
        return self.code

    def kill(self) -> None:
        """Ends it at once; harmless when it has ended."""
        if self.running():
            self.signal(signal.SIGKILL)
        self.wait(10)

    def rss_bytes(self) -> int:
        """Resident memory."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def open_fds(self) -> int:
        """Number of open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def log(self) -> str:
        """All it wrote, for a failure report."""
        return "\n".join([f"$ {' '.join(self.argv)}  (pid {self.pid})", *self.stdout, *self.stderr])
