# SPDX-License-Identifier: Apache-2.0
"""A new configuration replaces the old one without costing a request, and a bad one is refused."""

import json
import os
from pathlib import Path
from typing import Any, Dict

import pytest
import yaml

from lib.config import config, listener, pool, route
from lib.load import Load
from lib.sluiced import Sluiced
from lib.wait import wait_until
from lib.wire import Wire, request_bytes


@pytest.fixture
def versions(model) -> Dict[str, Any]:
    """A model server of each version."""
    return {version: model("--version", version) for version in ("v1", "v2")}


def split(versions: Dict[str, Any], v1: int, v2: int, **options: Any) -> Dict[str, Any]:
    """A split over both versions."""
    pools = {name: pool(server.address) for name, server in versions.items()}
    return config(pools, [route({"v1": v1, "v2": v2})], **options)


def served_by(proxy: Sluiced) -> str:
    """Which version answers now."""
    answer = proxy.get("/version")
    assert answer.status == 200, answer
    return answer.fields["x-model-version"]


def test_sighup_applies_the_file(sluiced, versions):
    proxy = sluiced(split(versions, 1, 0))
    assert proxy.generation() == 1
    assert served_by(proxy) == "v1"
    assert proxy.reload(split(versions, 0, 1))
    assert proxy.generation() == 2
    assert served_by(proxy) == "v2"


def test_file_replaced_by_rename_is_applied_without_a_signal(sluiced, versions):
    proxy = sluiced(split(versions, 1, 0))
    for generation, (v1, v2) in enumerate([(0, 1), (1, 0), (0, 1)], start=1):
        proxy.write_config(split(versions, v1, v2))
        assert proxy.wait_reloaded(generation)
        assert served_by(proxy) == ("v1" if v1 else "v2")


def test_file_written_in_place_is_applied_without_a_signal(sluiced, versions):
    proxy = sluiced(split(versions, 1, 0))
    proxy.path.write_text(yaml.safe_dump(split(versions, 0, 1)))
    wait_until(lambda: served_by(proxy) == "v2", 10, "the new weights", proxy.log)


def publish(directory: Path, conf: Dict[str, Any], number: int) -> None:
    """Writes a ConfigMap volume as the kubelet does: one rename of ..data replaces all files."""
    fresh = directory / f"..version_{number}"
    fresh.mkdir()
    (fresh / "sluiced.yaml").write_text(yaml.safe_dump(conf))
    (directory / "..data_tmp").symlink_to(fresh.name)
    os.replace(directory / "..data_tmp", directory / "..data")
    if not (directory / "sluiced.yaml").is_symlink():
        (directory / "sluiced.yaml").symlink_to("..data/sluiced.yaml")


