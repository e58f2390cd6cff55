# SPDX-License-Identifier: Apache-2.0
"""The configuration in every ConfigMap of deploy/ is one that sluiced takes, and fits its pods."""

import re

import pytest
import yaml

from lib.sluiced import ROOT, run_cli
from lib.written import assert_accepted, config_maps, with_real_tls

DEPLOY = ROOT / "deploy"
CONFIG_MAPS = config_maps(DEPLOY)
MARGIN_S = 5
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def seconds(duration: str) -> float:
    """What a duration of a configuration comes to."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * SECONDS[unit]


def deployments():
    """Name, pod spec and configuration of each Deployment."""
    configs = {}
    for path, text in CONFIG_MAPS:
        configs[path.rsplit("/", 1)[0]] = yaml.safe_load(text)
    for path in sorted(DEPLOY.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == "Deployment":
                folder = str(path.relative_to(ROOT)).rsplit("/", 1)[0]
                yield folder, document["spec"]["template"]["spec"], configs[folder]


DEPLOYMENTS = list(deployments())
EACH_DEPLOYMENT = pytest.mark.parametrize("folder, spec, config", DEPLOYMENTS,
                                          ids=[folder for folder, _, _ in DEPLOYMENTS])


def sluiced_container(spec):
    """The container of a pod that runs sluiced."""
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    return next(one for one in containers if one["name"] == "sluiced")


@pytest.mark.parametrize("path, text", CONFIG_MAPS, ids=[path for path, _ in CONFIG_MAPS])
def test_config_map_is_accepted(path, text, ca, tmp_path):
    assert_accepted(text, ca, tmp_path)


def test_both_ways_to_deploy_have_a_config_map():
    assert {path.rsplit("/", 1)[0] for path, _ in CONFIG_MAPS} == {"deploy/edge", "deploy/sidecar"}


@pytest.mark.parametrize("path, text", CONFIG_MAPS, ids=[path for path, _ in CONFIG_MAPS])
def test_wrong_key_in_a_config_map_would_be_noticed(path, text, ca, tmp_path):
    file = tmp_path / "sluiced.yaml"
    file.write_text(with_real_tls(text, ca).replace("discover:", "discovr:"))
    result = run_cli("check", "-c", str(file))
    assert result.code == 2
    assert "discovr" in "\n".join(result.stderr)


@EACH_DEPLOYMENT
def test_pod_fits_its_configuration(folder, spec, config):
    container = sluiced_container(spec)
    drain = config["drain"]
    needed = seconds(drain["delay"]) + seconds(drain["timeout"]) + MARGIN_S
    assert spec["terminationGracePeriodSeconds"] >= needed
    probes = int(config["admin"]["probes"].rsplit(":", 1)[1])
    assert {"name": "probes", "containerPort": probes} in container["ports"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert container["args"][2].rsplit("/", 1)[0] in mounts
    for mount in mounts.values():
        assert "subPath" not in mount, "a file mounted by subPath never changes again"
    tls = [one["tls"] for one in [*config["listeners"], *config["pools"].values()] if "tls" in one]
    for section in tls:
        for key in {"cert", "key", "ca", "client_ca"} & set(section):
            assert section[key].rsplit("/", 1)[0] in mounts


@EACH_DEPLOYMENT
def test_pod_has_no_more_rights_than_it_needs(folder, spec, config):
    container = sluiced_container(spec)
    security = {**spec["securityContext"], **container["securityContext"]}
    assert security["runAsNonRoot"] and security["runAsUser"] > 0
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert config["admin"]["listen"].startswith("127.0.0.1:"), "who reaches it may drain"
    rules = [rule for path in sorted((ROOT / folder).glob("*.yaml"))
             for document in yaml.safe_load_all(path.read_text()) if document["kind"] == "Role"
             for rule in document["rules"]]
    granted = {(resource, verb) for rule in rules for resource in rule["resources"]
               for verb in rule["verbs"]}
    wanted = {("endpointslices", "list"), ("endpointslices", "watch")}
    if any("pods" in pool["discover"].get("kubernetes", {}) for pool in config["pools"].values()):
        wanted |= {("pods", "list"), ("pods", "watch")}
    assert granted == wanted
