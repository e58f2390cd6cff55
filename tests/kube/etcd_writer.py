# SPDX-License-Identifier: Apache-2.0
"""Changes of objects written into etcd past the API server, at a rate its write path cannot take.

What is written was stored by the API server before: by turns, each of the forms that an object was
given through the API. So the bytes are the server's own, and its watch path is the real one. A
number of fixed width in them may be counted up, to tell the writes apart.
"""

import asyncio
import base64
import http.client
import json
import signal
import sys
import time
from pathlib import Path

from process import Process
from world import etcd

CONNECTIONS = 16


def stored(cluster, key):
    """The bytes of an object in etcd."""
    answer = etcd(cluster, "range", key=base64.b64encode(key.encode()).decode())
    return base64.b64decode(answer["kvs"][0]["value"])


class Stored:
    """One object and the forms it has had."""

    def __init__(self, cluster, namespace, name):
        self.cluster = cluster
        self.key = f"/registry/endpointslices/{namespace}/{name}"
        self.forms = []

    def keep(self):
        """Remembers the present form."""
        self.forms.append(stored(self.cluster, self.key))

    def put(self, form):
        """Writes one of them, of its own."""
        host = self.cluster.etcd_url.partition("://")[2]
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("POST", "/v3/kv/put", body(self.key, form))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status == 200, text


def body(key, value):
    """Of a call of the JSON gateway."""
    pair = {
        "key": base64.b64encode(key.encode()).decode(),
        "value": base64.b64encode(value).decode(),
    }
    return json.dumps(pair).encode()


class Writer:
    """Writes all forms of the objects in turn, so many a second, for so many seconds or until it is
    stopped. rate: what it came to, known afterwards.
    """

    def __init__(self, cluster, objects, rate, seconds, directory):
        self.rate = 0.0
        path = Path(directory) / f"writer-{time.monotonic_ns()}"
        calls = [body(o.key, o.forms[n]).decode() for n in (1, 0) for o in objects]
        host, _, port = cluster.etcd_url.partition("://")[2].partition(":")
        options = {"host": host, "port": int(port), "rate": rate, "seconds": seconds}
        path.write_text(json.dumps({**options, "calls": calls}))
        command = [sys.executable, Path(__file__).resolve(), path]
        self.process = Process("writer", command, path.with_suffix(".log"))

    def running(self):
        """Until it has written for the time given."""
        return self.process.running()

    def end(self):
        """Ends it, if it still runs."""
        assert self.process.stop(timeout=30) == 0, self.process.tail()
        made = json.loads(self.process.log.read_text().splitlines()[-1])
        self.rate = made["puts"] / made["took_s"]


async def write(options, turns, puts):
    """One connection: each turn that it gets."""
    reader, writer = await asyncio.open_connection(options["host"], options["port"])
    began = turns["began"]
    calls = options["calls"]
    while not turns["stop"]:
        turn = turns["next"]
        turns["next"] += 1
        due = began + turn / options["rate"]
        if due > began + options["seconds"]:
            break
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        text = calls[turn % len(calls)]
        head = f"POST /v3/kv/put HTTP/1.1\r\nhost: etcd\r\ncontent-length: {len(text)}\r\n\r\n"
        writer.write(head.encode() + text)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        puts.append(time.monotonic())
    writer.close()


async def main(options):
    """Writes, and prints how much."""
    options["calls"] = [call.encode() for call in options["calls"]]
    turns = {"next": 0, "began": time.monotonic(), "stop": False}
    puts = []
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: turns.__setitem__("stop", True)
    )
    await asyncio.gather(*(write(options, turns, puts) for _ in range(CONNECTIONS)))
    print(json.dumps({"puts": len(puts), "took_s": time.monotonic() - turns["began"]}))


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
