# SPDX-License-Identifier: Apache-2.0
"""10 000 endpoints in 100 pools, of which 1000 slices a second change: what it costs, as a table.

Not a test of `make test`: it takes minutes. `make soak` runs it, or pytest with this file's name.
"""

import contextlib
import http.client
import json
import re
import signal
import threading
import time

import httpx
import pytest
from etcd_writer import Stored, Writer
from lengths import CHANGES, CHURN_S, ENDPOINTS
from proc import cpu_s, rss_mib, thread_ms
from process import eventually
from world import SERVICE_LABEL

POOLS = 100
EACH = ENDPOINTS // POOLS
SLICE = 10  # endpoints: the changes of a fleet of small services
LABELS = {"app": "data", "version": "v1"}
COUNTER = "0" * 19
RATES = sorted({100, CHANGES})
QUIET_N = 8  # readings of a clock, four a second
PATIENCE_S = 120
POLL_S = 0.002  # a busy wait would take one of two cores from what is measured


def slice_of(name, service, endpoints):
    """As the controller writes them."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "labels": {SERVICE_LABEL: service},
            "annotations": {"t": COUNTER},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def endpoint(name, ip, ready=True):
    """As the controller writes them."""
    return {
        "addresses": [ip],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": "node-1",
        "zone": "zone-a",
        "targetRef": {"kind": "Pod", "name": name, "namespace": "scale", "uid": f"uid-{name}"},
    }


def make(namespace, name, documents):
    """A slice with these forms, the first one being its present one again; see Stored."""
    cluster = namespace.cluster
    kept = Stored(cluster, namespace.name, name)
    cluster.request("POST", namespace.slices, documents[0])
    kept.keep()
    for document in documents[1:]:
        cluster.request("PUT", f"{namespace.slices}/{name}", document)
        kept.keep()
    cluster.request("PUT", f"{namespace.slices}/{name}", documents[0])
    return kept


def make_slices(namespace, pools, each, size=SLICE):
    """Services svc-N of so many endpoints, in slices of that size: all ready, and with one that is
    not.
    """
    made = []
    for number in range(pools):
        ips = [f"10.{128 + number // 200}.{number % 200}.{1 + i}" for i in range(each)]
        for start in range(0, each, size):
            own = list(enumerate(ips))[start : start + size]
            forms = [
                slice_of(
                    f"svc-{number}-{start}",
                    f"svc-{number}",
                    [endpoint(f"p-{number}-{i}", ip, i != out) for i, ip in own],
                )
                for out in (None, start + number % len(own))
            ]
            made.append(make(namespace, f"svc-{number}-{start}", forms))
    return made


def kubernetes(namespace, service):
    """The pool of a service."""
    source = {"namespace": namespace.name, "service": service, "port": "http"}
    return {"discover": {"kubernetes": source}}


class Marker:
    """A pool of one endpoint, which changes between two servers: the time from the write to the
    first request that the other one answers.
    """

    def __init__(self, namespace, crew):
        self.pods = [crew.open("marker-a"), crew.open("marker-b")]
        forms = [
            slice_of("marker", "marker", [endpoint(pod.name, pod.ip)]) for pod in self.pods
        ]
        self.slice = make(namespace, "marker", forms)
        self.now = 0
        self.writes = {}
        self.events_ms = []

    def watch(self, namespace):
        """Starts to note when the events of its slice arrive at a client of the API server."""
        thread = threading.Thread(target=self._watch, args=(namespace,), daemon=True)
        thread.start()

    def _watch(self, namespace):
        params = {
            "watch": "1",
            "labelSelector": f"{SERVICE_LABEL}=marker",
            "resourceVersion": "0",
            "timeoutSeconds": "3600",
        }
        stream = namespace.cluster.http.stream("GET", namespace.slices, params=params, timeout=None)
        with contextlib.suppress(httpx.HTTPError), stream as response:  # a restart ends it
            for line in response.iter_lines():
                arrived = time.monotonic()
                counter = json.loads(line)["object"]["metadata"]["annotations"]["t"]
                write = self.writes.pop(counter, 0)
                if write:
                    self.events_ms.append(1000 * (arrived - write))

    def flip(self, connection):
        """One change; returns the time in ms."""
        self.now = 1 - self.now
        wanted = self.pods[self.now].address
        began = time.monotonic()
        counter = f"{time.time_ns():019d}"
        self.writes[counter] = began
        self.slice.put(self.slice.forms[self.now].replace(COUNTER.encode(), counter.encode()))

        def arrived():
            connection.request("GET", "/marker")
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200 and answer.headers["x-served-by"] == wanted

        eventually(arrived, "the marker does not arrive", PATIENCE_S, POLL_S)
        return 1000 * (time.monotonic() - began)


def quantiles(values):
    """Text of p50, p99 and maximum."""
    values = sorted(values)
    if not values:
        return "none"
    at = [values[min(len(values) - 1, int(share * len(values)))] for share in (0.5, 0.99)]
    return f"p50 {at[0]:.1f}, p99 {at[1]:.1f}, max {values[-1]:.1f} (n={len(values)})"


def buckets(text, name):
    """A histogram over all pools but the marker's and the data's: upper bound to count."""
    found = {}
    for line in text.splitlines():
        match = re.match(rf'{name}_bucket{{.*pool="svc-.*le="([^"]+)"}} (\d+)', line)
        if match:
            bound = float(match[1].replace("+Inf", "inf"))
            found[bound] = found.get(bound, 0) + int(match[2])
    return found


def total(text, name):
    """Sum of a counter over all its labels."""
    return sum(map(int, re.findall(rf"^{name}{{.*}} (\d+)$", text, re.MULTILINE)))


def bound_ms(before, after, share):
    """The bucket of a histogram in which a share of what came between two readings ends."""
    counts = {bound: n - before.get(bound, 0) for bound, n in sorted(after.items())}
    return 1000 * next(b for b, n in counts.items() if n >= share * counts[float("inf")])


class Probe:
    """A kubelet that asks ten times a second whether the proxy lives; `took_ms` is how long it
    waited for each answer.
    """

    def __init__(self, proxy):
        self.address = proxy.address("probes")
        self.took_ms = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(PATIENCE_S)

    def _run(self):
        while not self.stopping.wait(0.1):
            began = time.monotonic()
            connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/healthz")
                connection.getresponse().read()
            connection.close()  # an answer or none: as long as it took, it is a sample
            self.took_ms.append(1000 * (time.monotonic() - began))


class Bench:
    """One proxy and what is measured of it."""

    def __init__(self, proxy, cluster):
        self.proxy = proxy
        self.cluster = cluster
        self.pid = proxy.process.pid
        self.control = self.pid  # the main thread
        self.rows = []

    def row(self, what, figure):
        """One line of the table."""
        self.rows.append((what, figure))

    def table(self):
        """All lines."""
        width = max(len(what) for what, _ in self.rows)
        return "\n".join(f"{what:<{width}}  {figure}" for what, figure in self.rows)

    def admin(self, path):
        """Text of an admin page, of a proxy that may be too busy for it for a while."""

        def answer():
            try:
                url = self.proxy.url(path, "admin")
                return httpx.get(url, timeout=PATIENCE_S, trust_env=False).text
            except httpx.HTTPError as error:
                raise AssertionError(f"{path}: {error!r}") from error

        return eventually(answer, "no answer of the admin listener", PATIENCE_S)

    def pools(self):
        """Of /status."""
        return json.loads(self.admin("/status"))["pools"]

    def held(self):
        """Endpoints of all pools; /status lists no more than 10 000 of them one by one."""
        return sum(pool["endpoints_n"] for pool in self.pools())

    def stretch(self, name, seconds, marker, load, writer=None):
        """Measures for so many seconds, while the marker changes 5 times a second."""
        took_ms, rss = [], []
        before = self.admin("/metrics")
        began, cpu = time.monotonic(), thread_ms(self.pid, self.control)
        whole, server = cpu_s(self.pid), cpu_s(self.cluster.processes["kube-apiserver"].pid)
        marker.events_ms.clear()
        edge = http.client.HTTPConnection(self.proxy.address(), timeout=10)
        with Probe(self.proxy) as probe:
            while time.monotonic() - began < seconds and (writer is None or writer.running()):
                took_ms.append(marker.flip(edge))
                rss.append(rss_mib(self.pid))
                due = began + 0.2 * len(took_ms)
                time.sleep(max(0.0, due - time.monotonic()))  # the pace, not a wait for anything
        edge.close()
        ended = time.monotonic()
        took_s = ended - began
        cores = {
            "control thread": (thread_ms(self.pid, self.control) - cpu) / 1000,
            "sluiced": cpu_s(self.pid) - whole,
            "API server": cpu_s(self.cluster.processes["kube-apiserver"].pid) - server,
        }
        asked = time.monotonic()
        after = self.admin("/metrics")
        answered_s = time.monotonic() - asked
        told, again = (
            total(after, f"sluiced_discovery_{what}_total")
            - total(before, f"sluiced_discovery_{what}_total")
            for what in ("events", "reconnects")
        )
        self.row(f"{name}: changes told to pools /s", f"{told / took_s:.0f}, in {took_s:.0f} s")
        self.row(f"{name}: watches opened again", f"{again}")
        self.row(f"{name}: GET /metrics right after it, s", f"{answered_s:.2f}")
        self.row(f"{name}: GET /healthz, ms", quantiles(probe.took_ms))
        self.row(f"{name}: write to first request at the new endpoint, ms", quantiles(took_ms))
        self.row(f"{name}: write to event at another client, ms", quantiles(marker.events_ms))
        if told > 1000:
            of = [buckets(text, "sluiced_pool_update_seconds") for text in (before, after)]
            p50, p99 = (bound_ms(*of, share) for share in (0.5, 0.99))
            self.row(
                f"{name}: control thread, ms of CPU for each change",
                f"{1000 * cores['control thread'] / told:.2f}",
            )
            self.row(f"{name}: sluiced_pool_update_seconds, ms", f"p50 <= {p50}, p99 <= {p99}")
        self.row(
            f"{name}: CPU, % of a core",
            ", ".join(f"{what} {100 * s / took_s:.1f}" for what, s in cores.items()),
        )
        p50, p99 = (load.report.quantile_ms(share, began, ended) for share in (0.5, 0.99))
        self.row(f"{name}: 300 req/s and 20 streams, ms", f"p50 {p50:.2f}, p99 {p99:.2f}")
        steps = [rss[int(i * (len(rss) - 1) / 5)] for i in range(6)]
        self.row(f"{name}: RSS over time, MiB", " ".join(f"{mib:.1f}" for mib in steps))
        return told

    def relist(self):
        """The CPU of lists of everything, after a restart that has lost all history."""
        before = total(self.admin("/metrics"), "sluiced_discovery_relists_total")
        failed_n = len(self.proxy.events("discovery_failed"))
        self.cluster.stop_apiserver()
        first = thread_ms(self.pid, self.control)
        self.cluster.start_apiserver()
        readings = [first]

        def is_quiet():
            # It is not asked: answers would be the larger part of its work. QUIET_N readings in a
            # row that are alike are the end.
            readings.append(thread_ms(self.pid, self.control))
            recent = readings[-QUIET_N:]
            expired = self.proxy.events("discovery_failed")[failed_n:]
            return any("410" in e["error"] for e in expired) and recent[-1] - recent[0] < 10

        eventually(is_quiet, "not all are back", 90, 0.25)
        cpu = readings[-1] - first
        lists = total(self.admin("/metrics"), "sluiced_discovery_relists_total") - before
        self.row("relist of all: pools told, control thread ms", f"{lists}, {cpu:.0f}")


@pytest.fixture
def namespace(cluster):
    """Of this name."""
    return cluster.namespace("scale")


def test_scale(namespace, crew, start_sluiced, start_load, tmp_path, capsys):
    cluster = namespace.cluster
    slices = make_slices(namespace, POOLS, EACH)
    marker = Marker(namespace, crew)
    namespace.service("data", LABELS)
    data = [crew.start(f"data-{i}", LABELS) for i in range(2)]
    names = [*(f"svc-{i}" for i in range(POOLS)), "marker", "data"]
    began = time.monotonic()
    proxy = start_sluiced(
        pools={name: kubernetes(namespace, name) for name in names},
        routes=[
            {"name": "marker", "match": {"path": "/marker"}, "pool": "marker"},
            {"name": "all", "match": {"path": "/"}, "pool": "data"},
        ],
        log={"level": "info", "access": "off"},
    )
    eventually(proxy.ready, "not ready", 60)
    bench = Bench(proxy, cluster)
    eventually(lambda: bench.held() == POOLS * EACH + 1 + len(data), "not all are known", 10)
    bench.row("endpoints, pools", f"{bench.held()}, {len(names)}")
    bench.row("start to ready, s", f"{time.monotonic() - began:.2f}")
    bench.row("CPU of the start, control thread, ms", f"{thread_ms(bench.pid, bench.control):.0f}")
    bench.row("RSS, MiB", f"{rss_mib(bench.pid):.1f}")
    marker.watch(namespace)
    load = start_load(proxy.address(), clients=30, rate=300, streams=20, seconds=3600)
    bench.stretch("still", CHURN_S / 2, marker, load)
    # They follow each change, too, and two cores are just enough for the rest.
    cluster.processes["kube-controllers"].stop(signal.SIGKILL)
    for rate in RATES:
        writer = Writer(cluster, slices, rate, CHURN_S + 1, tmp_path)
        told = bench.stretch(f"{rate} changes/s", CHURN_S, marker, load, writer)
        writer.end()
        bench.row(f"{rate} changes/s: written /s", f"{writer.rate:.0f}")
    bench.relist()
    bench.row("RSS in the end, MiB", f"{rss_mib(bench.pid):.1f}")
    report = load.stop()
    with capsys.disabled():
        print(f"\n{bench.table()}\n{report}")
    assert report.failures == [], str(report)
    assert told > CHANGES, "there was no such churn"
    assert POOLS * EACH * (SLICE - 1) // SLICE <= bench.held() - 1 - len(data) <= POOLS * EACH
