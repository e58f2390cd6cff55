# SPDX-License-Identifier: Apache-2.0
"""Model servers (tests/demo) that are pods: a process of ours and an object in the cluster."""

import http.client
import itertools
import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from cluster import NODE
from process import Process, eventually

SERVER = Path(__file__).resolve().parent.parent / "demo" / "model_server.py"
PORT = 8000
addresses = itertools.count(1)  # of the whole session: no test meets an address of another one


class Pod:
    """One pod with its process."""

    def __init__(self, name, ip, process, control):
        self.name = name
        self.ip = ip
        self.address = f"{ip}:{PORT}"
        self.process = process
        self.control = control
        self.state_before_end = None  # set by Fleet.retire()

    def state(self):
        """What the model server says of itself: requests, running, aborted, connections, ..."""
        connection = http.client.HTTPConnection(self.control, timeout=5)
        try:
            connection.request("GET", "/_control")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


class Fleet:
    """The pods of one namespace."""

    def __init__(self, namespace, directory):
        self.namespace = namespace
        self.directory = Path(directory)
        self.pods = {}
        self.ended = []

    def start(self, name, labels, version="v1", ready=True, options=(), node=NODE):
        """Starts a model server and makes it a pod of a node; options are further ones of
        model_server.py.
        """
        number = next(addresses)
        ip = f"10.244.{1 + number // 250}.{1 + number % 250}"
        self.namespace.create_pod(name, ip, labels, PORT, ready=False, node=node)
        command = [sys.executable, SERVER, "--bind", f"{ip}:{PORT}", "--control", f"{ip}:9000"]
        command += ["--model", "llama", "--version", version, *options]
        log = self.directory / f"pod-{name}.log"
        process = Process(name, command, log, stdout=subprocess.PIPE)
        pod = Pod(name, ip, process, f"{ip}:9000")
        self.pods[name] = pod
        self._wait_listening(process)
        if ready:
            self.namespace.set_ready(name, True)
        return pod

    @staticmethod
    def _wait_listening(process, timeout=10):
        deadline = time.monotonic() + timeout
        output, text = process.child.stdout.fileno(), b""
        while not re.search(rb"^listening .*\n", text, re.MULTILINE):
            readable, _, _ = select.select([output], [], [], max(deadline - time.monotonic(), 0))
            assert readable, f"does not listen within {timeout} s; {process.tail()}"
            part = os.read(output, 4096)
            assert part, f"ended before it listened; {process.tail()}"
            text += part

    def retire(self, name, pre_stop=1.0, grace=30.0):
        """Ends a pod as a kubelet does: terminating, preStop hook, SIGTERM, gone. Blocks until it
        is gone.

        The preStop hook is that of a model server in production: wait until requests stop to come
        (pre_stop seconds) and until no generation runs. What is cut off all the same is the fault
        of who still sent it here.
        """
        pod = self.pods.pop(name)
        self.ended.append(pod)
        self.namespace.delete_pod(name, grace=int(grace))
        time.sleep(pre_stop)
        eventually(
            lambda: pod.state()["running"] == 0, f"{name} still runs generations", grace, 0.05
        )
        pod.state_before_end = pod.state()
        pod.process.stop()
        self.namespace.remove_pod(name)
        return pod

    def crash(self, name):
        """The process ends with KILL; the API learns nothing of it yet."""
        self.pods[name].process.stop(9)

    def stop(self):
        """Ends all processes; the pod objects stay in their namespace, which no other test uses."""
        for pod in self.pods.values():
            pod.process.stop(9)

    def logs(self):
        """The ends of all logs."""
        return "\n".join(pod.process.tail(5) for pod in [*self.pods.values(), *self.ended])
