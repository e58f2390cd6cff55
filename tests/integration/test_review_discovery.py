# SPDX-License-Identifier: Apache-2.0
"""Discovery in situations that a review found it wrong in: whose endpoints, from when, how often."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
import yaml

from lib.config import config
from lib.fake_kube import FakeKube, endpoint, slice_of, status_body
from lib.sluiced import Sluiced, named
from lib.wait import wait_until

POOL = {"discover": {"kubernetes": {"service": "llama", "port": "http"}}}
FIRST, SECOND = "10.0.0.1:8000", "10.0.0.2:8000"
WATCHES_MAX_N = 40  # in the time of a test: three at once, then a few a second


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    """The API server, over plain HTTP, with one slice."""
    server = FakeKube()
    server.put(slice_of("a", [endpoint("10.0.0.1", "p1")]))
    yield server
    server.stop()


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Callable[..., str]:
    """Writes a kubeconfig by rename; returns its path."""
    def write(server: str, token: str = "secret", **cluster: Any) -> str:
        path = tmp_path / "kubeconfig"
        new = tmp_path / "kubeconfig.new"
        new.write_text(yaml.safe_dump({
            "current-context": "c",
            "contexts": [{"name": "c",
                          "context": {"cluster": "k", "user": "u", "namespace": "prod"}}],
            "clusters": [{"name": "k", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }))
        new.rename(path)
        return str(path)
    return write


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The directory for last good sets."""
    path = tmp_path / "cache"
    path.mkdir()
    return path


def conf(kubeconfig: str, **sections: Any) -> Dict[str, Any]:
    """A config with the pool."""
    kubernetes = {"kubeconfig": kubeconfig, **sections.pop("kubernetes", {})}
    return config({"chat": POOL}, kubernetes=kubernetes, **sections)


def addresses(proxy: Sluiced) -> List[str]:
    """Of the pool."""
    return sorted(e["address"] for e in named(proxy.status()["pools"], "chat")["endpoints"])


def wait_for(proxy: Sluiced, *wanted: str) -> None:
    """Until the pool has these."""
    wait_until(lambda: addresses(proxy) == sorted(wanted), 20, f"{wanted}", proxy.log)


def test_one_404_changes_no_api_and_empties_nothing(sluiced, kube, kubeconfig, cache):
    proxy = sluiced(conf(kubeconfig(kube.url()), discovery={"cache": str(cache)}))
    wait_until((cache / "chat.json").exists, 10, "the set on disk")
    proxy.stop()

    def balancer(connection: Any, request: Any) -> bool:
        del request
        connection.answer(404, b"404 page not found\n")
        return True

    kube.script.append(balancer)
    proxy = sluiced(conf(kubeconfig(kube.url()), discovery={"cache": str(cache)}))
    wait_for(proxy, FIRST)
    assert not proxy.events("discovery_legacy")
    assert "10.0.0.1" in (cache / "chat.json").read_text()


def test_last_good_set_of_another_cluster_is_not_used(sluiced, kube, kubeconfig, cache):
    proxy = sluiced(conf(kubeconfig(kube.url()), discovery={"cache": str(cache)}))
    wait_until((cache / "chat.json").exists, 10, "the set on disk")
    proxy.stop()
    proxy = sluiced(conf(kubeconfig("http://127.0.0.1:1"), discovery={"cache": str(cache)}))
    wait_until(lambda: proxy.events("discovery_cache_not_used"), 10, "the set refused", proxy.log)
    assert addresses(proxy) == []


def test_last_good_set_that_could_not_be_written_is_written_later(
        sluiced, kube, kubeconfig, cache, tmp_path):
    proxy = sluiced(conf(kubeconfig(kube.url()), discovery={"cache": str(cache)}))
    wait_until((cache / "chat.json").exists, 10, "the set on disk")
    cache.rename(tmp_path / "away")
    kube.put(slice_of("a", [endpoint("10.0.0.2", "p2")]))
    wait_until(lambda: proxy.events("discovery_cache_not_written"), 10, "a failure", proxy.log)
    (tmp_path / "away").rename(cache)

    def written() -> bool:
        found = json.loads((cache / "chat.json").read_text())["endpoints"]
        return [e["host"] for e in found] == ["10.0.0.2"]

    wait_until(written, 10, "the set to be written", proxy.log)


def test_trust_that_was_taken_back_is_not_used_any_more(sluiced, kubeconfig):
    path = kubeconfig("https://127.0.0.1:1", **{"insecure-skip-tls-verify": True})
    proxy = sluiced(conf(path, kubernetes={"allow_insecure_tls": True}))
    assert not proxy.reload(conf(path, kubernetes={"allow_insecure_tls": False}))


def test_kubeconfig_that_was_written_anew_is_read_anew(sluiced, kube, kubeconfig):
    proxy = sluiced(conf(kubeconfig(kube.url())))
    wait_for(proxy, FIRST)
    kube.tokens = {"new"}
    kubeconfig(kube.url(), "new")
    kube.close_watches(lambda connection: connection.cut())
    kube.put(slice_of("b", [endpoint("10.0.0.2", "p2")]))
    wait_for(proxy, FIRST, SECOND)


def test_server_that_was_restored_from_a_backup_is_listed_again(sluiced, kube, kubeconfig):
    """Our version lies in its future, and it says so with a 504."""
    proxy = sluiced(conf(kubeconfig(kube.url())))
    wait_for(proxy, FIRST)
    kube.watch()
    open_watch = kube._open_watch

    def refuse_future(connection: Any, request: Any) -> None:
        if int(request.query["resourceVersion"]) > kube.version:
            connection.answer(504, status_body(504, "Too large resource version"))
        else:
            open_watch(connection, request)

    kube._open_watch = refuse_future
    with kube.lock:
        kube.version = 50
        kube.history = []
    kube.put(slice_of("a", [endpoint("10.0.0.2", "p2")]), tell=False)
    with kube.lock:
        kube.version = 51
    kube.close_watches(lambda connection: connection.cut())
    wait_for(proxy, SECOND)


def test_watches_that_end_after_one_bookmark_are_not_hammered(sluiced, kube, kubeconfig):
    def one_bookmark(connection: Any, request: Any) -> None:
        del request
        kube.version += 1
        metadata = {"metadata": {"resourceVersion": str(kube.version)}}
        line = json.dumps({"type": "BOOKMARK", "object": metadata}).encode() + b"\n"
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                        b"%x\r\n%s\r\n0\r\n\r\n" % (len(line), line))

    kube._open_watch = one_bookmark
    proxy = sluiced(conf(kubeconfig(kube.url())))
    wait_for(proxy, FIRST)
    wait_until(lambda: len(kube.seen(True)) >= 8, 20, "some watches", proxy.log)
    age_ms = named(proxy.status()["pools"], "chat")["discovery"]["age_ms"]
    assert age_ms is not None and len(kube.seen(True)) < WATCHES_MAX_N
