# SPDX-License-Identifier: Apache-2.0
"""A namespace in which things happen at random, from a seed: pods, services, slices by hand,
watches that are cut, an API server that restarts and an etcd that forgets.
"""

import base64
import contextlib
import random
import signal

import httpx
import model
from cluster import ApiError
from process import eventually

APPS, VERSIONS = ("a", "b"), ("v1", "v2")
SERVICES = ("llama", "embed")
POD_NAMES = [f"pod-{i}" for i in range(8)]
SLICE_NAMES = [f"hand-{i}" for i in range(6)]
IPV4 = [f"10.244.210.{i}" for i in range(1, 11)]
IPV6 = [f"fd00::{i}" for i in range(1, 6)]
PORTS = [
    [{"name": "http", "port": 8000}],
    [{"name": "http", "port": 8000}, {"name": "metrics", "port": 9000}],
    [{"name": "grpc", "port": 8001}, {"name": "http", "port": 8002}],
    [{"name": "http", "port": 8000, "protocol": "UDP"}],
    [{"name": "http"}],
    [{"port": 8003}],
    [],
]
SOURCES = {
    "service": {"service": "llama", "port": "http"},
    "number": {"service": "llama", "port": 8100},
    "only-port": {"service": "embed"},
    "labels": {"slices": "team in (x,y),!old", "port": "http"},
    "pods": {"pods": "app=a", "port": "http"},
    "narrowed": {"service": "llama", "port": "http", "pods": "version=v1"},
}
SERVICE_LABEL = "kubernetes.io/service-name"
MARKER = "10.244.211.1"


