# SPDX-License-Identifier: Apache-2.0
"""The pods of a session, each a process of pod.py in the pods' namespace."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import List, Optional

from network import Network, pod_ip

SERVER = Path(__file__).with_name("pod.py")
PORT = 8000


class Pod:
    """One pod, which is started, told to misbehave, stopped and killed."""

    def __init__(self, network: Network, number: int) -> None:
        self.network = network
        self.ip = pod_ip(number)
        self.address = f"{self.ip}:{PORT}"
        self.process: Optional["subprocess.Popen[bytes]"] = None
        self.mode = ""
        self.stopped = False

    def _await(self, mode: str) -> None:
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline().decode().strip()
        assert line == mode, f"pod {self.address} said {line!r}, not {mode!r}"
        self.mode = mode

    def launch(self) -> None:
        """Begins to start it."""
        # nsenter becomes what it starts: signals reach the pod itself.
        self.process = subprocess.Popen([*self.network.inside, sys.executable, str(SERVER), self.ip, str(PORT)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def wait(self) -> None:
        """Until it listens."""
        self._await("normal")

    def set_mode(self, mode: str) -> None:
        """Returns once it holds."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(f"{mode}\n".encode())
        self.process.stdin.flush()
        self._await(mode)

    def terminate(self) -> None:
        """SIGTERM: it ends once what runs in it has."""
        assert self.process is not None
        self.process.terminate()

    def kill(self) -> None:
        """SIGKILL; what it had open is reset or closed by the kernel."""
        if self.process is not None:
            self.process.kill()
            self.reap()

    def reap(self) -> None:
        """Until it has ended."""
        if self.process is not None:
            self.process.wait(30)
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
            self.process = None

    def pause(self) -> None:
        """SIGSTOP: the kernel accepts for it, and nothing more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.stopped = False


class Pods(List[Pod]):
    """All of them."""

    def __init__(self, network: Network, count: int = 5) -> None:
        super().__init__(Pod(network, number) for number in range(count))
        self.network = network
        self.reset()

    def reset(self) -> None:
        """All run, and behave."""
        self.network.impair([pod.ip for pod in self])
        for pod in self:
            if pod.stopped:
                pod.resume()
        self.start()
        for pod in self:
            if pod.mode != "normal":
                pod.set_mode("normal")

    def start(self) -> None:
        """Those that do not run."""
        dead = [pod for pod in self if pod.process is None]
        for pod in dead:
            pod.launch()
        for pod in dead:
            pod.wait()

    def terminate(self) -> None:
        """All of them, in order."""
        for pod in self:
            pod.terminate()
        for pod in self:
            pod.reap()

    def kill(self) -> None:
        """All of them at once."""
        for pod in self:
            if pod.process is not None:
                pod.process.kill()
        for pod in self:
            pod.reap()
