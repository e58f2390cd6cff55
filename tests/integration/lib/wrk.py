# SPDX-License-Identifier: Apache-2.0
"""wrk as a child process: more requests than Python can make, and every error counted."""

import re
import signal
from pathlib import Path
from typing import NamedTuple

from lib.process import Process

THREADS = 2
THINK = Path(__file__).with_name("think.lua")


class WrkReport(NamedTuple):
    """What wrk says at its end. errors: sockets that failed or timed out, and answers not 2xx or 3xx."""

    requests: int
    errors: int
    text: str


class Wrk:
    """Keep-alive connections that each send their next request at once, or after a time to think;
    runs until stop()."""

    def __init__(self, url: str, connections: int, at_most_s: int, think_ms: int = 0) -> None:
        script = ["-s", str(THINK), url, str(think_ms)] if think_ms else [url]
        self.process = Process(["wrk", f"-t{THREADS}", f"-c{connections}", f"-d{at_most_s}s",
                                "--timeout", "20s", *script])

    def stop(self, deadline_s: float = 30.0) -> WrkReport:
        """Ends it; it must still have been running, so that what was tested was under load."""
        assert self.process.running(), f"wrk ended too early\n{self.process.log()}"
        self.process.signal(signal.SIGINT)
        try:
            self.process.wait(deadline_s)
        finally:
            self.process.kill()
        text = "\n".join(self.process.stdout)
        total = re.search(r"(\d+) requests in", text)
        assert self.process.code == 0 and total, self.process.log()
        errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
        errors += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
        return WrkReport(int(total.group(1)), errors, text)
