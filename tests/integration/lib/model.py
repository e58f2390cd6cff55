# SPDX-License-Identifier: Apache-2.0
"""A demo model server as a child process, and its control interface."""

import json
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from lib.fetch import fetch
from lib.process import Process
from lib.wait import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "demo" / "model_server.py"


class Model:
    """One model server. Control goes to a listener of its own, which no fault touches."""

    def __init__(self, *flags: str, bind: str = "127.0.0.1:0") -> None:
        self.flags = list(flags)
        self.process: Process
        self.address = ""
        self.control_address = ""
        self._start(bind)

    def _start(self, bind: str) -> None:
        argv = [sys.executable, str(SCRIPT), "--bind", bind, "--control", "127.0.0.1:0"]
        self.process = Process(argv + self.flags)
        self.address = self._announced("listening ")
        self.control_address = self._announced("control ")

    def _announced(self, word: str) -> str:
        def find() -> Optional[str]:
            assert self.process.running(), self.process.log()
            for line in self.process.stdout:
                if line.startswith(word):
                    return line[len(word):]
            return None
        return str(wait_until(find, 15, f"model server to print {word!r}", self.process.log))

    def control(self, **faults: Any) -> Dict[str, Any]:
        """Sets faults; returns the state."""
        answer = fetch(self.control_address, "/_control", "POST", json.dumps(faults).encode())
        assert answer.status == 200, answer
        return answer.json()

    def state(self) -> Dict[str, Any]:
        """Faults and counters."""
        return fetch(self.control_address, "/_control").json()

    def wait_state(self, key: str, wanted: Any, deadline_s: float = 5.0) -> None:
        """Waits until a counter has a value."""
        wait_until(lambda: self.state()[key] == wanted, deadline_s, f"{key} == {wanted}",
                   self.state)

    def kill(self) -> None:
        """SIGKILL: the kernel resets or closes its connections."""
        self.process.kill()

    def restart(self) -> None:
        """Comes back on the same address."""
        self.process.kill()
        self._start(self.address)

    def stop(self) -> None:
        """SIGTERM and wait."""
        if self.process.running():
            self.process.signal(signal.SIGTERM)
            self.process.wait(10)

    def log(self) -> str:
        """Output and state for a failure report."""
        lines: List[str] = [self.process.log()]
        if self.process.running():
            try:
                lines.append(json.dumps(self.state()))
            except (OSError, ValueError) as error:
                lines.append(f"no state: {error!r}")
        return "\n".join(lines)
