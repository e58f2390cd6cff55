# SPDX-License-Identifier: Apache-2.0
"""strace of one thread of a process: what it asks of the kernel, call by call."""

import collections
import re
import signal
from pathlib import Path
from typing import Counter, List, NamedTuple, Optional

from lib.process import Process
from lib.wait import wait_until

# A call that took long is written in two parts only where several threads are traced: here one is.
LINE = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?)(?: (E[A-Z]+))?")
ARGUMENT = re.compile(r"^\d+")


class Call(NamedTuple):
    """One system call, its arguments as strace shows them."""

    name: str
    arguments: str
    result: int
    error: str  # "EAGAIN", or nothing

    @property
    def fd(self) -> int:
        """The first argument, where it is a descriptor."""
        match = ARGUMENT.match(self.arguments)
        return int(match.group()) if match else -1


def thread_id(pid: int, name: str) -> int:
    """The thread of a process that has this name."""
    names = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        names[task.joinpath("comm").read_text().strip()] = int(task.name)
    assert name in names, f"process {pid} has no thread {name!r}: {names}"
    return names[name]


class Strace:
    """Attached to a thread from its making until calls(). inject: calls that fail, as strace says
    it: "sendto:error=ECONNRESET:when=1"."""

    def __init__(self, tid: int, path: Path, inject: str = "") -> None:
        self.tid = tid
        self.path = path
        faults = ["-e", f"inject={inject}"] if inject else []
        self.process = Process(
            ["strace", "-q", "-s", "48", *faults, "-o", str(path), "-p", str(tid)])
        wait_until(self._attached, 10, f"strace to attach to {tid}", self.process.log)

    def _attached(self) -> bool:
        assert self.process.running(), (
            "strace cannot trace here (does the kernel or the container forbid ptrace?):\n"
            + self.process.log())
        status = Path(f"/proc/{self.tid}/status").read_text()
        match = re.search(r"^TracerPid:\s*(\d+)", status, re.MULTILINE)
        # Attached and let go on: a thread that is still stopped ('t') has not seen its tracer yet.
        return (match is not None and match.group(1) == str(self.process.pid)
                and re.search(r"^State:\s*t", status, re.MULTILINE) is None)

    def _waits(self) -> bool:
        """Whether the last call is under way, and is a wait."""
        return self.path.read_text(errors="replace").rpartition("\n")[2].startswith("epoll_")

    def calls(self) -> List[Call]:
        """Lets go of the thread once it waits; everything that it called meanwhile."""
        wait_until(self._waits, 10, "the traced thread to wait", self.process.log)
        self.process.signal(signal.SIGINT)
        self.process.wait(10)
        found = []
        for line in self.path.read_text(errors="replace").splitlines():
            call = parse(line)
            if call is not None:
                found.append(call)
        return found

    def stop(self) -> None:
        """Lets go of the thread, whatever happened."""
        self.process.kill()


def parse(line: str) -> Optional[Call]:
    """A line of strace; None for what is no call, or was under way when strace let go."""
    if line.startswith("restart_syscall("):  # the wait in which strace found the thread
        return None
    match = LINE.match(line)
    if match is None:
        assert line.startswith(("---", "+++")) or "<detached" in line, (
            f"not a line of strace: {line!r}")
        return None
    result = -1 if match.group(3) == "?" else int(match.group(3))
    return Call(match.group(1), match.group(2), result, match.group(4) or "")


def names(calls: List[Call]) -> Counter[str]:
    """How often each was called."""
    return collections.Counter(call.name for call in calls)
