# SPDX-License-Identifier: Apache-2.0
"""`make run`: the demo starts, serves, reloads an edited file and ends with all its children."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from lib.fetch import fetch
from lib.process import Process
from lib.sluiced import ROOT, binary
from lib.wait import wait_until


def demo(directory: Path, *flags: str) -> Process:
    """Starts it on ports of the kernel's choice."""
    return Process([sys.executable, "-u", str(ROOT / "tests" / "demo" / "run.py"), "--binary",
                    binary(), "--dir", str(directory), "--port", "0", "--admin-port", "0", *flags])


def children(pid: int) -> List[int]:
    """Pids of the direct children."""
    return [int(text) for text in
            Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def running(tmp_path) -> Iterator[Process]:
    """A demo that has printed its guide."""
    process = demo(tmp_path)
    wait_until(lambda: any("Ctrl-C" in line for line in process.stdout), 30, "the guide",
               process.log)
    yield process
    if process.running():
        process.signal(signal.SIGTERM)
    process.wait(30)


def edge(process: Process) -> str:
    """Address that the guide gives."""
    return re.search(r"http://([\d.:]+)/v1/", process.log()).group(1)


def test_once_shows_the_split(tmp_path):
    process = demo(tmp_path, "--once")
    assert process.wait(60) == 0, process.log()
    counts = dict(re.findall(r"(v\d)=(\d+)", process.stdout[-1]))
    assert sum(map(int, counts.values())) == 100
    assert 88 <= int(counts["v1"]) <= 92, counts


def test_edited_weights_apply_by_themselves(running, tmp_path):
    file = tmp_path / "sluiced.yaml"
    text = file.read_text()
    assert "llama-v1: 90, llama-v2: 10" in text
    file.write_text(text.replace("llama-v1: 90, llama-v2: 10", "llama-v1: 0, llama-v2: 1"))

    def moved() -> bool:
        versions = {fetch(edge(running), "/version").fields["x-model-version"] for _ in range(5)}
        return versions == {"v2"}

    wait_until(moved, 10, "all requests to go to v2", running.log)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_with_all_children(running, signum):
    pids = children(running.pid)
    assert len(pids) == 4
    running.signal(signum)
    assert running.wait(30) == 0, running.log()
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_death_of_a_child_is_told_and_ends_the_rest(running):
    pids = children(running.pid)
    os.kill(pids[0], signal.SIGKILL)
    assert running.wait(30) == 1
    assert any("llama-v1-a" in line for line in running.stderr), running.log()
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_missing_binary_is_told(tmp_path):
    process = Process([sys.executable, str(ROOT / "tests" / "demo" / "run.py"), "--binary",
                       str(tmp_path / "absent"), "--dir", str(tmp_path)])
    assert process.wait(20) == 1
    assert any("absent" in line for line in process.stderr)
