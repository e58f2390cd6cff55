# SPDX-License-Identifier: Apache-2.0
"""Child processes and waiting: every child is ended by its own pid, every wait has a deadline."""

import ctypes
import signal
import socket
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def eventually(check, what, timeout=5.0, interval=0.02):
    """Calls check() until it returns something true, and returns that; AssertionError with `what`
    after timeout (s).

    An AssertionError raised by check() counts as "not yet", and its text is in the final one.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            result = check()
            seen = f"last seen: {result!r}"
        except AssertionError as error:
            result, seen = None, f"last seen: {error}"
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {timeout} s: {what() if callable(what) else what}; {seen}"
            )
        time.sleep(interval)


def free_port(host="127.0.0.1"):
    """A free TCP port below the ephemeral range: a server that restarts finds it free again.

    From within the range a client that retries a dead port could be given that very port, and
    connect to itself.
    """
    for port in range(20000 + time.monotonic_ns() % 8000, 32768):
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def die_with_parent():
    """In the child, before exec: a killed pytest leaves nothing behind. Start children from the
    main thread only.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One child with its output in a file."""

    def __init__(self, name, command, log, *, env=None, **popen):
        self.name = name
        self.log = Path(log)
        with self.log.open("ab") as out:
            popen.setdefault("stdout", out)
            popen.setdefault("stderr", out)
            self.child = subprocess.Popen(  # pylint: disable=consider-using-with
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                env=env,
                preexec_fn=die_with_parent,
                **popen,
            )

    @property
    def pid(self):
        """Its process id."""
        return self.child.pid

    def running(self):
        """False once it has ended."""
        return self.child.poll() is None

    def tail(self, lines=20):
        """The end of its log, for messages."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.name} ({self.log})\n" + "\n".join(text.splitlines()[-lines:])

    def send(self, number):
        """Sends a signal, if it still runs."""
        if self.running():
            self.child.send_signal(number)

    def stop(self, number=signal.SIGTERM, timeout=10.0):
        """Signals it and waits for its end, after timeout (s) with KILL; returns the exit code."""
        self.send(number)
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()
