# SPDX-License-Identifier: Apache-2.0
"""The accounts of deploy/ may do what their configuration asks for: discovery works with them."""

import pytest
import yaml
from mount import Mount
from test_deploy import DEPLOY


def account(cluster, namespace, manifest, directory):
    """Applies the rbac.yaml of a folder; returns files like those that its pod would have."""
    text = (DEPLOY / manifest / "rbac.yaml").read_text()
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        for subject in document.get("subjects", []):
            subject["namespace"] = namespace.name
    cluster.apply(documents, namespace.name)
    name = next(d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount")
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    path = f"{namespace.core}/serviceaccounts/{name}/token"
    token = cluster.request("POST", path, body)["status"]["token"]
    return Mount(directory, namespace.account_files(token))


def pools(manifest):
    """Pools and routes of the ConfigMap of a folder, in plaintext."""
    document = yaml.safe_load((DEPLOY / manifest / "configmap.yaml").read_text())
    config = yaml.safe_load(document["data"]["sluiced.yaml"])
    for pool in config["pools"].values():
        del pool["tls"]
        pool["discover"]["kubernetes"]["port"] = "http"
    return config["pools"], config["listeners"][0]["http"]["routes"]


@pytest.mark.parametrize("manifest", ["edge", "sidecar"])
def test_the_role_is_enough_for_the_configuration(
    cluster, namespace, fleet, start_sluiced, tmp_path, manifest
):
    files = account(cluster, namespace, manifest, tmp_path / "account")
    namespace.service("llama", {"app": "llama"})
    v1 = fleet.start("llama-v1", {"app": "llama", "version": "v1"})
    v2 = fleet.start("llama-v2", {"app": "llama", "version": "v2"})
    targets, routes = pools(manifest)
    proxy = start_sluiced(
        kubernetes={"service_account": str(files.directory)}, pools=targets, routes=routes
    )
    wanted = {"llama-v1": [v1], "llama-v2": [v2], "llama": [v1, v2]}
    for name in targets:
        proxy.wait_endpoints(name, wanted[name])
    served = proxy.served_by(100)
    if manifest == "edge":
        assert served == {v1.address: 95, v2.address: 5}
    else:
        assert set(served) == {v1.address, v2.address}
