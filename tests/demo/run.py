#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make run`: three pretended model servers and sluiced in front of them, with a 90/10 split.

Standard library only. Everything it starts ends with it, by process id.
"""

import argparse
import collections
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = "llama"
START_DEADLINE_S = 15.0
STOP_DEADLINE_S = 10.0

CONFIG = """\
# Edit this file while the demo runs: sluiced watches it and applies a change by itself.
# Try other weights in `split:` below; a mistake is refused and the old version runs on.
admin: {{ listen: "{admin}" }}
drain: {{ delay: 0s, timeout: 5s }}
listeners:
  - name: edge
    bind: "{edge}"
    http:
      routes:
        - name: chat
          match: {{ path: / }}
          split: {{ llama-v1: 90, llama-v2: 10 }}
pools:
  llama-v1:
    discover: {{ static: [{v1}] }}
    health: {{ http: /health }}
  llama-v2:
    discover: {{ static: [{v2}] }}
    health: {{ http: /health }}
"""

GUIDE = """
sluiced serves:
  edge      http://{edge}/v1/chat/completions   (llama-v1 90 %, llama-v2 10 %)
  status    http://{admin}/status
  metrics   http://{admin}/metrics

Try:
  curl -s http://{edge}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}]}}'
  curl -sN http://{edge}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"hello"}}]}}'
  for i in $(seq 20); do curl -s http://{edge}/version; echo; done

Shift the weights: edit `split:` in {config}
  It reloads by itself; the loop above shows the new share at once.

Ctrl-C ends it all.
"""


class Failed(Exception):
    """Something a person must read."""


class Stopped(Exception):
    """A signal asked for the end."""


class Child:
    """A process of the demo."""

    def __init__(self, name: str, argv: List[str], stdout: Any = None, stderr: Any = None) -> None:
        self.name = name
        self.process = subprocess.Popen(argv, stdout=stdout, stderr=stderr, text=True,
                                        start_new_session=True)

    def first_line(self) -> str:
        """The line a model server prints once it serves."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def died(self) -> Optional[int]:
        """The exit code of a process that has ended, else None."""
        return self.process.poll()

    def stop(self) -> Optional[int]:
        """SIGTERM, and SIGKILL for one that does not listen; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()


class Demo:
    """The processes, the file and the addresses of one demo."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.binary = options.binary
        self.directory = os.path.abspath(options.dir)
        self.config = os.path.join(self.directory, "sluiced.yaml")
        self.log = os.path.join(self.directory, "sluiced.log")
        self.edge = f"127.0.0.1:{wanted_or_any(options.port)}"  # until sluiced says where it is
        self.admin = f"127.0.0.1:{wanted_or_any(options.admin_port)}"
        self.children: List[Child] = []
        self.stopping = False

    def start(self) -> None:
        """Starts the model servers, then sluiced, and waits until it serves."""
        if not os.access(self.binary, os.X_OK):
            raise Failed(f"{self.binary}: no such program (build it with `make`)")
        os.makedirs(self.directory, exist_ok=True)
        models = [self._start_model(name, version) for name, version in
                  (("llama-v1-a", "v1"), ("llama-v1-b", "v1"), ("llama-v2-a", "v2"))]
        self._write_config(models)
        with open(self.log, "w", encoding="utf-8") as log:
            self.children.append(Child("sluiced", [self.binary, "run", "-c", self.config],
                                       stdout=subprocess.DEVNULL, stderr=log))
        self._wait("sluiced to serve", self._serves)

    def _start_model(self, name: str, version: str) -> str:
        child = Child(name, [sys.executable, os.path.join(HERE, "model_server.py"),
                             "--model", MODEL, "--version", version, "--ttft-ms", "80",
                             "--token-rate", "40"], stdout=subprocess.PIPE)
        self.children.append(child)
        word, _, address = child.first_line().partition(" ")
        if word != "listening":
            raise Failed(f"{name} did not start (exit code {child.stop()})")
        return address

    def _write_config(self, models: List[str]) -> None:
        text = CONFIG.format(admin=self.admin, edge=self.edge,
                             v1=", ".join(f'"{a}"' for a in models[:2]), v2=f'"{models[2]}"')
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(text)

    def _learn_addresses(self) -> None:
        """Port 0 is the kernel's choice, and sluiced says which: a port guessed here may be taken."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            events = [json.loads(line) for line in log if line.startswith("{") and line.endswith("}\n")]
        bound = {e["listener"]: e["address"] for e in events if e["event"] == "listening"}
        self.edge = bound.get("edge", self.edge)
        self.admin = bound.get("admin", self.admin)

    def _serves(self) -> bool:
        self._learn_addresses()
        try:
            return (request(self.admin, "GET", "/readyz")[0] == 200
                    and request(self.edge, "GET", "/version")[0] == 200)
        except (OSError, http.client.HTTPException):
            return False

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"waited {START_DEADLINE_S:.0f} s for {what}\n{tail(self.log)}")
            time.sleep(0.05)

    def check(self) -> None:
        """Fails when a child is dead or a signal came."""
        if self.stopping:
            raise Stopped()
        for child in self.children:
            code = child.died()
            if code is not None:
                text = tail(self.log) if child.name == "sluiced" else ""
                raise Failed(f"{child.name} (pid {child.process.pid}) ended with code {code}"
                             f"\n{text}")

    def guide(self) -> str:
        """What to read and to type."""
        return GUIDE.format(edge=self.edge, admin=self.admin, config=self.config, model=MODEL)

    def stop(self) -> int:
        """Ends the children, the proxy first; 1 if the proxy did not end cleanly."""
        code = 0
        for child in reversed(self.children):
            ended = child.stop()
            if child.name == "sluiced" and ended != 0:
                print(f"demo: sluiced ended with code {ended}\n{tail(self.log)}", file=sys.stderr)
                code = 1
        return code


def request(address: str, method: str, path: str,
            body: Optional[Dict[str, Any]] = None) -> Tuple[int, Dict[str, str], bytes]:
    """One HTTP request on a connection of its own."""
    host, _, port = address.rpartition(":")
    conn = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        data = json.dumps(body) if body is not None else None
        conn.request(method, path, data, {"content-type": "application/json"} if body else {})
        answer = conn.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, fields, answer.read()
    finally:
        conn.close()


def wanted_or_any(port: int) -> int:
    """The loopback port if it is free now, else 0."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def tail(path: str, lines: int = 20) -> str:
    """The end of a log."""
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return "".join(text.readlines()[-lines:])
    except OSError:
        return ""


