# SPDX-License-Identifier: Apache-2.0
"""Every manifest of deploy/ is accepted by a real API server, strictly.

Strictly: an unknown or a duplicate field is an error.
"""

import re
from pathlib import Path

import pytest
import yaml
from cluster import ApiError

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"


def is_manifest(path):
    """False for what is YAML and meant for others: parts of a Helm chart, kustomizations,
    Prometheus rule files.
    """
    if any((parent / "Chart.yaml").exists() for parent in path.parents):
        return False
    if path.name in ("kustomization.yaml", "kustomization.yml"):
        return False
    # A rule file is for Prometheus itself. In a cluster it comes in a ConfigMap, and that is
    # checked.
    return not re.match(r"(?:(?:[ \t]*(?:#.*)?|---)\n)*groups:", path.read_text())


def documents():
    """(name, text) of each document, as written: decoding it here would hide duplicate keys."""
    found = []
    for path in sorted([*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")]):
        if not is_manifest(path):
            continue
        for number, text in enumerate(
            re.split(r"^---[ \t]*(?:#.*)?$", path.read_text(), flags=re.MULTILINE)
        ):
            if yaml.safe_load(text) is not None:
                found.append((f"{path.relative_to(DEPLOY)}#{number}", text))
    return found


def dry_run(cluster, text):
    """Creates an object, or changes the one that is there, without keeping it; returns it."""
    document = yaml.safe_load(text)
    collection, name = cluster.path(document)
    options = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "tests"}
    path = f"{collection}/{name}"
    if cluster.exists(path):
        apply = "application/apply-patch+yaml"
        return cluster.request("PATCH", path, text, apply, force="true", **options)
    return cluster.request("POST", collection, text, "application/yaml", **options)


@pytest.fixture(scope="module")
def namespaces(cluster):
    """The namespaces that the manifests name exist: a dry run makes none."""
    names = set()
    for _, text in documents():
        document = yaml.safe_load(text)
        is_namespace = document["kind"] == "Namespace"
        names.add(document["metadata"].get("name" if is_namespace else "namespace"))
    for name in names - {None}:
        if not cluster.exists(f"/api/v1/namespaces/{name}"):
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def test_there_are_manifests():
    assert documents(), f"no manifest under {DEPLOY}"


@pytest.mark.parametrize("name, text", documents(), ids=[name for name, _ in documents()])
def test_the_api_server_accepts_the_manifest(cluster, namespaces, name, text):
    document = yaml.safe_load(text)
    assert dry_run(cluster, text)["kind"] == document["kind"]


@pytest.mark.parametrize(
    "wrong",
    [
        "spec: {ports: [{port: 80}], selektor: {a: b}}",
        "spec: {ports: [{port: 80}]}\nspec: {ports: [{port: 81}]}",
        "spec: {ports: [{port: 800000}]}",
    ],
    ids=["unknown field", "duplicate key", "bad value"],
)
def test_a_wrong_manifest_would_be_refused(cluster, wrong):
    text = (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: wrong, namespace: default}}\n{wrong}\n"
    )
    with pytest.raises(ApiError):
        dry_run(cluster, text)
