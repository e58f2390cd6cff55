# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the integration tests. Whatever a test starts is ended by pid when it ends."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Union

import pytest

from lib.ca import CA
from lib.model import Model
from lib.sluiced import Sluiced
from lib.wire import RawUpstream, Wire

STARTED = pytest.StashKey[List[Any]]()


def started(request: pytest.FixtureRequest) -> List[Any]:
    """What the running test has started, for the failure report."""
    return request.node.stash.setdefault(STARTED, [])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Adds the logs of everything the test started to a failure report."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        things: List[Any] = item.stash.get(STARTED, [])
        for index, thing in enumerate(things):
            report.sections.append((f"{type(thing).__name__} {index}", thing.log()))


@pytest.fixture
def sluiced(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Sluiced]]:
    """Factory of running proxies. All must end with code 0 and without a sanitizer report."""
    running: List[Sluiced] = []

    def start(conf: Union[str, Dict[str, Any]] = "", path: Optional[Path] = None,
              **options: Any) -> Sluiced:
        directory = tmp_path / f"sluiced-{len(running)}"
        directory.mkdir()
        proxy = Sluiced(directory, conf, path, ready=False, **options)
        running.append(proxy)
        started(request).append(proxy)
        proxy.wait_ready()
        return proxy

    yield start
    errors = []
    for proxy in running:
        try:
            proxy.stop()
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, "\n".join(errors)


@pytest.fixture
def wires() -> Iterator[Callable[[Sluiced], Wire]]:
    """Factory of client connections to a proxy's listener edge, closed at the end."""
    opened: List[Wire] = []

    def connect(proxy: Sluiced) -> Wire:
        opened.append(Wire(proxy.address("edge")))
        return opened[-1]

    yield connect
    for wire in opened:
        wire.close()


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Iterator[Callable[..., Model]]:
    """Factory of demo model servers: model("--version", "v2")."""
    running: List[Model] = []

    def start(*flags: str, bind: str = "127.0.0.1:0") -> Model:
        server = Model(*flags, bind=bind)
        running.append(server)
        started(request).append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def upstream() -> Iterator[Callable[..., RawUpstream]]:
    """Factory of scripted upstream servers."""
    running: List[RawUpstream] = []

    def start(*args: Any, **options: Any) -> RawUpstream:
        server = RawUpstream(*args, **options)
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CA:
    """The authority that the tests trust."""
    return CA(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> CA:
    """An authority that nobody trusts, with the same name."""
    return CA(tmp_path_factory.mktemp("other-ca"))
