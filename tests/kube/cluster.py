# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes control plane for tests: real etcd, API server and endpoint controllers; pods are
only said to run.

There is no kubelet: a pod is what create_pod() writes into its status, and the process that answers
at its address is started by someone else (models.py). All that a kubelet would do to the API on the
way of a pod is done here the same way, so that the controllers make of it what they make of it in
production.
"""

import json
import os
import signal
import ssl
import time
from pathlib import Path

import httpx
import yaml
from certs import Authority, write_key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mount import Mount
from process import Process, eventually, free_port

NODE = "node-1"
ZONE = "zone-a"
ACCOUNT = "sluiced"
GROUPS = {"v1": "/api/v1"}
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"

# What a discovering proxy needs, no more. deploy/ grants the same.
READER = [
    {
        "apiGroups": [""],
        "resources": ["endpoints", "pods", "services"],
        "verbs": ["get", "list", "watch"],
    },
    {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["get", "list", "watch"],
    },
]

# What it needs besides, where a config asks for it.
POOL_READER = {
    "apiGroups": ["inference.networking.k8s.io"],
    "resources": ["inferencepools"],
    "verbs": ["get", "list", "watch"],
}
NODE_READER = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}


class ApiError(Exception):
    """The API server refused: `status` is the HTTP status, `body` its Status object or text."""

    def __init__(self, method, path, response):
        self.status = response.status_code
        self.body = response.text
        super().__init__(f"{method} {path}: {self.status} {self.body[:500]}")


class Cluster:
    """One control plane with its state in `directory`, run from the binaries in `binaries`."""

    def __init__(self, binaries, directory):
        self.binaries = Path(binaries)
        self.directory = Path(directory)
        self.directory.mkdir(parents=True)
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.etcd_url = f"http://127.0.0.1:{free_port()}"
        self.processes = {}
        self.plurals = {}
        self._write_keys()
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(*self.admin)
        self.http = httpx.Client(base_url=self.url, verify=context, timeout=10, trust_env=False)

    # ---- Processes

    def _write_keys(self):
        authority = Authority(self.directory / "pki", "kube-ca")
        self.ca = authority.ca
        names = ("127.0.0.1", "localhost", "kubernetes.default.svc")
        self.serving = authority.issue("apiserver", common_name="kube-apiserver", names=names)
        self.admin = authority.issue("admin", organization="system:masters")
        self.token_key = self.directory / "pki" / "tokens.key"
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(self.token_key, key)
        self.token_key.with_suffix(".pub").write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def _start(self, name, *flags):
        log = self.directory / f"{name}.log"
        self.processes[name] = Process(
            name, [self.binaries / name, *flags], log, env={"HOME": str(self.directory)}
        )

    def _start_etcd(self):
        peer = f"http://127.0.0.1:{free_port()}"
        self._start(
            "etcd",
            "--name=etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=etcd={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def start_apiserver(self):
        """Starts the API server, at the address it always has, and new controllers; it is ready on
        return. New ones, as those that had lost it wait for up to 30 s before they try again.
        """
        certificate, key = self.serving
        self._start(
            "kube-apiserver",
            f"--etcd-servers={self.etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            # It would write its own address as the endpoint of the service "kubernetes", and
            # loopback is refused.
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--client-ca-file={self.ca}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={self.token_key.with_suffix('.pub')}",
            f"--service-account-signing-key-file={self.token_key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            # By default open watches live 60 s longer than a terminated server: too long to wait
            # for in a test.
            "--shutdown-delay-duration=1s",
            "--shutdown-watch-termination-grace-period=1s",
        )
        self.wait_ready()
        kubeconfig = self.kubeconfig(self.directory / "admin.kubeconfig")
        self._start("kube-controllers", f"--kubeconfig={kubeconfig}")

    def wait_ready(self, timeout=30):
        """Waits until the API server says that it is ready."""

        def ready():
            server = self.processes["kube-apiserver"]
            assert server.running(), server.tail()
            try:
                return self.http.get("/readyz", timeout=2).text == "ok"
            except httpx.HTTPError:
                return False

        eventually(ready, lambda: self.processes["kube-apiserver"].tail(), timeout, 0.05)

    def stop_apiserver(self, number=signal.SIGKILL):
        """Ends the API server with a signal: KILL cuts connections, TERM ends watches after 2 s."""
        self.processes["kube-controllers"].stop(signal.SIGKILL)  # see start_apiserver()
        code = self.processes["kube-apiserver"].stop(number, timeout=70)
        assert number == signal.SIGKILL or code == 0, self.processes["kube-apiserver"].tail()

    def restart_apiserver(self, number=signal.SIGKILL):
        """Ends and starts it; etcd keeps the objects, the server's watch history is gone."""
        self.stop_apiserver(number)
        self.start_apiserver()

    def start(self):
        """Starts everything. On return nodes, namespaces and pods can be made."""
        self._start_etcd()
        self.start_apiserver()
        self.node(NODE, ZONE)

    def node(self, name, zone=None):
        """Makes a node, or changes the zone that it is in."""
        labels = {"kubernetes.io/hostname": name}
        if zone:
            labels["topology.kubernetes.io/zone"] = zone
        self.apply(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        )

    def stop(self):
        """Ends everything, at once: the state is thrown away."""
        self.http.close()
        for name in ("kube-controllers", "kube-apiserver", "etcd"):
            if name in self.processes:
                self.processes[name].stop(signal.SIGKILL)

    def logs(self):
        """The ends of all logs."""
        return "\n".join(process.tail() for process in self.processes.values())

    # ---- The API

    def request(self, method, path, body=None, content_type="application/json", **params):
        """One request as administrator; returns the decoded answer. ApiError unless the status is
        2xx.
        """
        content = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        headers = {"Content-Type": content_type} if body is not None else {}
        response = self.http.request(method, path, content=content, headers=headers, params=params)
        if not response.is_success:
            raise ApiError(method, path, response)
        return response.json()

    def path(self, document, namespace=None):
        """Where an object lives: its collection's path and its name."""
        version, kind = document["apiVersion"], document["kind"]
        base = GROUPS.get(version, f"/apis/{version}")
        if version not in self.plurals:
            self.plurals[version] = {
                r["kind"]: r for r in self.request("GET", base)["resources"] if "/" not in r["name"]
            }
        resource = self.plurals[version].get(kind)
        assert resource, f"the API server knows no {version} {kind}"
        metadata = document["metadata"]
        if resource["namespaced"]:
            base += f"/namespaces/{metadata.get('namespace') or namespace or 'default'}"
        return f"{base}/{resource['name']}", metadata["name"]

    def apply(self, documents, namespace=None):
        """Creates or changes objects (server-side apply), given as a dict, a list of them or YAML
        text.
        """
        if isinstance(documents, str):
            documents = [d for d in yaml.safe_load_all(documents) if d]
        results = []
        for document in documents if isinstance(documents, list) else [documents]:
            collection, name = self.path(document, namespace)
            kind = "application/apply-patch+yaml"
            path = f"{collection}/{name}"
            results.append(
                self.request("PATCH", path, document, kind, fieldManager="tests", force="true")
            )
        return results if isinstance(documents, list) else results[0]

    def patch(self, path, body, subresource=""):
        """Merge-patches the object at a path; subresource is e.g. "status"."""
        path = f"{path}/{subresource}" if subresource else path
        return self.request("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path, grace=None):
        """Deletes the object at a path; absent is fine."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        try:
            return self.request("DELETE", path, options)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def watch(self, path, timeout=5, **params):
        """Yields watch events (type, object) of a collection until the server ends the watch, after
        timeout (s).
        """
        params = {"watch": "true", "timeoutSeconds": timeout, **params}
        with self.http.stream("GET", path, params=params, timeout=timeout + 5) as response:
            if not response.is_success:
                response.read()
                raise ApiError("WATCH", path, response)
            for line in response.iter_lines():
                event = json.loads(line)
                yield event["type"], event["object"]

    # ---- Namespaces and accounts

    def namespace(self, name):
        """Makes a namespace in which pods can be created, with the account that may discover."""
        role_group = "rbac.authorization.k8s.io"
        role = {"apiGroup": role_group, "kind": "Role", "name": "discover"}
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": name}
        version = f"{role_group}/v1"
        self.apply(
            [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}},
                {
                    "apiVersion": version,
                    "kind": "Role",
                    "metadata": {"name": "discover"},
                    "rules": [*READER, POOL_READER],
                },
                {
                    "apiVersion": version,
                    "kind": "RoleBinding",
                    "metadata": {"name": "discover"},
                    "roleRef": role,
                    "subjects": [subject],
                },
            ],
            namespace=name,
        )
        # A controller makes the account "default"; before that, pods are refused.
        accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
        eventually(lambda: self.exists(f"{accounts}/default"), "no default account", 20)
        return Namespace(self, name)

    def read_all(self, namespace):
        """Lets the account of a namespace discover in all of them, and read nodes."""
        group = "rbac.authorization.k8s.io"
        name = f"discover-{namespace.name}"
        role = {"apiGroup": group, "kind": "ClusterRole", "name": name}
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace.name}
        self.apply(
            [
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": name},
                    "rules": [*READER, NODE_READER],
                },
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": name},
                    "roleRef": role,
                    "subjects": [subject],
                },
            ]
        )

    def install(self, path):
        """Makes the resources that a file of CustomResourceDefinitions defines, and waits until
        they are served.
        """
        for definition in self.apply(Path(path).read_text()):
            spec = definition["spec"]
            base = f"/apis/{spec['group']}/{spec['versions'][0]['name']}"
            eventually(
                lambda at=f"{base}/{spec['names']['plural']}": self._is_served(at),
                f"{spec['names']['kind']} is not served",
                20,
            )

    def _is_served(self, path):
        try:
            return self.exists(path)
        except ApiError as error:  # "storage is (re)initializing"
            if error.status != 429:
                raise
            return None

    def exists(self, path):
        """The object at a path, or None."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def kubeconfig(self, path, token=None, token_file=None):
        """Writes a kubeconfig: for the administrator, or for the bearer of a token given or in a
        file.
        """
        if token:
            user = {"token": token}
        elif token_file:
            user = {"tokenFile": str(token_file)}
        else:
            user = {"client-certificate": str(self.admin[0]), "client-key": str(self.admin[1])}
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        }
        path = Path(path)
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def environment(self):
        """What a kubelet tells containers about the API server."""
        return {
            **os.environ,
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.port),
        }


