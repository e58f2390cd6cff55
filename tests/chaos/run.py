#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each fault with each proxy in turn, on the same pods and under the same load. Adds a table to RESULTS.md."""

import argparse
import datetime
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

import paths  # noqa: F401  pylint: disable=unused-import
import cases
import install
import report
from machine import describe, output
from network import Network
from pods import Pods
from proxies import KINDS, Proxy

from lib.sluiced import binary

RESULTS = Path(__file__).with_name("RESULTS.md")


def parse(argv: List[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", default="haproxy,envoy", help="of haproxy,envoy; none")
    parser.add_argument("--case", default="", metavar="WORD", help="only those whose name has it")
    parser.add_argument("--seed", type=int, default=1, help="of what is lost")
    parser.add_argument("--no-report", action="store_true", help="leaves RESULTS.md as it is")
    return parser.parse_args(argv)


VERSION = {"sluiced": "version", "haproxy": "-v", "envoy": "--version"}


def version(name: str, program: List[str]) -> str:
    """Name, and what it says of its version."""
    found = re.search(r"\d+\.\d+\.\d+", output(*program, VERSION[name]))
    return f"{name} {found.group() if found else '?'}"


def session(programs: Dict[str, List[str]], chosen: List[cases.Case], seed: int) -> Dict[str, Dict[str, cases.Result]]:
    """All cases."""
    table: Dict[str, Dict[str, cases.Result]] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        network = Network(Path(folder), seed)
        pods = Pods(network)
        try:
            for number, case in enumerate(chosen):
                table[case.name] = {}
                for name, program in programs.items():
                    place = Path(folder) / f"{number}-{name}"
                    proxy: Proxy = KINDS[name](program, place, [pod.address for pod in pods])
                    table[case.name][name] = cases.run(case, pods, proxy, cases.LONG)
                    print(report.rows(case.name, {name: table[case.name][name]})[0], flush=True)
        finally:
            pods.kill()
            network.stop()
    return table


def main(argv: List[str]) -> int:
    """Entry point."""
    options = parse(argv)
    peers = [] if options.peers == "none" else options.peers.split(",")
    programs = {"sluiced": [binary()], **install.peers(peers, False)}
    chosen = [case for case in cases.CASES if options.case in case.name]
    versions = [version(name, program) for name, program in programs.items()]
    table = session(programs, chosen, options.seed)
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = "\n".join([f"## {today}, seed {options.seed}", "", ", ".join(versions) + ".",
                      f"{describe()}, load average {os.getloadavg()[0]:.2f}.", "", report.HEAD, "",
                      *report.lines(table), ""])
    print("\n" + text)
    if not options.no_report:
        with open(RESULTS, "a", encoding="utf-8") as out:
            out.write("\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