def try_once(demo: Demo, count: int = 100) -> None:
    """A few requests of each kind, and the split they saw."""
    seen: Dict[str, int] = collections.Counter()
    for _ in range(count):
        status, fields, body = request(demo.edge, "GET", "/version")
        if status != 200:
            raise Failed(f"/version answered {status}: {body!r}")
        seen[fields.get("x-model-version", "?")] += 1
    ask = {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}
    status, _, body = request(demo.edge, "POST", "/v1/chat/completions", ask)
    if status != 200 or b"w3" not in body:
        raise Failed(f"chat answered {status}: {body!r}")
    status, _, body = request(demo.edge, "POST", "/v1/chat/completions", dict(ask, stream=True))
    if status != 200 or not body.endswith(b"data: [DONE]\n\n"):
        raise Failed(f"the stream answered {status}: {body!r}")
    shares = " ".join(f"{version}={n}" for version, n in sorted(seen.items()))
    print(f"split of {count} requests: {shares}")


def stop_on_signals(demo: Demo) -> None:
    """Ctrl-C and SIGTERM end the demo at its next check, so that no child is ever forgotten."""
    def stop(_number: int, _frame: Any) -> None:
        demo.stopping = True
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)


def main(argv: List[str]) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--binary", required=True, help="path of sluiced")
    parser.add_argument("--dir", default="build/demo", help="where sluiced.yaml is written")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--admin-port", type=int, default=9901)
    parser.add_argument("--once", action="store_true", help="try it, print the split, and end")
    options = parser.parse_args(argv)
    code = 1
    demo: Optional[Demo] = None
    try:
        demo = Demo(options)
        stop_on_signals(demo)
        demo.start()
        print(demo.guide(), flush=True)
        if options.once:
            try_once(demo)
        while not options.once:
            demo.check()
            time.sleep(0.2)
        code = 0
    except Stopped:
        code = 0
    except Failed as failure:
        print(f"demo: {failure}", file=sys.stderr)
    finally:
        if demo is not None:
            code = demo.stop() or code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