class Namespace:
    """What tests do within one namespace."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.core = f"/api/v1/namespaces/{name}"
        self.slices = SLICES.format(name)

    def admit(self, other):
        """Lets the account of another namespace discover in this one."""
        group = "rbac.authorization.k8s.io"
        role = {"apiGroup": group, "kind": "Role", "name": "discover"}
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": other.name}
        self.cluster.apply(
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"discover-{other.name}"},
                "roleRef": role,
                "subjects": [subject],
            },
            self.name,
        )

    def token(self, bound_secret=None, seconds=3600):
        """A token of the account that may discover. Bound to a Secret it ends to be valid when that
        is deleted.
        """
        spec = {"expirationSeconds": seconds}
        if bound_secret:
            uid = self.cluster.apply(
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": bound_secret}},
                self.name,
            )["metadata"]["uid"]
            spec["boundObjectRef"] = {
                "apiVersion": "v1",
                "kind": "Secret",
                "name": bound_secret,
                "uid": uid,
            }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return self.cluster.request("POST", f"{self.core}/serviceaccounts/{ACCOUNT}/token", body)[
            "status"
        ]["token"]

    def account_files(self, token=None):
        """The files of /var/run/secrets/kubernetes.io/serviceaccount."""
        return {
            "token": token or self.token(),
            "ca.crt": self.cluster.ca.read_text(),
            "namespace": self.name,
        }

    def service_account(self, directory, token=None):
        """A directory like the one that a kubelet mounts into a pod."""
        return Mount(directory, self.account_files(token))

    def service(self, name, selector, port=8000, labels=None, headless=False):
        """Makes a Service with one port "http"; port is the target, a number or the name of a
        container port.
        """
        spec = {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": port}]}
        if headless:
            spec["clusterIP"] = "None"
        metadata = {"name": name, "labels": labels or {}}
        document = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
        return self.cluster.apply(document, self.name)

    def create_pod(self, name, ip, labels, port=8000, ready=True, node=NODE):
        """Makes a pod that runs at an address, on a node; its one container port is named
        "http".
        """
        ports = [{"name": "http", "containerPort": port}]
        container = {"name": "model", "image": "registry.invalid/model:1", "ports": ports}
        document = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "nodeName": node,
                "containers": [container],
                "terminationGracePeriodSeconds": 30,
            },
        }
        pod = self.cluster.apply(document, self.name)
        status = {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": conditions(ready),
        }
        self.cluster.patch(f"{self.core}/pods/{name}", {"status": status}, "status")
        return pod

    def set_ready(self, name, ready):
        """What a kubelet does when the readiness probe changes its mind."""
        path = f"{self.core}/pods/{name}"
        self.cluster.patch(path, {"status": {"conditions": conditions(ready)}}, "status")

    def label_pod(self, name, labels):
        """Changes labels of a pod; None removes one."""
        self.cluster.patch(f"{self.core}/pods/{name}", {"metadata": {"labels": labels}})

    def delete_pod(self, name, grace=30):
        """Asks a pod to end. It terminates (serving still) until remove_pod(), as it does until its
        kubelet is done.
        """
        return self.cluster.delete(f"{self.core}/pods/{name}", grace)

    def remove_pod(self, name):
        """What a kubelet does when all containers have ended: the pod is gone."""
        return self.cluster.delete(f"{self.core}/pods/{name}", 0)

    def endpoints(self, service):
        """All endpoints of a service by address, over all of its slices: address to conditions and
        pod.
        """
        found = {}
        selector = f"kubernetes.io/service-name={service}"
        for item in self.cluster.request("GET", self.slices, labelSelector=selector)["items"]:
            for endpoint in item.get("endpoints") or []:
                found[endpoint["addresses"][0]] = {
                    **endpoint["conditions"],
                    "pod": endpoint.get("targetRef", {}).get("name"),
                    "ports": [p["port"] for p in item.get("ports") or []],
                }
        return found

    def wait_endpoints(self, service, wanted, timeout=10):
        """Waits until exactly the wanted addresses are ready in the service's slices."""

        def same():
            ready = {address for address, e in self.endpoints(service).items() if e["ready"]}
            assert ready == set(wanted), f"ready are {sorted(ready)}"
            return True

        eventually(same, f"service {service} has ready endpoints {sorted(wanted)}", timeout)


def conditions(ready):
    """Conditions of a pod's status."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    state = "True" if ready else "False"
    return [
        {"type": kind, "status": state, "lastTransitionTime": now}
        for kind in ("ContainersReady", "Ready")
    ]
