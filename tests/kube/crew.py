# SPDX-License-Identifier: Apache-2.0
"""Pods by the dozen: objects in the cluster, and listeners of one process that serve for them."""

import contextlib
import json
import socket
import sys
import threading
import time
from pathlib import Path

from models import PORT, addresses
from process import Process, eventually

SERVER = Path(__file__).resolve().with_name("crew_server.py")


class Hand:
    """One pod of a crew."""

    def __init__(self, name, ip):
        self.name = name
        self.ip = ip
        self.address = f"{ip}:{PORT}"


class Crew:
    """The pods of one namespace whose servers live in a process of crew_server.py.

    What a kubelet does on the way of a pod is done in its order: a pod is unready before its server
    runs, and its object goes after its server has ended.
    """

    def __init__(self, namespace, directory, rate=20.0):
        self.namespace = namespace
        self.rate = rate
        self.pods = {}
        path = Path(directory) / "crew.sock"
        log = Path(directory) / "crew.log"
        self.process = Process("crew", [sys.executable, SERVER, path], log)
        self.socket = socket.socket(socket.AF_UNIX)

        def connected():
            assert self.process.running(), self.process.tail()
            with contextlib.suppress(OSError):
                self.socket.connect(str(path))
                return True
            return False

        eventually(connected, self.process.tail, 10)
        self.socket.settimeout(60)
        self.file = self.socket.makefile("rwb")
        self.lock = threading.Lock()

    def _order(self, op, pod, **more):
        with self.lock:
            self.file.write(json.dumps({"op": op, "ip": pod.ip, **more}).encode() + b"\n")
            self.file.flush()
            return json.loads(self.file.readline())

    def open(self, name):
        """A server at an address of its own, of which the API knows nothing."""
        number = next(addresses)
        pod = Hand(name, f"10.244.{1 + number // 250}.{1 + number % 250}")
        self._order("start", pod, port=PORT, rate=self.rate)
        return pod

    def start(self, name, labels, ready=True):
        """A pod that serves, ready or not yet."""
        pod = self.open(name)
        self.namespace.create_pod(name, pod.ip, labels, PORT, ready=ready)
        self.pods[name] = pod
        return pod

    def state(self, pod):
        """requests, last_at (time.monotonic() of the last one's head), running, ended."""
        return self._order("state", pod)

    def term(self, pod):
        """The server ends in order; returns its last state."""
        self._order("term", pod)

        def ended():
            state = self.state(pod)
            return state["ended"] and state

        return eventually(ended, f"{pod.name} does not end", 30)

    def kill(self, pod):
        """The server ends at once, with what runs in it; the API is not told."""
        self._order("kill", pod)

    def quiet(self, pod, seconds, timeout=20):
        """Waits until no request has begun at the pod for so many seconds; returns when the last
        one did.
        """

        def silent():
            last_at = self.state(pod)["last_at"]
            return time.monotonic() - last_at > seconds and (last_at or 1e-9)

        return eventually(silent, f"{pod.name} still gets requests", timeout)

    def retire(self, name, pre_stop=0.0):
        """Ends a pod as a kubelet does: terminating, a preStop hook of so many seconds without
        requests, SIGTERM, gone. Returns how long after the API had said so a request still came
        (s, 0: none did).
        """
        pod = self.pods.pop(name)
        self.namespace.delete_pod(name)
        deleted_at = time.monotonic()
        if pre_stop:
            self.quiet(pod, pre_stop)
        state = self.term(pod)
        self.namespace.remove_pod(name)
        return max(0.0, state["last_at"] - deleted_at)

    def stop(self):
        """Ends the process; the pod objects stay."""
        self.file.close()
        self.socket.close()
        self.process.stop(9)

    def logs(self):
        """The end of the log."""
        return self.process.tail()