class World:
    """What happens to one namespace; `happened` says what did."""

    def __init__(self, namespace, relay, seed, restarts):
        self.namespace = namespace
        self.cluster = namespace.cluster
        self.relay = relay
        self.random = random.Random(seed)
        self.restarts = restarts
        self.happened = []
        self.pods = {}
        self.slices = {}

    # ---- What pools there are, and what they should hold

    def pools(self):
        """One pool of each way to find endpoints."""
        return {
            name: {"discover": {"kubernetes": {"namespace": self.namespace.name, **source}}}
            for name, source in SOURCES.items()
        }

    def _list(self, path, selector):
        return self.cluster.request("GET", path, labelSelector=selector)["items"]

    def expected(self):
        """By pool, what the API server lists now."""
        wanted = {}
        for name, source in SOURCES.items():
            slices, pods = [], []
            selector = source.get("slices")
            if "service" in source:
                selector = f"{SERVICE_LABEL}={source['service']}"
            if selector:
                slices = self._list(self.namespace.slices, selector)
            if "pods" in source:
                pods = self._list(f"{self.namespace.core}/pods", source["pods"])
            wanted[name] = model.expected(source, slices, pods)
        return wanted

    # ---- Events

    def step(self):
        """One event."""
        actions = [
            (self._pod_created, 5),
            (self._pod_flipped, 5),
            (self._pod_labelled, 2),
            (self._pod_terminating, 2),
            (self._pod_removed, 3),
            (self._service_changed, 2),
            (self._service_deleted, 1),
            (self._slice_written, 7),
            (self._slice_deleted, 2),
            (self._address_moved, 3),
            (self._cut, 2),
            (self._healed, 3),
            (self._compacted, 1),
        ]
        action = self.random.choices([a for a, _ in actions], [w for _, w in actions])[0]
        what = action()
        if what:
            self.happened.append(what)

    def run(self, steps):
        """So many events; a restart of the API server, if there is to be one, among them."""
        restart_at = self.random.randrange(steps) if self.restarts else -1
        for number in range(steps):
            if number == restart_at:
                self.happened.append(self._restarted())
            self.step()
        self.happened.append("heal")
        self.relay.heal()

    def _pod_created(self):
        free = [name for name in POD_NAMES if name not in self.pods]
        taken = set(self.pods.values())
        ips = [ip for ip in IPV4 if ip not in taken]
        if not free or not ips:
            return None
        name, ip = self.random.choice(free), self.random.choice(ips)
        labels = {"app": self.random.choice(APPS), "version": self.random.choice(VERSIONS)}
        ready = self.random.random() < 0.7
        self.namespace.create_pod(name, ip, labels, ready=ready)
        self.pods[name] = ip
        return f"pod {name} at {ip} {labels} ready={ready}"

    def _any_pod(self):
        return self.random.choice(sorted(self.pods)) if self.pods else None

    def _pod_flipped(self):
        name, ready = self._any_pod(), self.random.random() < 0.5
        if name:
            self.namespace.set_ready(name, ready)
            return f"pod {name} ready={ready}"
        return None

    def _pod_labelled(self):
        name = self._any_pod()
        label = self.random.choice(
            [{"version": v} for v in (*VERSIONS, None)] + [{"app": a} for a in APPS]
        )
        if name:
            self.namespace.label_pod(name, label)
            return f"pod {name} labelled {label}"
        return None

    def _pod_terminating(self):
        name = self._any_pod()
        if name:
            self.namespace.delete_pod(name)
            return f"pod {name} terminates"
        return None

    def _pod_removed(self):
        name = self._any_pod()
        if name:
            self.namespace.remove_pod(name)
            del self.pods[name]
            return f"pod {name} gone"
        return None

    def _service_changed(self):
        name = self.random.choice(SERVICES)
        selector = {"app": self.random.choice(APPS)}
        labels = {"team": self.random.choice("xyz")}
        if self.random.random() < 0.2:
            labels["old"] = "1"
        self.namespace.service(name, selector, labels=labels)
        return f"service {name} selects {selector} labels {labels}"

    def _service_deleted(self):
        name = self.random.choice(SERVICES)
        self.cluster.delete(f"{self.namespace.core}/services/{name}")
        return f"service {name} deleted"

    def _conditions(self):
        conditions = {}
        for key, likely in (("ready", 0.7), ("serving", 0.7), ("terminating", 0.2)):
            choice = self.random.random()
            if choice < 0.6:
                conditions[key] = self.random.random() < likely
            elif choice < 0.8:
                conditions[key] = None
        return conditions

    def _endpoint(self, address, kind):
        endpoint = {"addresses": [address]}
        if self.random.random() < 0.9:
            endpoint["conditions"] = self._conditions()
        name = self._any_pod()
        if name and kind == "IPv4" and self.random.random() < 0.5:
            endpoint["addresses"] = [self.pods[name]]
            uid = self.cluster.exists(f"{self.namespace.core}/pods/{name}")
            uid = uid["metadata"]["uid"] if uid and self.random.random() < 0.8 else "other-uid"
            endpoint["targetRef"] = {
                "kind": "Pod",
                "name": name,
                "namespace": self.namespace.name,
                "uid": uid,
            }
        return endpoint

    def _put(self, name, document):
        """Creates or replaces a slice."""
        path = f"{self.namespace.slices}/{name}"
        old = self.slices.get(name)
        if old and old["addressType"] != document["addressType"]:
            self.cluster.delete(path)  # the type may not change
            old = None
        if old:
            self.cluster.request("PUT", path, document)
        else:
            self.cluster.request("POST", self.namespace.slices, document)
        self.slices[name] = document

    def _slice_written(self):
        name = self.random.choice(SLICE_NAMES)
        kind = self.random.choice(["IPv4", "IPv4", "IPv4", "IPv6", "FQDN"])
        hosts = {"IPv4": IPV4, "IPv6": IPV6, "FQDN": ["a.example.test", "b.example.test"]}[kind]
        chosen = self.random.sample(hosts, self.random.randrange(min(4, len(hosts)) + 1))
        labels = {SERVICE_LABEL: self.random.choice([*SERVICES, "other"])}
        labels["team"] = self.random.choice("xyz")
        document = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": labels},
            "addressType": kind,
            "ports": self.random.choice(PORTS),
            "endpoints": [self._endpoint(host, kind) for host in chosen],
        }
        try:
            self._put(name, document)
        except ApiError as error:  # the dice may ask for what the API forbids
            if error.status != 422:
                raise
            return f"slice {name} refused"
        return f"slice {name} {kind} {labels} {document['ports']} {document['endpoints']}"

    def _slice_deleted(self):
        if not self.slices:
            return None
        name = self.random.choice(sorted(self.slices))
        self.cluster.delete(f"{self.namespace.slices}/{name}")
        del self.slices[name]
        return f"slice {name} deleted"

    def _address_moved(self):
        """From one slice to another: for a moment it is in both, or in none."""
        names = sorted(n for n, s in self.slices.items() if s["addressType"] == "IPv4")
        full = [n for n in names if self.slices[n]["endpoints"]]
        if len(names) < 2 or not full:
            return None
        source = self.random.choice(full)
        target = self.random.choice([n for n in names if n != source])
        moved, *rest = self.slices[source]["endpoints"]
        hosts = {e["addresses"][0] for e in self.slices[target]["endpoints"]}
        if moved["addresses"][0] in hosts:
            return None
        without = {**self.slices[source], "endpoints": rest}
        with_it = {
            **self.slices[target],
            "endpoints": [*self.slices[target]["endpoints"], moved],
        }
        order = [(source, without), (target, with_it)]
        if self.random.random() < 0.5:
            order.reverse()
        for name, document in order:
            self._put(name, document)
        return f"{moved['addresses'][0]} moved from {source} to {target}"

    def _cut(self):
        self.relay.cut()
        return "cut"

    def _healed(self):
        self.relay.heal()
        return "heal"

    def _compacted(self):
        """etcd forgets all history before now."""
        compact(self.cluster)
        return "compacted"

    def _restarted(self):
        """The watch history is gone: old versions are answered by 410."""
        number = self.random.choice([signal.SIGKILL, signal.SIGTERM])
        self.cluster.restart_apiserver(number)
        return f"API server restarted by {number.name}"

    # ---- The end

    def settle(self, timeout=30):
        """Waits until the controllers have made the slices of what pods and services there are."""

        def settled():
            pods = self._list(f"{self.namespace.core}/pods", "")
            for name in SERVICES:
                service = self.cluster.exists(f"{self.namespace.core}/services/{name}")
                selector = service["spec"]["selector"] if service else None
                wanted = sorted(
                    (pod["status"]["podIP"], *_pod_state(pod))
                    for pod in pods
                    if selector and selector.items() <= pod["metadata"].get("labels", {}).items()
                )
                made = f"{SERVICE_LABEL}={name},endpointslice.kubernetes.io/managed-by"
                slices = self._list(self.namespace.slices, made)
                found = sorted(
                    (e["addresses"][0], e["conditions"]["ready"], e["conditions"]["terminating"])
                    for item in slices
                    for e in item["endpoints"] or []
                )
                assert found == wanted, f"{name}: {found}, wanted {wanted}"
                labels = (service or {"metadata": {}})["metadata"].get("labels", {})
                assert all(labels.items() <= s["metadata"]["labels"].items() for s in slices)
            return True

        eventually(settled, "the controllers have not settled", timeout)

    def mark(self):
        """Writes what every pool must see in the end; returns it by pool. What is seen after it was
        seen is no leftover.
        """
        labels = {"app": "a", "version": "v1", "marker": "1"}
        pod = self.namespace.create_pod("marker", MARKER, labels)
        target = {"kind": "Pod", "name": "marker", "uid": pod["metadata"]["uid"]}
        for name in SERVICES:
            document = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"marker-{name}",
                    "labels": {SERVICE_LABEL: name, "team": "x"},
                },
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8000}],
                "endpoints": [{"addresses": [MARKER], "targetRef": target}],
            }
            self.cluster.request("POST", self.namespace.slices, document)


def _pod_state(pod):
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
    ends = "deletionTimestamp" in pod["metadata"]
    return ready and not ends, ends


def etcd(cluster, call, **body):
    """A call of etcd's JSON gateway."""
    with contextlib.closing(httpx.Client(base_url=cluster.etcd_url, trust_env=False)) as client:
        response = client.post(f"/v3/kv/{call}", json=body)
        response.raise_for_status()
        return response.json()


def revision(cluster):
    """etcd's current one."""
    key = base64.b64encode(b"/").decode()
    return int(etcd(cluster, "range", key=key)["header"]["revision"])


def compact(cluster):
    """Makes etcd forget all history before now."""
    with contextlib.suppress(httpx.HTTPStatusError):  # 400: compacted already
        etcd(cluster, "compaction", revision=str(revision(cluster)))
