# SPDX-License-Identifier: Apache-2.0
"""A pool whose endpoints a file lists: it follows the file, and survives what is done to it."""

import json
import os
from pathlib import Path
from typing import Any, Dict, List

from lib.config import config
from lib.sluiced import Sluiced, named
from lib.wait import stays, wait_until


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


def expect_error(proxy: Sluiced, text: str) -> None:
    """Waits until the last error says so."""
    wait_until(lambda: text in chat(proxy)["discovery"]["last_error"], 10, f"error {text!r}",
               lambda: chat(proxy))


def listing(*endpoints: Any) -> str:
    """A file of these endpoints."""
    return json.dumps({"endpoints": list(endpoints)})


def replace(path: Path, text: str) -> None:
    """In one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    os.replace(fresh, path)


def follow(path: Any) -> Dict[str, Any]:
    """A configuration with one pool "chat" of this file."""
    return config({"chat": {"discover": {"file": str(path)}}})


def test_requests_follow_the_file(sluiced: Any, model: Any, tmp_path: Path) -> None:
    one, two = model(), model()
    path = tmp_path / "endpoints.yaml"
    path.write_text(listing(one.address))
    proxy = sluiced(follow(path))
    assert proxy.get("/health").status == 200
    replace(path, listing(one.address, {"address": two.address, "weight": 3}))
    expect(proxy, one.address, two.address)
    assert proxy.endpoint("chat", two.address)["weight"] == 3
    path.write_text(listing({"address": one.address, "drain": True}, two.address))
    wait_until(lambda: proxy.endpoint("chat", one.address)["draining"], 10, "one to drain")
    path.write_text("endpoints: []\n")
    expect(proxy)
    assert proxy.get("/health").status == 503
    assert chat(proxy)["health"] == "tcp"


def test_a_relative_path_counts_from_the_folder_of_the_config(sluiced: Any, tmp_path: Path) -> None:
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    (directory / "endpoints.json").write_text(listing("127.0.0.1:9"))
    (directory / "sluiced.yaml").write_text(json.dumps(follow("endpoints.json")))
    proxy = sluiced(path=directory / "sluiced.yaml")
    expect(proxy, "127.0.0.1:9")


def test_a_broken_file_leaves_the_last_endpoints(sluiced: Any, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(listing("127.0.0.1:9"))
    proxy = sluiced(follow(path))
    whole = listing("127.0.0.1:9", "127.0.0.1:10", "127.0.0.1:11")
    for broken, error in [(whole[:-3], "endpoints.yaml:1:"),
                          (listing("127.0.0.1:9", "127.0.0.1:9"), "endpoints[1]: expected another"),
                          (listing("model.example:80"), "endpoints[0]: expected a numeric"),
                          (listing(*(f"10.0.{n // 256}.{n % 256}:80" for n in range(4097))),
                           "expected at most 4096 items"),
                          (whole + " " * (1 << 20), "expected at most 1048576 bytes")]:
        replace(path, broken)
        expect_error(proxy, error)
        assert addresses(proxy) == ["127.0.0.1:9"]
    path.unlink()
    expect_error(proxy, "No such file")
    assert addresses(proxy) == ["127.0.0.1:9"]
    state = chat(proxy)["discovery"]
    assert state["synced"] and not state["connected"] and state["errors"] == 6
    path.write_text(whole)
    expect(proxy, "127.0.0.1:9", "127.0.0.1:10", "127.0.0.1:11")
    assert chat(proxy)["discovery"]["last_error"] == ""


def test_a_configmap_that_swaps_its_data_is_followed(sluiced: Any, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    for version in ("one", "two"):
        (mount / version).mkdir(parents=True)
        port = 9 if version == "one" else 10
        (mount / version / "endpoints.yaml").write_text(listing(f"127.0.0.1:{port}"))
    (mount / "..data").symlink_to("one")
    (mount / "endpoints.yaml").symlink_to("..data/endpoints.yaml")
    proxy = sluiced(follow(mount / "endpoints.yaml"))
    expect(proxy, "127.0.0.1:9")
    (mount / "..new").symlink_to("two")
    os.replace(mount / "..new", mount / "..data")
    expect(proxy, "127.0.0.1:10")


def test_a_file_that_comes_late_is_no_error_of_the_config(sluiced: Any, model: Any,
                                                          tmp_path: Path) -> None:
    served = model()
    path = tmp_path / "late.yaml"
    pools = {"fixed": {"discover": {"static": [served.address]}},
             "chat": {"discover": {"file": str(path)}}}
    proxy = sluiced(config(pools))  # ready after 10 s, without the pool
    assert proxy.get("/health").status == 200
    assert proxy.events("pool_not_synced") and not chat(proxy)["discovery"]["synced"]
    assert proxy.events("discovery_failed")[0]["source"] == "file"
    path.write_text(listing(served.address))
    expect(proxy, served.address)


def test_a_reload_keeps_the_source_that_stays_the_same(sluiced: Any, tmp_path: Path) -> None:
    path, other = tmp_path / "endpoints.yaml", tmp_path / "other.yaml"
    path.write_text(listing("127.0.0.1:9"))
    other.write_text(listing("127.0.0.1:10"))
    proxy = sluiced(follow(path))
    replace(path, "broken: [")
    expect_error(proxy, "broken YAML")
    assert proxy.reload(follow(path))
    stays(lambda: addresses(proxy) == ["127.0.0.1:9"], 0.2, "the endpoints of the file")
    assert proxy.reload(follow(other))
    expect(proxy, "127.0.0.1:10")