def test_configmap_symlink_swap_is_applied_without_a_signal(sluiced, versions, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    publish(volume, split(versions, 1, 0), 1)
    proxy = sluiced(path=volume / "sluiced.yaml")
    for generation, (v1, v2) in enumerate([(0, 1), (1, 0), (0, 1)], start=1):
        publish(volume, split(versions, v1, v2), generation + 1)
        assert proxy.wait_reloaded(generation)
        assert served_by(proxy) == ("v1" if v1 else "v2")


BAD_FILES = {
    "syntax": "listeners: [",
    "unknown key": "nonsense: 1\n",
    "unknown pool": None,  # a good file whose route names a pool that is not there
    "empty": "",
}


@pytest.mark.parametrize("name", sorted(BAD_FILES))
def test_bad_file_changes_nothing_and_is_shown(sluiced, versions, name):
    good = split(versions, 1, 0)
    proxy = sluiced(good)
    bad = BAD_FILES[name]
    if bad is None:
        bad = yaml.safe_dump({**good, "listeners": [listener([route("nowhere")])]})
    assert not proxy.reload(bad)
    status = proxy.status()
    assert status["generation"] == 1
    assert str(proxy.path) in status["reload_error"]
    assert proxy.metric("sluiced_reload_failures_total") >= 1
    assert served_by(proxy) == "v1"
    assert proxy.admin("/readyz").status == 200
    assert proxy.reload(split(versions, 0, 1))
    assert proxy.status()["reload_error"] == ""
    assert served_by(proxy) == "v2"


def test_address_in_use_refuses_the_whole_file(sluiced, versions):
    good = split(versions, 1, 0)
    proxy = sluiced(good)
    taken = versions["v2"].address
    bad = split(versions, 0, 1)
    bad["listeners"].append({**listener([route("v1")], name="extra"), "bind": taken})
    assert not proxy.reload(bad)
    assert served_by(proxy) == "v1"


def test_address_in_use_takes_back_the_changes_beside_it(sluiced, versions):
    good = split(versions, 1, 0)
    proxy = sluiced(good)
    taken = versions["v2"].address
    bad = split(versions, 0, 1)
    for each in bad["pools"].values():
        each["limits"] = {"in_flight": 7, "connections": 7}
    bad["pools"]["fresh"] = dict(bad["pools"]["v2"])
    bad["listeners"].append(listener([route("fresh")], name="fresh"))  # this one can be bound
    bad["listeners"].append({**listener([route("v1")], name="extra"), "bind": taken})
    config_before, fds = proxy.admin("/config").body, proxy.process.open_fds()
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/version").status == 200
        fds += 2  # it, and the one behind it: kept
        assert not proxy.reload(bad)
        assert wire.ask("GET", "/version").status == 200, "who is connected goes on"
        wait_until(lambda: proxy.process.open_fds() <= fds, 10, "the bound one to be closed",
                   proxy.log)
    assert proxy.admin("/config").body == config_before
    status = proxy.status()
    assert [one["name"] for one in status["listeners"]] == ["edge"]
    assert {one["name"] for one in status["pools"]} == set(versions)
    assert all(one["connections_max"] == 0 for one in status["pools"])
    assert served_by(proxy) == "v1"


def test_weights_change_under_load_without_a_failed_request(sluiced, versions):
    proxy = sluiced(split(versions, 100, 0, workers=2))
    with Load(proxy.address("edge")) as load:
        for v2 in (1, 10, 50, 100):
            assert proxy.reload(split(versions, 100 - v2, v2, workers=2))
            load.wait_more(200)
        load.versions.clear()
        load.wait_more(100)
        assert load.versions["v1"] <= load.connections  # those that were under way
    assert load.failures == []


def test_fifty_reloads_under_load_cost_nothing_and_leave_no_old_view(sluiced, versions):
    proxy = sluiced(split(versions, 50, 50, workers=2))
    with Load(proxy.address("edge")) as load:
        for i in range(50):
            assert proxy.reload(split(versions, 50 + i % 7, 50, workers=2))
        load.wait_more(100)
    assert load.failures == []
    assert load.done > 100
    assert proxy.generation() >= 51  # an edit seen by the watch before SIGHUP counts as well
    wait_until(lambda: proxy.metric("sluiced_live_views") == 1, 10, "one live view", proxy.log)


def test_stream_outlives_the_removal_of_its_route_and_pool(sluiced, model):
    slow, other = model("--token-rate", "10"), model("--version", "v2")
    proxy = sluiced(config({"slow": pool(slow.address)}, workers=1))
    body = json.dumps({"prompt": "x", "stream": True, "max_tokens": 10}).encode()
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/v1/completions", body))
        assert wire.reader.head().status == 200
        first = wire.reader.chunk()
        assert proxy.reload(config({"other": pool(other.address)}, workers=1))
        assert served_by(proxy) == "v2"
        assert proxy.metric("sluiced_live_views") == 2
        rest = b""
        while True:
            data = wire.reader.chunk()
            if not data:
                break
            rest += data
    assert (first + rest).endswith(b"data: [DONE]\n\n")
    assert slow.state()["aborted"] == 0
    wait_until(lambda: proxy.metric("sluiced_live_views") == 1, 10, "one live view", proxy.log)


def test_endpoints_change_under_load_without_a_failed_request(sluiced, model):
    servers = [model() for _ in range(3)]

    def using(*which: int) -> Dict[str, Any]:
        return config({"chat": pool(*(servers[i].address for i in which))}, workers=2)

    proxy = sluiced(using(0))
    with Load(proxy.address("edge")) as load:
        for which in ((0, 1), (0, 1, 2), (1, 2), (2,), (0, 1, 2)):
            assert proxy.reload(using(*which))
            load.wait_more(100)
    assert load.failures == []
    before = [server.state()["requests"] for server in servers]
    assert all(before), "each was used at some time"


def test_listener_is_added_and_removed(sluiced, versions):
    base = split(versions, 1, 0)
    more = split(versions, 1, 0)
    more["listeners"].append(listener([route("v2")], name="extra"))
    proxy = sluiced(base)
    edge = proxy.address("edge")
    assert proxy.reload(more)
    extra = proxy.address("extra")
    with Wire(extra) as kept, Wire(edge) as edge_wire:
        assert kept.ask("GET", "/version").get("x-model-version") == "v2"
        assert edge_wire.ask("GET", "/version").get("x-model-version") == "v1"
        assert proxy.reload(base)

        def refused() -> bool:
            try:
                Wire(extra).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_until(refused, 10, "the removed listener to be closed", proxy.log)
        assert edge_wire.ask("GET", "/version").status == 200
    assert proxy.address("edge") == edge


def test_stream_on_a_removed_listener_ends_in_its_own_time(sluiced, model):
    server = model("--token-rate", "10")
    base = config({"chat": pool(server.address)}, workers=1)
    more = config({"chat": pool(server.address)}, workers=1)
    more["listeners"].append(listener([route("chat")], name="extra"))
    proxy = sluiced(more)
    body = json.dumps({"prompt": "x", "stream": True, "max_tokens": 10}).encode()
    with Wire(proxy.address("extra")) as wire:
        wire.send(request_bytes("POST", "/v1/completions", body))
        assert wire.reader.head().status == 200
        assert proxy.reload(base)
        data = wire.reader.chunk()
        while data:
            last, data = data, wire.reader.chunk()
    assert last.endswith(b"data: [DONE]\n\n")


def test_sigterm_lets_a_stream_end_and_then_exits_with_zero(sluiced, model):
    server = model("--token-rate", "10")
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    body = json.dumps({"prompt": "x", "stream": True, "max_tokens": 10}).encode()
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/v1/completions", body))
        assert wire.reader.head().status == 200
        wire.reader.chunk()
        proxy.process.popen.terminate()
        data = b"-"
        while data:
            last, data = data, wire.reader.chunk()
    assert last.endswith(b"data: [DONE]\n\n")
    assert proxy.process.wait(10) == 0
