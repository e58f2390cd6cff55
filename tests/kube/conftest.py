# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one cluster for the session; a namespace, model servers and sluiced for each test."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

import netns  # noqa: E402  pylint: disable=wrong-import-position
from certs import Authority  # noqa: E402  pylint: disable=wrong-import-position
from cluster import Cluster  # noqa: E402  pylint: disable=wrong-import-position
from crew import Crew  # noqa: E402  pylint: disable=wrong-import-position
from load import Load  # noqa: E402  pylint: disable=wrong-import-position
from models import Fleet  # noqa: E402  pylint: disable=wrong-import-position
from relay import Relay  # noqa: E402  pylint: disable=wrong-import-position
from sluiced import Sluiced  # noqa: E402  pylint: disable=wrong-import-position


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Tells fixtures how their test went, so that logs are shown of those that failed."""
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


def build():
    """Directory of etcd, kube-apiserver and kube-controllers, built if need be (minutes, once)."""
    built = subprocess.run([HERE / "build.sh"], stdout=subprocess.PIPE, check=False, text=True)
    if built.returncode != 0:
        pytest.exit("tests/kube/build.sh failed, see above", returncode=1)
    return built.stdout.strip()


def pytest_collection_finish(session):
    """Builds before the first test begins: within it, the build would run into its time limit."""
    if session.config.option.collectonly:
        return
    if any("cluster" in getattr(item, "fixturenames", ()) for item in session.items):
        with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            build()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The control plane, in a network namespace of the session's own."""
    binaries = build()  # before the namespace, in which there is no network to download from
    netns.enter()
    control_plane = Cluster(binaries, tmp_path_factory.mktemp("kube") / "cluster")
    try:
        control_plane.start()
        yield control_plane
    finally:
        control_plane.stop()


@pytest.fixture
def namespace(cluster, request):
    """A namespace of the test's own, named after it."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-50:].strip("-")
    yield cluster.namespace(f"t-{name}")
    if getattr(request.node, "failed", False):
        print(cluster.logs())


@pytest.fixture
def fleet(namespace, tmp_path, request):
    """Model servers that are pods of the test's namespace."""
    pods = Fleet(namespace, tmp_path)
    yield pods
    if getattr(request.node, "failed", False):
        print(pods.logs())
    pods.stop()


@pytest.fixture
def crew(namespace, tmp_path, request):
    """Pods by the dozen, in one process."""
    pods = Crew(namespace, tmp_path)
    yield pods
    if getattr(request.node, "failed", False):
        print(pods.logs())
    pods.stop()


@pytest.fixture
def relay(cluster):
    """A relay in front of the API server, to be cut."""
    between = Relay(("127.0.0.1", cluster.port))
    yield between
    between.stop()


@pytest.fixture
def through_relay(cluster, relay):
    """Environment of a container that reaches the API server through the relay."""
    return {**cluster.environment(), "KUBERNETES_SERVICE_PORT": str(relay.address[1])}


@pytest.fixture
def start_sluiced(cluster, namespace, tmp_path, request):
    """Starts sluiced as a pod of the test's namespace: start_sluiced(pools=..., ...), see Sluiced.

    It gets the namespace's service account unless `kubernetes` says otherwise. A test in which it
    does not end cleanly on SIGTERM fails.
    """
    started = []

    def start(kubernetes=None, env=None, **config):
        if kubernetes is None:
            account = namespace.service_account(tmp_path / f"account-{len(started)}")
            kubernetes = {"service_account": str(account.directory)}
        directory = tmp_path / f"sluiced-{len(started)}"
        proxy = Sluiced(
            binary(), directory, env or cluster.environment(), kubernetes=kubernetes, **config
        )
        started.append(proxy)
        proxy.wait_listening()
        return proxy

    yield start
    codes = [proxy.stop() for proxy in started]
    if getattr(request.node, "failed", False):
        for proxy in started:
            print(proxy.process.tail(60))
    assert all(code == 0 for code in codes), f"sluiced ended with {codes}"


@pytest.fixture
def start_load():
    """Starts load on an address: start_load(address, ...), see Load. It ends with the test at the
    latest.
    """
    started = []

    def start(address, **options):
        started.append(Load(address, **options).start())
        return started[-1]

    yield start
    for load in started:
        load.stop()


@pytest.fixture
def authority(tmp_path):
    """A certificate authority for the traffic (the cluster has its own)."""
    return Authority(tmp_path / "pki")


def binary():
    """The sluiced under test."""
    path = Path(os.environ.get("SLUICED") or ROOT / "build" / "release" / "sluiced")
    assert path.exists(), f"{path} is missing: run `make`, or set SLUICED"
    return path
