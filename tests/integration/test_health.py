# SPDX-License-Identifier: Apache-2.0
"""Who gets requests when endpoints fail their probes, refuse connections or die."""

from typing import Any, Dict, List

import pytest

from lib.config import config, pool
from lib.load import Load
from lib.sluiced import Sluiced
from lib.wait import stays, wait_until
from lib.wire import Wire, request_bytes

HTTP = {"http": "/health", "interval": "100ms", "timeout": "500ms", "rise": 2, "fall": 2}
TCP = {"tcp": True, "interval": "100ms", "timeout": "500ms", "rise": 2, "fall": 2}


def behind(servers: List[Any], **options: Any) -> Dict[str, Any]:
    """One pool of all servers."""
    return config({"chat": pool(*(s.address for s in servers), **options)}, workers=1)


def ask(proxy: Sluiced, count: int, path: str = "/version") -> List[int]:
    """Statuses of so many requests on one connection."""
    with Wire(proxy.address("edge")) as wire:
        return [wire.ask("GET", path).status for _ in range(count)]


def requests_of(servers: List[Any]) -> List[int]:
    """How many requests each server has seen."""
    return [server.state()["requests"] for server in servers]


def test_failing_http_probe_takes_an_endpoint_out_until_it_recovers(sluiced, model):
    servers = [model(), model()]
    proxy = sluiced(behind(servers, health=HTTP))
    sick = servers[0]
    proxy.wait_health("chat", sick.address, "up")
    sick.control(unhealthy=True)
    proxy.wait_health("chat", sick.address, "down")
    before = requests_of(servers)
    assert ask(proxy, 40) == [200] * 40
    assert [now - then for now, then in zip(requests_of(servers), before)] == [0, 40]
    sick.control(unhealthy=False)
    proxy.wait_health("chat", sick.address, "up")
    assert ask(proxy, 60) == [200] * 60
    assert requests_of(servers)[0] > before[0]


def test_probe_that_is_never_answered_fails(sluiced, model):
    servers = [model(), model()]
    proxy = sluiced(behind(servers, health={**HTTP, "timeout": "100ms"}))
    servers[0].control(hang=True)
    proxy.wait_health("chat", servers[0].address, "down")
    assert proxy.endpoint("chat", servers[1].address)["health"] == "up"


def test_what_a_probe_expects_changes_with_a_reload(sluiced, model):
    """The status, then the body: judged anew, and down stays down until it is."""
    server = model()
    probe = {**HTTP, "http": "/version", "host": "llm.example.com", "headers": {"x-probe": "yes"}}
    proxy = sluiced(behind([server], health={**probe, "status": [404, "500-599"]}))
    proxy.wait_health("chat", server.address, "down")
    assert proxy.reload(behind([server], health={**probe, "status": 200, "body": '"version"'}))
    proxy.wait_health("chat", server.address, "up")
    assert proxy.reload(behind([server], health={**probe, "body": '"Version"'}))
    with Load(proxy.address("edge"), connections=1) as load:
        proxy.wait_health("chat", server.address, "down")  # although traffic succeeds
        assert load.failures == []
    assert [one["reason"] for one in proxy.events("endpoint_down")] == ["status_200", "body"]


def test_probe_of_another_port_decides(sluiced, model):
    servers = [model(), model()]
    port = int(servers[1].address.rpartition(":")[2])
    proxy = sluiced(behind(servers[:1], health={**HTTP, "port": port}))
    proxy.wait_health("chat", servers[0].address, "up")
    servers[1].control(unhealthy=True)
    proxy.wait_health("chat", servers[0].address, "down")
    assert servers[0].state()["probes"] == 0


def test_tcp_probe_sees_a_closed_port(sluiced, model):
    servers = [model(), model()]
    proxy = sluiced(behind(servers, health=TCP))
    proxy.wait_health("chat", servers[0].address, "up")
    servers[0].control(refuse=True)
    proxy.wait_health("chat", servers[0].address, "down")
    before = requests_of(servers)
    assert ask(proxy, 20) == [200] * 20
    assert requests_of(servers) == [before[0], before[1] + 20]
    servers[0].control(refuse=False)
    proxy.wait_health("chat", servers[0].address, "up")


