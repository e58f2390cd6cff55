# SPDX-License-Identifier: Apache-2.0
"""Configurations that people will copy, out of documents: fenced blocks and ConfigMaps."""

import re
from pathlib import Path
from typing import Iterator, List, Tuple

import yaml

from lib.ca import CA
from lib.sluiced import ROOT, run_cli

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
TLS_FILE = re.compile(r"(?<![\w])(cert|key|ca|client_ca): ?([^\s,}]+)")


def fenced_yaml(path: Path) -> Iterator[Tuple[int, str]]:
    """Line and text of each fenced block of YAML in a Markdown file."""
    text = path.read_text()
    for match in FENCE.finditer(text):
        if match.group(1) in ("yaml", "yml"):
            yield text.count("\n", 0, match.start()) + 1, match.group(2)


def config_maps(directory: Path) -> List[Tuple[str, str]]:
    """Name and sluiced.yaml of each ConfigMap in a tree of manifests."""
    found = []
    for path in sorted(directory.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document["kind"] == "ConfigMap" and "sluiced.yaml" in document["data"]:
                found.append((str(path.relative_to(ROOT)), document["data"]["sluiced.yaml"]))
    return found


def with_real_tls(text: str, ca: CA) -> str:
    """The text with each file of a tls: section replaced by one that exists."""
    leaf = ca.issue("written", dns=["written.example.com"])
    files = {"cert": leaf.cert, "key": leaf.key, "ca": ca.path, "client_ca": ca.path}
    return TLS_FILE.sub(lambda match: f"{match.group(1)}: {files[match.group(1)]}", text)


def assert_accepted(text: str, ca: CA, directory: Path) -> None:
    """`sluiced check` takes the text, its TLS files aside."""
    path = directory / "sluiced.yaml"
    path.write_text(with_real_tls(text, ca))
    result = run_cli("check", "-c", str(path))
    assert result.code == 0, f"{result.stderr}\n{path.read_text()}"
