# SPDX-License-Identifier: Apache-2.0
"""What operators see: the admin and probes listeners, the verbs of the CLI, the access log."""

import contextlib
import json
import random
import re
import socket
from typing import Any, Tuple

import pytest
import yaml

from lib.config import config, pool, route
from lib.fetch import fetch
from lib.sluiced import parse_metrics, run_cli
from lib.wait import wait_until
from lib.wire import Close, Wire, answer_bytes


@pytest.fixture
def running(sluiced, model) -> Tuple[Any, Any]:
    """A proxy with two versions behind it."""
    server = model()
    pools = {"v1": pool(server.address), "v2": pool(server.address)}
    return sluiced(config(pools, [route({"v1": 3, "v2": 1}, name="chat")], workers=2)), server


# -- listeners ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["admin", "probes"])
def test_health_and_metrics_are_on_both_listeners(running, name):
    proxy, _ = running
    address = proxy.address(name)
    assert fetch(address, "/healthz").status == 200
    assert fetch(address, "/readyz").status == 200
    metrics = fetch(address, "/metrics")
    assert metrics.status == 200
    assert metrics.fields["content-type"].startswith("text/plain")
    assert parse_metrics(metrics.body.decode())


@pytest.mark.parametrize("path", ["/status", "/reload", "/drain", "/", "/healthz/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_probes_listener_serves_nothing_else(running, path, method):
    proxy, _ = running
    assert fetch(proxy.address("probes"), path, method).status in (404, 405)
    assert proxy.generation() == 1 and not proxy.status()["draining"]


def test_unknown_admin_path_is_404_and_wrong_method_405(running):
    proxy, _ = running
    assert proxy.admin("/nonsense").status == 404
    assert proxy.admin("/reload", "PUT").status == 405
    assert proxy.admin("/status", "POST").status == 405


def test_admin_reload_applies_the_file_or_says_why_not(running):
    proxy, server = running
    proxy.write_config(config({"only": pool(server.address)}))
    assert proxy.admin("/reload", "POST").status == 200
    assert proxy.wait_reloaded(1)
    proxy.write_config("nonsense: 1\n")
    answer = proxy.admin("/reload", "POST")
    assert 400 <= answer.status < 500
    assert b"nonsense" in answer.body
    assert proxy.generation() == 2


def test_status_describes_the_running_configuration(running):
    proxy, server = running
    for _ in range(8):
        assert proxy.get("/version").status == 200
    status = proxy.status()
    assert status["generation"] == 1
    assert status["ready"] is True and status["draining"] is False
    assert status["reload_error"] == ""
    edge = next(one for one in status["listeners"] if one["name"] == "edge")
    assert edge["address"] == proxy.address("edge")
    assert proxy.sides("chat") == {"v1": 6, "v2": 2}
    assert {one["name"] for one in status["pools"]} == {"v1", "v2"}
    assert proxy.endpoint("v1", server.address)["in_flight"] == 0


def test_metrics_have_help_and_type_for_every_family(running):
    proxy, _ = running
    proxy.get("/version")
    text = proxy.admin("/metrics").body.decode()
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    helped = set(re.findall(r"^# HELP (\S+) \S", text, re.M))
    for sample in parse_metrics(text):
        name = sample.partition("{")[0]
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        family = family if typed.get(family) == "histogram" else name
        assert family in typed and family in helped, sample
        assert family.startswith("sluiced_") or family.startswith("process_"), sample
    assert proxy.metric("sluiced_live_views") == 1


def test_requests_are_counted_by_reason(running):
    proxy, _ = running

    def count(reason: str) -> float:
        return sum(value for name, value in proxy.metrics().items()
                   if name.startswith("sluiced_requests_total{") and f'reason="{reason}"' in name)

    before = count("ok")
    for _ in range(5):
        assert proxy.get("/version").status == 200
    assert count("ok") == before + 5


def test_histogram_buckets_add_up(running):
    proxy, _ = running
    for _ in range(5):
        proxy.get("/version")
    metrics = proxy.metrics()
    infinite = {name: value for name, value in metrics.items() if 'le="+Inf"' in name}
    assert infinite
    for name, value in infinite.items():
        count = re.sub(r',?le="\+Inf"', "", name.replace("_bucket{", "_count{")).replace("{}", "")
        assert metrics[count] == value, name


# -- verbs -------------------------------------------------------------------------------------


def admin_config(server: Any) -> Any:
    """A file with a fixed admin port: the verbs find the process by it. Below the ports that the
    kernel hands out, so that no connection of another test takes it meanwhile."""
    for port in random.sample(range(20000, 32000), 50):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            break
    conf = config({"chat": pool(server.address)})
    conf["admin"] = {"listen": f"127.0.0.1:{port}"}
    return conf


def test_status_endpoints_and_reload_verbs(sluiced, model):
    server = model()
    conf = admin_config(server)
    proxy = sluiced(conf)
    status = run_cli("status", "-c", str(proxy.path))
    assert status.code == 0, status.log()
    assert "generation" in status.log() and "chat" in status.log()
    endpoints = run_cli("endpoints", "-c", str(proxy.path))
    assert endpoints.code == 0 and server.address in "\n".join(endpoints.stdout), endpoints.log()
    conf["workers"] = 1
    proxy.path.write_text(yaml.safe_dump(conf))
    reload = run_cli("reload", "-c", str(proxy.path))
    assert reload.code == 0, reload.log()
    assert proxy.wait_reloaded(1)


def test_verbs_without_a_running_process_exit_with_one(model, tmp_path):
    path = tmp_path / "sluiced.yaml"
    path.write_text(yaml.safe_dump(admin_config(model())))
    for verb in ("status", "endpoints", "reload", "drain"):
        result = run_cli(verb, "-c", str(path))
        assert result.code == 1, result.log()
        assert result.stderr, "says why"


def test_check_accepts_a_good_file(tmp_path):
    path = tmp_path / "sluiced.yaml"
    path.write_text(yaml.safe_dump(config({"chat": pool("127.0.0.1:1")})))
    result = run_cli("check", "-c", str(path))
    assert result.code == 0, result.log()


def test_json_is_accepted_too(tmp_path):
    path = tmp_path / "sluiced.json"
    path.write_text(json.dumps(config({"chat": pool("127.0.0.1:1")}), indent=1))
    result = run_cli("check", "-c", str(path))
    assert result.code == 0, result.log()


@pytest.mark.parametrize("argv", [
    ["nonsense"], ["run", "--nonsense"], ["run", "-c"], ["check", "-c", "/does/not/exist.yaml"],
])
def test_wrong_usage_exits_with_two(argv):
    result = run_cli(*argv)
    assert result.code == 2, result.log()
    assert result.stderr, "says why"


def test_version_verb():
    result = run_cli("version")
    assert result.code == 0 and "sluiced" in result.stdout[0], result.log()


# -- drain and log -----------------------------------------------------------------------------


def test_drain_says_not_ready_and_ends_the_process(sluiced, model):
    conf = config({"chat": pool(model().address)}, drain={"delay": "2s", "timeout": "10s"})
    proxy = sluiced(conf)
    assert proxy.get("/version").status == 200
    proxy.admin("/drain", "POST")
    wait_until(lambda: proxy.admin("/readyz").status == 503, 2, "not ready", proxy.log)
    assert proxy.admin("/healthz").status == 200
    assert proxy.get("/version").status == 200, "still serves during the delay"
    assert proxy.process.wait(15) == 0


def test_log_lines_are_events_with_a_time(running):
    proxy, _ = running
    events = [line for line in proxy.lines() if "event" in line]
    assert {"admin", "probes", "edge"} <= {
        line["listener"] for line in events if line["event"] == "listening"}
    for line in events:
        assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$", line["ts"]), line
        assert line["level"] in ("debug", "info", "warn", "error"), line


def test_access_log_has_one_line_for_each_exchange(running):
    proxy, server = running
    with Wire(proxy.address("edge")) as wire:
        wire.ask("POST", "/echo?q=1", b"12345", [("X-Request-Id", "id-1")])
        wire.ask("GET", "/bytes/100")
    lines = proxy.access_log(2)
    assert len(lines) == 2
    first, second = lines
    assert (first["method"], first["status"], first["reason"]) == ("POST", 200, "ok")
    assert first["path"].startswith("/echo")
    assert first["listener"] == "edge" and first["route"] == "chat"
    assert first["pool"] in ("v1", "v2") and first["endpoint"] == server.address
    assert first["tries"] == 1 and first["request_id"] == "id-1"
    assert first["bytes_in"] == 5 and second["bytes_out"] == 100


def test_access_log_gives_the_reason_of_a_failure(sluiced, upstream):
    server = upstream([[Close(reset=True)], answer_bytes()])
    proxy = sluiced(config({"chat": pool(server.address)}, [route("chat", path="/v1/")]))
    with Wire(proxy.address("edge")) as wire:
        wire.ask("POST", "/v1/x", b"x")
        wire.ask("GET", "/other")
    reasons = [(line["status"], line["reason"]) for line in proxy.access_log(2)]
    assert reasons == [(502, "upstream_reset"), (404, "no_route")]


def test_access_log_cannot_be_forged(running):
    proxy, _ = running
    with Wire(proxy.address("edge")) as wire:
        wire.ask("GET", '/x"},{"reason":"forged', fields=[("User-Agent", 'a"\\u0000{}')])
        wire.ask("GET", "/version")
    lines = proxy.access_log(1)
    assert all(line["reason"] != "forged" for line in lines)


def test_a_process_can_be_asked_while_its_file_is_broken(sluiced, model):
    proxy = sluiced(config({"chat": pool(model().address)}))
    address = proxy.address("admin")
    proxy.path.write_text("pools: [")
    found = run_cli("status", "--admin", address)
    assert found.code == 0 and "generation 1" in found.log(), found.log()
    refused = run_cli("status", "-c", str(proxy.path))
    assert refused.code == 2 and "--admin" in refused.log(), refused.log()