def test_one_failed_probe_is_not_enough(sluiced, model):
    server = model()
    proxy = sluiced(behind([server], health={**HTTP, "fall": 100}))
    proxy.wait_health("chat", server.address, "up")
    server.control(unhealthy=True)
    probes = server.state()["probes"]
    wait_until(lambda: server.state()["probes"] >= probes + 3, 10, "three probes", server.state)
    assert proxy.endpoint("chat", server.address)["health"] == "up"


def test_when_all_fail_their_probes_they_are_still_tried(sluiced, model):
    servers = [model(), model()]
    proxy = sluiced(behind(servers, health=HTTP))
    for server in servers:
        server.control(unhealthy=True)
        proxy.wait_health("chat", server.address, "down")
    assert ask(proxy, 10) == [200] * 10


def test_refused_connection_costs_no_request_and_ejects(sluiced, model):
    servers = [model(), model()]
    proxy = sluiced(behind(servers, health={**TCP, "interval": "60s"}))
    servers[0].control(refuse=True, close_idle_now=True)
    assert ask(proxy, 40) == [200] * 40
    with Wire(proxy.address("edge")) as wire:
        assert [wire.ask("POST", "/echo", b"x").status for _ in range(10)] == [200] * 10
    assert proxy.endpoint("chat", servers[0].address)["ejections"] >= 1
    servers[0].control(refuse=False)
    before = requests_of(servers)[0]
    wait_until(lambda: set(ask(proxy, 4)) == {200} and requests_of(servers)[0] > before, 10,
               "the endpoint to be used again", proxy.status)


def test_gateway_errors_in_a_row_eject(sluiced, model):
    servers = [model(), model()]
    proxy = sluiced(behind(servers, health={**TCP, "interval": "60s"}))
    servers[0].control(status=502)
    ask(proxy, 60)
    assert proxy.endpoint("chat", servers[0].address)["ejections"] >= 1


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_answers_of_the_application_do_not_eject(sluiced, model, status):
    servers = [model(), model()]
    proxy = sluiced(behind(servers, health={**TCP, "interval": "60s"}))
    for server in servers:
        server.control(status=status)
    assert ask(proxy, 20) == [status] * 20
    for server in servers:
        assert proxy.endpoint("chat", server.address)["ejections"] == 0


def test_retry_after_steers_away_without_ejecting(sluiced, model):
    servers = [model(), model()]
    proxy = sluiced(behind(servers, health={**TCP, "interval": "60s"}))
    servers[0].control(status=503, retry_after=30)
    ask(proxy, 10)
    seen = requests_of(servers)[0]
    assert seen >= 1
    assert ask(proxy, 40) == [200] * 40
    assert requests_of(servers)[0] == seen
    assert proxy.endpoint("chat", servers[0].address)["ejections"] == 0


def test_endpoint_that_hangs_is_ejected_though_its_probes_succeed(sluiced, model):
    servers = [model(), model()]
    balance = {"policy": "ring_hash", "key": {"header": "x-key"}, "bound": "off"}
    proxy = sluiced(behind(servers, health=HTTP, balance=balance))
    sick, well = (server.address for server in servers)

    def served_by(key: str) -> str:
        with Wire(proxy.address("edge")) as wire:
            return wire.ask("GET", "/version", fields=[("x-key", key)]).get("x-served-by")

    keys = {served_by(str(i)): str(i) for i in range(100)}
    assert set(keys) == {sick, well}
    servers[0].control(hang="generate")
    before = servers[0].state()["requests"]
    hanging = []
    for _ in range(2):
        hanging.append(Wire(proxy.address("edge")))
        hanging[-1].send(request_bytes("POST", "/v1/completions",
                                       b'{"prompt": "x", "max_tokens": 1}',
                                       [("x-key", keys[sick])]))
    wait_until(lambda: servers[0].state()["requests"] == before + 2, 5, "them to arrive",
               proxy.status)

    def ejected() -> bool:
        assert served_by(keys[well]) == well
        return proxy.endpoint("chat", sick)["ejections"] > 0
    wait_until(ejected, 20, "the ejection", proxy.status)
    wait_until(lambda: proxy.events("endpoint_hangs"), 5, "that to be told", proxy.log)
    assert [one["address"] for one in proxy.events("endpoint_hangs")] == [sick]
    assert proxy.endpoint("chat", sick)["health"] == "up"
    for wire in hanging:
        wire.close()
    wait_until(lambda: served_by(keys[sick]) == sick, 10, "the endpoint to be used again",
               proxy.status)


