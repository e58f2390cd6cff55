# SPDX-License-Identifier: Apache-2.0
"""The last good set on disk: a start while the API server is away; and what readiness says of the age
of endpoints."""

import json
import os
import re
import socket
import stat
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from lib.config import config
from lib.fake_kube import FakeKube, endpoint, slice_of
from lib.fetch import fetch
from lib.sluiced import Sluiced, named
from lib.wait import stays, wait_until


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    """The API server, over plain HTTP."""
    server = FakeKube()
    yield server
    server.stop()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The directory for sets."""
    path = tmp_path / "cache"
    path.mkdir()
    return path


@pytest.fixture
def start(sluiced: Any, kube: FakeKube, cache: Path, tmp_path: Path) -> Callable[..., Sluiced]:
    """Starts sluiced with one pool "chat" of the service "llama", and the cache."""
    def run(service: str = "llama", **discovery: str) -> Sluiced:
        return sluiced(whole(kube.kubeconfig(tmp_path / "kubeconfig", tmp_path / "token"), cache,
                             service, **discovery))
    return run


def whole(kubeconfig: str, cache: Path, service: str = "llama", **discovery: str) -> Dict[str, Any]:
    """The configuration."""
    pool = {"discover": {"kubernetes": {"service": service, "port": "http"}}}
    return config({"chat": pool}, kubernetes={"kubeconfig": kubeconfig},
                  discovery={"cache": str(cache), **discovery})


def chat(proxy: Sluiced) -> Dict[str, Any]:
    """What /status says of the pool."""
    return named(proxy.status()["pools"], "chat")


def addresses(proxy: Sluiced) -> List[str]:
    """Its endpoints."""
    return sorted(one["address"] for one in chat(proxy)["endpoints"])


def expect(proxy: Sluiced, *wanted: str) -> None:
    """Waits until the pool has exactly these endpoints."""
    wait_until(lambda: addresses(proxy) == sorted(wanted), 10, f"endpoints {wanted}",
               lambda: chat(proxy))


def written(cache: Path) -> List[str]:
    """Hosts in the file, once it is there."""
    endpoints = json.loads((cache / "chat.json").read_text())["endpoints"]
    return sorted(one["host"] for one in endpoints)


def expect_written(cache: Path, *hosts: str) -> None:
    """Waits until the file has exactly these."""
    wait_until(lambda: written(cache) == sorted(hosts), 10, f"{hosts} on disk",
               lambda: os.listdir(cache))


def readyz(proxy: Sluiced) -> Any:
    """The probe, as kubelet asks."""
    return fetch(proxy.address("probes"), "/readyz")


def dead(kube: FakeKube) -> None:
    """The API server goes away for good: nobody listens at its address."""
    kube.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
    kube.stop()


def test_a_start_without_the_api_server_uses_the_last_set(kube: FakeKube, start: Any, model: Any,
                                                          cache: Path) -> None:
    served = model()
    host, port = served.address.split(":")
    kube.put(slice_of("a", [endpoint(host, "p1")],
                      ports=[{"name": "http", "protocol": "TCP", "port": int(port)}]))
    first = start()
    expect(first, served.address)
    assert chat(first)["discovery"]["state"] != "cached"
    expect_written(cache, host)
    assert stat.S_IMODE((cache / "chat.json").stat().st_mode) == 0o600
    first.stop()
    dead(kube)
    second = start()  # ready, long before the 10 s that a pool without endpoints is waited for
    assert not second.events("pool_not_synced")
    assert addresses(second) == [served.address]
    assert second.endpoint("chat", served.address)["pod"] == "p1"
    state = chat(second)["discovery"]
    assert state["state"] == "cached" and state["synced"] and not state["connected"]
    assert 0 < state["age_ms"] < 60000 and state["errors"] > 0
    assert second.metric("sluiced_discovery_age_seconds", pool="chat") > 0
    assert second.get("/health").status == 200
    assert readyz(second).status == 200
    used = second.events("discovery_cache_used")
    assert len(used) == 1 and used[0]["endpoints"] == 1
    assert os.listdir(cache) == ["chat.json"]


def test_the_first_answer_of_the_source_replaces_the_set(kube: FakeKube, start: Any,
                                                         cache: Path) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    first = start()
    expect_written(cache, "10.0.0.1")
    first.stop()
    kube.remove("a")
    kube.put(slice_of("b", [endpoint("10.0.0.2")]))
    silent: List[Any] = []
    open_again = []

    def hold(connection: Any, request: Any) -> Any:
        silent.append((connection, request))
        return True if open_again else False

    kube.script.append(hold)
    second = start()
    expect(second, "10.0.0.1:8000")
    assert chat(second)["discovery"]["state"] == "cached"
    assert silent, "the source asked, and was told nothing"
    stays(lambda: addresses(second) == ["10.0.0.1:8000"], 0.3, "the set of the cache")
    assert written(cache) == ["10.0.0.1"]
    open_again.append(True)
    kube.script.clear()
    for connection, _ in silent:
        connection.cut()
    expect(second, "10.0.0.2:8000")
    assert chat(second)["discovery"]["state"] != "cached"
    expect_written(cache, "10.0.0.2")


def test_changes_are_written_at_most_once_a_second_and_the_last_always(kube: FakeKube, start: Any,
                                                                       cache: Path) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    kube.watch()
    expect_written(cache, "10.0.0.1")
    inodes = {(cache / "chat.json").stat().st_ino}
    for last in range(2, 12):
        kube.put(slice_of("a", [endpoint(f"10.0.0.{last}")]))
        expect(proxy, f"10.0.0.{last}:8000")
        inodes.add((cache / "chat.json").stat().st_ino)
    proxy.stop()  # at once: what was not written yet is now
    assert written(cache) == ["10.0.0.11"]
    assert len(inodes) < 6, "each change was written"


@pytest.mark.parametrize("spoil", [
    lambda path: path.write_text(path.read_text()[:-9]),
    lambda path: path.unlink(),
], ids=["cut", "gone"])
def test_a_set_that_cannot_be_trusted_is_not_used(kube: FakeKube, start: Any, cache: Path,
                                                  spoil: Callable[[Path], Any]) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    first = start()
    expect_written(cache, "10.0.0.1")
    first.stop()
    spoil(cache / "chat.json")
    dead(kube)
    second = start()
    assert chat(second)["discovery"]["synced"] is False and addresses(second) == []
    assert "chat.json" in second.events("discovery_cache_not_used")[0]["error"]


def test_a_set_of_another_source_is_not_used(kube: FakeKube, start: Any, cache: Path) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    first = start()
    expect_written(cache, "10.0.0.1")
    first.stop()
    dead(kube)
    second = start(service="mistral")
    assert addresses(second) == []
    assert "of another source" in second.events("discovery_cache_not_used")[0]["error"]


def test_a_running_pool_is_no_cold_start_and_a_reload_may_turn_the_cache_on(
        kube: FakeKube, sluiced: Any, cache: Path, tmp_path: Path) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    path = kube.kubeconfig(tmp_path / "kubeconfig", tmp_path / "token")
    conf = whole(path, cache)
    without = {key: value for key, value in conf.items() if key != "discovery"}
    proxy = sluiced(without)
    expect(proxy, "10.0.0.1:8000")
    assert os.listdir(cache) == []
    assert proxy.reload(conf)
    expect_written(cache, "10.0.0.1")
    dead(kube)
    assert proxy.reload(without) and proxy.reload(conf)
    assert addresses(proxy) == ["10.0.0.1:8000"]
    assert chat(proxy)["discovery"]["state"] != "cached"
    assert not proxy.events("discovery_cache_used")


def test_a_cache_that_cannot_be_written_is_said_once_and_harms_nobody(
        kube: FakeKube, start: Any, cache: Path) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect_written(cache, "10.0.0.1")
    kube.watch()
    cache.rename(cache.with_name("moved"))
    kube.put(slice_of("a", [endpoint("10.0.0.2")]))
    expect(proxy, "10.0.0.2:8000")
    wait_until(lambda: chat(proxy)["discovery"]["cache_errors"] == 1, 10, "the first error")
    kube.put(slice_of("a", [endpoint("10.0.0.3")]))
    wait_until(lambda: chat(proxy)["discovery"]["cache_errors"] == 2, 10, "the second error")
    assert len(proxy.events("discovery_cache_not_written")) == 1
    assert proxy.metric("sluiced_discovery_cache_errors_total", pool="chat") == 2
    assert not proxy.reload(None), "a folder that is gone is refused by a load"
    cache.with_name("moved").rename(cache)
    kube.put(slice_of("a", [endpoint("10.0.0.4")]))
    expect_written(cache, "10.0.0.4")


# -- readiness


def test_the_api_server_gone_makes_nobody_unready_by_default(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    dead(kube)
    wait_until(lambda: chat(proxy)["discovery"]["age_ms"] > 1500, 10, "the proof to grow old")
    assert readyz(proxy).status == 200


def test_readiness_may_ask_for_the_age_of_the_endpoints(kube: FakeKube, start: Any,
                                                        sluiced: Any, cache: Path) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start(ready_max_age="2s")
    expect_written(cache, "10.0.0.1")
    dead(kube)
    wait_until(lambda: readyz(proxy).status == 503, 10, "the proof to be too old")
    assert re.fullmatch(rb"the endpoints of pool chat were last proven \d+ ms ago, longer than "
                        rb"discovery.ready_max_age\n", readyz(proxy).body)
    assert "pool chat" in proxy.status()["not_ready_because"]
    wait_until(lambda: chat(proxy)["discovery"]["age_ms"] > 2000, 10, "two seconds")
    assert addresses(proxy) == ["10.0.0.1:8000"]
    assert proxy.reload(proxy.path.read_text().replace("ready_max_age: 2s", "ready_max_age: 1h"))
    assert readyz(proxy).status == 200
    fixed = sluiced(config({"fixed": {"discover": {"static": ["127.0.0.1:9"]}}},
                           discovery={"ready_max_age": "1s"}))
    assert readyz(fixed).status == 200, "a configuration cannot be older than itself"


# -- doubt


def test_who_refuses_connections_makes_the_source_look_again(sluiced: Any, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"127.0.0.1:{server.getsockname()[1]}"
    path.write_text(json.dumps({"endpoints": [gone]}))
    proxy = sluiced(config({"chat": {"discover": {"file": str(path)}, "health": "off",
                                     "queue": {"timeout": "200ms"}}},
                           log={"level": "debug", "access": "stdout"}))
    assert proxy.get("/").status == 502
    wait_until(lambda: proxy.events("endpoints_doubted"), 10, "the doubt")
    assert proxy.events("endpoints_doubted")[0]["pool"] == "chat"
