# SPDX-License-Identifier: Apache-2.0
"""`sluiced reload` waits for its outcome; `sluiced check --diff` and GET /config tell what is
in force, and what a file would change."""

import json
from pathlib import Path

import pytest

from lib.config import config, listener, pool, route
from lib.process import Process
from lib.sluiced import Sluiced, binary, run_cli
from lib.wait import wait_until


@pytest.fixture
def running(sluiced) -> Sluiced:
    """A proxy with one pool that nobody asks."""
    return sluiced(config({"chat": pool("127.0.0.1:1")}))


def reload(proxy: Sluiced) -> Process:
    """Runs the verb to its end."""
    return run_cli("reload", "--admin", proxy.address("admin"), deadline_s=40)


def diff(proxy: Sluiced, path: Path) -> Process:
    """Compares path with what runs."""
    return run_cli("check", "--diff", "-c", str(path), "--admin", proxy.address("admin"))


def test_it_is_in_force_when_the_verb_returns(running):
    for generation in range(2, 6):
        running.write_config(config({"chat": pool("127.0.0.1:1", timeouts={
            "connect": f"{generation}s"})}))
        result = reload(running)
        assert result.code == 0, result.log()
        assert running.generation() >= generation
        assert running.status()["config_hash"] in result.stdout[0]
        assert f"pools.chat.timeouts.connect: {generation}s" in \
            running.admin("/config").body.decode()


def test_it_says_what_changed(running):
    # The file is watched, too: what it applies first is what the verb finds nothing new in.
    running.write_config(config({"chat": pool("127.0.0.1:1"), "more": pool("127.0.0.1:2")}))
    result = reload(running)
    assert result.code == 0, result.log()
    assert result.stdout[0].startswith("generation "), result.log()
    assert any("1 change: + pools.more" in event["changes"]
               for event in running.events("config_applied")), running.log()
    result = reload(running)
    assert "nothing changed" in result.stdout[0], result.log()


def test_a_refused_file_is_told_with_code_one(running):
    running.write_config("nonsense: 1\n")
    result = reload(running)
    assert result.code == 1, result.log()
    assert "nonsense" in result.log() and running.generation() == 1


def test_pools_that_do_not_sync_are_named_with_code_one(running, tmp_path):
    late = {"discover": {"file": str(tmp_path / "absent.yaml")}}
    running.write_config(config({"chat": pool("127.0.0.1:1"), "late": late}))
    result = reload(running)
    assert result.code == 1, result.log()
    assert "generation" in result.stdout[0], result.log()
    assert "without endpoints for late" in result.log()


def test_a_process_that_ends_meanwhile_is_told(running, tmp_path):
    late = {"discover": {"file": str(tmp_path / "absent.yaml")}}
    running.write_config(config({"chat": pool("127.0.0.1:1"), "late": late}))
    verb = Process([binary(), "reload", "--admin", running.address("admin")])
    wait_until(lambda: running.admin("/reload").json()["asked"] > 1, 10, "the verb", running.log)
    running.stop()
    assert verb.wait(20) == 1, verb.log()
    assert verb.stderr, "says why"


def test_diff_says_what_a_file_would_change(running, tmp_path):
    same = diff(running, running.path)
    assert (same.code, same.stdout) == (0, ["no change"]), same.log()
    changed = config({"chat": pool("127.0.0.1:1", timeouts={"connect": "2s"}),
                      "v2": pool("127.0.0.1:2")},
                     routes=[route({"chat": 9, "v2": 1})])
    changed["listeners"].append(listener([route("v2")], name="second"))
    other = tmp_path / "other.json"
    other.write_text(json.dumps(changed))
    result = diff(running, other)
    assert result.code == 0, result.log()
    assert result.stdout == [
        "- listeners[edge].http.routes[all].pool: chat",
        "+ listeners[edge].http.routes[all].split.chat: 9",
        "+ listeners[edge].http.routes[all].split.v2: 1",
        "+ listeners[second]",
        "  pools.chat.timeouts.connect: 1s -> 2s",
        "+ pools.v2",
    ], result.log()
    assert running.generation() == 1


def test_diff_sees_a_renewed_certificate_and_prints_no_key(sluiced, ca, tmp_path):
    cert = ca.issue(dns=["edge.test"])
    conf = config({"chat": pool("127.0.0.1:1")})
    conf["listeners"][0]["tls"] = {"cert": "tls.crt", "key": "tls.key"}
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "tls.crt").write_bytes(Path(cert.cert).read_bytes())
    (folder / "tls.key").write_bytes(Path(cert.key).read_bytes())
    path = folder / "sluiced.json"
    path.write_text(json.dumps(conf))
    proxy = sluiced(path=path)
    text = proxy.admin("/config").body.decode()
    assert f"listeners[edge].tls.key: {folder}/tls.key\n" in text
    assert f"listeners[edge].tls.cert: {folder}/tls.crt (contents " in text
    other = tmp_path / "other"
    other.mkdir()
    renewed = ca.issue(dns=["edge.test"])
    (other / "tls.crt").write_bytes(Path(renewed.cert).read_bytes())
    (other / "tls.key").write_bytes(Path(renewed.key).read_bytes())
    (other / "sluiced.json").write_text(path.read_text())
    result = diff(proxy, other / "sluiced.json")
    assert [line.split(":")[0] for line in result.stdout] == [
        "  listeners[edge].tls.cert", "  listeners[edge].tls.key"], result.log()


def test_diff_of_a_wrong_file_is_told_with_code_two(running, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("pools: [")
    assert diff(running, other).code == 2
    assert run_cli("check", "-c", str(running.path), "--admin", "127.0.0.1:1").code == 2
    assert run_cli("status", "--diff", "-c", str(running.path)).code == 2