def test_killed_endpoint_costs_at_most_what_it_was_answering(sluiced, model):
    servers = [model() for _ in range(3)]
    proxy = sluiced(behind(servers, health=HTTP))
    with Load(proxy.address("edge"), connections=8) as load:
        load.wait_more(200)
        servers[0].kill()
        proxy.wait_health("chat", servers[0].address, "down")
        assert len(load.failures) <= load.connections, load.failures
        failed = len(load.failures)
        load.wait_more(200)
        assert load.failures[failed:] == []
        servers[0].restart()
        proxy.wait_health("chat", servers[0].address, "up")
        wait_until(lambda: servers[0].state()["requests"] > 0, 10, "the endpoint to be used again",
                   proxy.status)
    assert load.failures[failed:] == []


def test_killed_endpoint_cuts_its_streams_and_no_other(sluiced, model):
    servers = [model("--token-rate", "20"), model("--token-rate", "20")]
    proxy = sluiced(behind(servers, health=HTTP))
    body = b'{"prompt": "x", "stream": true, "max_tokens": 30}'
    wires = [Wire(proxy.address("edge")) for _ in range(6)]
    owners = []
    for wire in wires:
        wire.send(request_bytes("POST", "/v1/completions", body))
        owners.append(wire.reader.head().get("x-served-by"))
    assert set(owners) == {server.address for server in servers}
    servers[0].kill()
    for wire, owner in zip(wires, owners):
        try:
            data = wire.reader.chunk()
            while data:
                last, data = data, wire.reader.chunk()
            whole = last.endswith(b"data: [DONE]\n\n")
        except Exception:  # cut: the reader says how, which does not matter here
            whole = False
        wire.close()
        assert whole == (owner == servers[1].address)


def test_requests_spread_over_all_healthy_endpoints(sluiced, model):
    servers = [model() for _ in range(4)]
    proxy = sluiced(behind(servers))
    with Load(proxy.address("edge"), connections=16) as load:
        load.wait_more(400)
    assert load.failures == []
    assert all(count > 40 for count in requests_of(servers)), requests_of(servers)


def test_slow_start_spares_a_new_endpoint(sluiced, model):
    servers = [model() for _ in range(3)]
    slow = {"balance": "round_robin", "slow_start": {"window": "1h", "aggression": 1.5}}
    proxy = sluiced(behind(servers[:2], **slow))
    assert proxy.reload(behind(servers, **slow))
    assert ask(proxy, 300) == [200] * 300
    old, also_old, new = requests_of(servers)
    assert 0 < new < 40 and old > 100 and also_old > 100  # a tenth of a third, and not a third
    assert proxy.reload(behind(servers, balance="round_robin"))
    assert ask(proxy, 90) == [200] * 90
    assert requests_of(servers)[2] - new == 30


def test_endpoint_of_weight_zero_gets_no_request(sluiced, model):
    servers = [model(), model()]
    static = [{"address": servers[0].address, "weight": 0}, servers[1].address]
    proxy = sluiced(config({"chat": {"discover": {"static": static}}}, workers=1))
    assert ask(proxy, 20) == [200] * 20
    assert requests_of(servers) == [0, 20]


def test_steady_traffic_spares_probes(sluiced, model):
    """Traffic that was just answered proves health: no probe on top."""
    server = model()
    proxy = sluiced(behind([server], health=HTTP))
    proxy.wait_health("chat", server.address, "up")
    with Load(proxy.address("edge"), connections=2):
        wait_until(lambda: server.state()["requests"] > 100, 10, "traffic", server.state)
        probes = server.state()["probes"]
        stays(lambda: server.state()["probes"] - probes <= 3, 1.0, "hardly any probe")
