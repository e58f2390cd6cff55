# SPDX-License-Identifier: Apache-2.0
"""What many sidecars, each with the pool of one service of 100 pods, cost the API server: a table,
carried on to 1000.

Not a test of `make test`: it takes minutes. `make soak` runs it, or pytest with this file's name.
"""

import re
import subprocess
import time

import pytest
from bench_scale import kubernetes, make_slices
from etcd_writer import Writer
from lengths import CHURN_S, SIDECARS
from proc import cpu_s, rss_mib
from process import eventually

PODS = 100
RATE = 10
MANY = 1000
# All that a sidecar needs.
RULES = [
    {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["list", "watch"],
    }
]


@pytest.fixture
def namespace(cluster):
    """Of this name, with no more rights than are needed."""
    made = cluster.namespace("sidecars")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "discover"},
    }
    cluster.apply({**role, "rules": RULES}, made.name)
    return made


def watches(cluster):
    """Watches of slices that the API server has open."""
    text = cluster.http.get("/metrics").text
    lines = re.findall(r"^apiserver_longrunning_requests{(.*)} (\d+)$", text, re.MULTILINE)
    return sum(
        int(n) for labels, n in lines if 'resource="endpointslices"' in labels and "WATCH" in labels
    )


def connections(cluster):
    """How many connections sidecars have to the API server, and the bytes that came on them."""
    command = ["ss", "-tinpHO", "state", "established", "dport", "=", f":{cluster.port}"]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [line for line in text.splitlines() if '"sluiced"' in line]
    return len(lines), sum(
        int(n) for line in lines for n in re.findall(r"bytes_received:(\d+)", line)
    )


def measure(cluster, seconds, writer=None):
    """CPU (% of a core) and bytes a second of the API server, in a stretch of time."""
    pid = cluster.processes["kube-apiserver"].pid
    cpu, sent, began = cpu_s(pid), connections(cluster)[1], time.monotonic()
    while time.monotonic() - began < seconds:
        assert writer is None or writer.running(), "the writer has ended"
        time.sleep(0.1)  # the time is what is measured
    took_s = time.monotonic() - began
    return {
        "cpu": 100 * (cpu_s(pid) - cpu) / took_s,
        "bytes": (connections(cluster)[1] - sent) / took_s,
    }


def state(cluster, slices, directory):
    """What it costs now: still, and with one service changing."""
    watches_n, (connections_n, _) = watches(cluster), connections(cluster)
    still = measure(cluster, CHURN_S)
    writer = Writer(cluster, slices, RATE, 2 * CHURN_S, directory)
    churn = measure(cluster, CHURN_S, writer)
    writer.end()
    return {
        "watches of slices": watches_n,
        "connections": connections_n,
        "RSS, MiB": rss_mib(cluster.processes["kube-apiserver"].pid),
        "CPU still, % of a core": still["cpu"],
        "bytes/s still": still["bytes"],
        f"CPU, {RATE} changes/s, % of a core": churn["cpu"],
        f"KiB/s, {RATE} changes/s": churn["bytes"] / 1024,
    }


def test_fleet(cluster, namespace, start_sluiced, tmp_path, capsys):
    slices = make_slices(namespace, 1, PODS, PODS)
    without = state(cluster, slices, tmp_path)
    config = {"pools": {"svc-0": kubernetes(namespace, "svc-0")}, "workers": 1}
    fleet = [start_sluiced(**config) for _ in range(SIDECARS)]
    for proxy in fleet:
        eventually(proxy.ready, proxy.process.tail, 30)
    found = state(cluster, slices, tmp_path)
    for proxy in fleet:
        assert proxy.pool("svc-0")["endpoints_n"] in (PODS - 1, PODS)
        assert proxy.metric("sluiced_discovery_relists_total") == 0
    memory = [rss_mib(proxy.process.pid) for proxy in fleet]
    lines = [f"{'':34}{0:>10}{SIDECARS:>10}{'each':>10}{MANY:>10}"]
    for what, base in without.items():
        each = (found[what] - base) / SIDECARS
        lines.append(
            f"{what:34}{base:>10.1f}{found[what]:>10.1f}{each:>10.3f}{base + MANY * each:>10.1f}"
        )
    rights = "; ".join(f"{', '.join(r['verbs'])} {', '.join(r['resources'])}" for r in RULES)
    with capsys.disabled():
        print(
            f"\nsidecars with one service of {PODS} pods; the last column is carried on\n"
            + "\n".join(lines)
            + f"\nRBAC: one namespaced Role: {rights}; RSS of a sidecar "
            f"{sum(memory) / len(memory):.1f} MiB"
        )
    assert found["watches of slices"] - without["watches of slices"] >= SIDECARS
