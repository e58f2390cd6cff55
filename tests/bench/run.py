#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares sluiced with other proxies: CPU, latency, memory. Adds a table to RESULTS.md.

Each proxy has one worker on core 0; the load generators and the upstream share core 1. All are up
during the whole session and take turns of a fraction of a second, in an order that rotates; a ratio is
the median of the ratios of each round. What the machine does meanwhile happens to all of them.

Two builds of sluiced, in one session and without peers:

    make bench ARGS='--binary before=/path/sluiced --peers none --case keep-alive,tokens --no-report'
"""

import argparse
import datetime
import json
import os
import resource
import shutil
import statistics
import sys
from typing import Dict, List

import install
import load
import targets
from cases import CASES, MEMORY, chosen
from machine import HERE, describe
from peers import KINDS
from session import Plan, Session

IN_NAMESPACE = "SLUICED_BENCH_NAMESPACE"
KEYS = [MEMORY, *(case.key for case in CASES)]
QUICK = Plan(rounds=5, slices=6, memory_rounds=1)
FULL = Plan(rounds=7, slices=12, memory_rounds=3)


def parse(argv: List[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="three minutes, what has a target; without it half an hour and all cases")
    parser.add_argument("--peers", default="", help="of haproxy,nginx,envoy; none (--quick: without envoy)")
    parser.add_argument("--stable", action="store_true",
                        help="HAProxy and nginx of the Debian that runs here, not of sid (each is fetched "
                        "once: remove build/bench/sid for newer ones)")
    parser.add_argument("--binary", action="append", default=[], metavar="NAME=PATH",
                        help="another build of sluiced as one more peer; sluiced=PATH for the one measured")
    parser.add_argument("--rounds", type=int, default=0, help="how often each is measured")
    parser.add_argument("--slices", type=int, default=0, help="of 0.1 or 0.2 s, of each load in a round")
    parser.add_argument("--case", default="", metavar="WORD,WORD", help="only those that begin with one of the "
                        "words, of " + ", ".join(KEYS))
    parser.add_argument("--json", default="", metavar="FILE", help="the values of each round, too")
    parser.add_argument("--no-report", action="store_true", help="leaves RESULTS.md as it is")
    options = parser.parse_args(argv)
    for word in filter(None, options.case.split(",")):
        if not any(chosen(word, key) for key in KEYS):
            parser.error(f"no case begins with {word}")
    return options


def programs(options: argparse.Namespace) -> Dict[str, List[str]]:
    """What is compared, by name, ours first."""
    wanted = options.peers or ("haproxy,nginx" if options.quick else "haproxy,nginx,envoy")
    names = [] if wanted == "none" else wanted.split(",")
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise SystemExit(f"bench: no such peer: {', '.join(unknown)}")
    return {**install.sluiced(options.binary), **install.peers(names, options.stable)}


def enter_namespace(found: Dict[str, List[str]]) -> None:
    """Begins again in a network namespace of its own: no packet filter in the way, no port taken."""
    if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip"):
        os.environ[IN_NAMESPACE] = json.dumps(found)
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
                              sys.executable, *sys.argv])


def measure(options: argparse.Namespace, found: Dict[str, List[str]]) -> None:
    """A session and its report."""
    plan = QUICK if options.quick else FULL
    plan = plan._replace(rounds=options.rounds or plan.rounds, slices=options.slices or plan.slices)
    cases = [case for case in CASES
             if chosen(options.case, case.key) and (case.quick or options.case or not options.quick)]
    load_before = os.getloadavg()[0]
    session = Session(found, plan, cases)
    session.run(with_memory=chosen(options.case, MEMORY))
    foreign = session.quiet.foreign or [0.0]
    middle = statistics.median(foreign)
    report(session, options, f"Load average before: {load_before:.2f}; others used {middle:.2f} of a core while "
           f"it was measured (at worst {max(foreign):.2f})."
           + (" **Disturbed: not to be kept.**" if middle > load.DISTURBED else ""))


def report(session: Session, options: argparse.Namespace, noise: str) -> None:
    """Prints the tables, and appends them to RESULTS.md."""
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = "\n".join([f"## {today}, {'quick' if options.quick else 'full'}", "",
                      ", ".join(session.versions.values()) + ".", f"{describe()}. {noise}", "",
                      *session.table.lines(), "", *targets.lines(session.table, session.versions), ""])
    print("\n" + text)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump({"versions": session.versions, "rows": session.table.rows,
                       "targets": targets.figures(session.table)}, out, indent=1)
    if not options.no_report:
        with open(HERE / "RESULTS.md", "a", encoding="utf-8") as out:
            out.write("\n" + text)


def main(argv: List[str]) -> int:
    """Entry point."""
    options = parse(argv)
    if os.environ.get("FLAVOUR", "release") != "release":
        raise SystemExit("bench: only FLAVOUR=release says anything")
    if not os.sched_getaffinity(0) >= {0, 1}:
        raise SystemExit("bench: needs the cores 0 and 1")
    inherited = os.environ.get(IN_NAMESPACE)
    found: Dict[str, List[str]] = json.loads(inherited) if inherited else programs(options)
    if not inherited:
        load.compile_tools()
        enter_namespace(found)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, hard), hard))
    if os.geteuid() == 0:
        os.nice(-20)
    measure(options, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
