# SPDX-License-Identifier: Apache-2.0
"""The network that a session makes: proxies and load in one namespace, pods in another, and link.c
between them, which loses packets and brings them late."""

import subprocess
from pathlib import Path
from typing import List

import netns

from lib.wait import wait_until

SOURCE = Path(__file__).with_name("link.c")
PODS = "10.244.0.0/16"
PROXIES = "10.243.0.1"


def pod_ip(number: int) -> str:
    """Address of a pod, counted from 0."""
    return f"10.244.1.{number + 1}"


class Network:
    """Begins with moving this process into a namespace of its own, once and for good."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        program = directory / "link"
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o", str(program), str(SOURCE)],
                       check=True)
        netns.isolate()
        self.link = subprocess.Popen([str(program), str(seed)], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE)
        self._answer("ready")
        self.inside = ["nsenter", f"--net=/proc/{self.link.pid}/ns/net"]
        for command in (f"ip addr add {PROXIES}/32 dev pods", "ip link set pods up",
                        f"ip route add {PODS} dev pods src {PROXIES}"):
            subprocess.run(command.split(), check=True)
        for command in ("ip link set lo up", "ip link set proxies up",
                        f"ip route add local {PODS} dev lo", f"ip route add {PROXIES} dev proxies"):
            subprocess.run([*self.inside, *command.split()], check=True)

    def _answer(self, expected: str) -> None:
        assert self.link.stdout is not None
        line = self.link.stdout.readline().decode().strip()
        assert line == expected, f"link said {line!r}, not {expected!r}"

    def impair(self, ips: List[str], loss_pct: int = 0, delay_ms: int = 0) -> None:
        """From here on, of the packets to and from each of these. Delay: each way."""
        assert self.link.stdin is not None
        for ip in ips:
            self.link.stdin.write(f"{ip} {loss_pct} {delay_ms}\n".encode())
            self.link.stdin.flush()
            self._answer("ok")

    def stop(self) -> None:
        """Ends link; with the last process in it the namespace goes."""
        assert self.link.stdin is not None
        self.link.stdin.close()
        wait_until(lambda: self.link.poll() is not None, 10, "link to end")
