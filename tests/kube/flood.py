# SPDX-License-Identifier: Apache-2.0
"""Pods that turn ready and unready, at a rate, from a process of its own: until SIGTERM.

Its arguments are one JSON object: see Flood.
"""

import http.client
import itertools
import json
import signal
import ssl
import sys
import threading
import time
from pathlib import Path

from process import Process

WRITERS = 6


class Flood:
    """So many flips a second over the pods of these names; `with` ends it. flips: how many were
    made, known afterwards.
    """

    def __init__(self, namespace, names, rate):
        cluster = namespace.cluster
        self.flips = 0
        self.log = cluster.directory / "flood.log"
        self.log.unlink(missing_ok=True)
        options = {
            "port": cluster.port,
            "ca": str(cluster.ca),
            "admin": [str(path) for path in cluster.admin],
            "paths": [f"{namespace.core}/pods/{name}/status" for name in names],
            "rate": rate,
        }
        command = [sys.executable, Path(__file__).resolve(), json.dumps(options)]
        self.process = Process("flood", command, self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.process.stop() == 0, self.process.tail()
        self.flips = json.loads(self.log.read_text().splitlines()[-1])


def write(options, turns, stopping):
    """Flips at each turn of this writer."""
    context = ssl.create_default_context(cafile=options["ca"])
    context.load_cert_chain(*options["admin"])
    server = http.client.HTTPSConnection("127.0.0.1", options["port"], context=context, timeout=10)
    began, paths = time.monotonic(), options["paths"]
    fields = {"Content-Type": "application/strategic-merge-patch+json"}
    while True:
        turn = next(turns)
        if stopping.wait(max(0.0, began + turn / options["rate"] - time.monotonic())):
            return
        state = "True" if turn // len(paths) % 2 else "False"
        body = {"status": {"conditions": [{"type": "Ready", "status": state}]}}
        server.request("PATCH", paths[turn % len(paths)], json.dumps(body), fields)
        answer = server.getresponse()
        text = answer.read()
        assert answer.status == 200, text[:500]


def main(options):
    """Floods until SIGTERM, then prints the number of flips."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    turns = itertools.count()
    writers = [
        threading.Thread(target=write, args=(options, turns, stopping)) for _ in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    print(next(turns) - WRITERS)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
