# SPDX-License-Identifier: Apache-2.0
"""What /proc says of a process: CPU time of it or of a thread, memory."""

import os
import re
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid, thread=None):
    """CPU seconds taken so far by a process, or by one of its threads."""
    stat = f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat"
    fields = Path(stat).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def thread_ms(pid, thread):
    """The same of a thread in ms, exact to the microsecond."""
    return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e6


def rss_mib(pid):
    """Resident memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def open_fds(pid):
    """How many descriptors it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
