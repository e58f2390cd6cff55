# SPDX-License-Identifier: Apache-2.0
"""Memory of the cgroup (a folder of this test) and descriptors (a low limit) that run out: less is
asked for in steps, and all is as before when there is room again."""

import contextlib
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, Tuple

import pytest

from lib.config import config, pool
from lib.sluiced import Sluiced, run_cli
from lib.wait import stays, wait_until
from lib.wire import Wait, Wire, answer_bytes, request_bytes

LIMIT = 1000000


@pytest.fixture
def cgroup(tmp_path) -> Callable[[int], None]:
    """Sets how much of its memory is used, in percent."""
    folder = tmp_path / "cgroup"
    folder.mkdir()
    (folder / "memory.max").write_text(f"{LIMIT}\n")
    (folder / "memory.stat").write_text("anon 5\ninactive_file 100000\n")

    def use(pct: int) -> None:
        (folder / "memory.current").write_text(f"{LIMIT * pct // 100 + 100000}\n")

    use(10)
    return use


@pytest.fixture
def running(sluiced, model, cgroup, tmp_path) -> Sluiced:
    """A proxy that believes to live in that cgroup."""
    return sluiced(config({"chat": pool(model().address)}, workers=2),
                   env={"SLUICED_CGROUP_DIR": str(tmp_path / "cgroup")})


def wait_step(proxy: Sluiced, step: int) -> None:
    """Waits until this is what is done."""
    wait_until(lambda: proxy.status()["overload"]["step"] == step, 10, f"step {step}",
               proxy.status)


def test_steps_go_up_and_down_with_memory(running, cgroup):
    with Wire(running.address("edge")) as wire:
        assert wire.ask("GET", "/version").get("connection") is None
        cgroup(86)
        wait_step(running, 1)
        answer = wire.ask("GET", "/version")
        assert answer.status == 200 and answer.get("connection") == "close"
        assert wire.closed_within(5)
    cgroup(93)
    wait_step(running, 2)
    answer = running.get("/version")
    assert answer.status == 503 and b'"overload"' in answer.body
    assert answer.fields["retry-after"] == "1"
    assert running.access_log(3)[-1]["reason"] == "overload"
    shown = run_cli("status", "--admin", running.address("admin"))
    assert any(line.startswith("overload: new requests are answered with 503")
               for line in shown.stdout), shown.log()
    assert running.metric("sluiced_overload_step") == 2
    assert running.metric("sluiced_memory_bytes") == LIMIT * 93 // 100
    assert running.metric("sluiced_memory_limit_bytes") == LIMIT
    cgroup(88)  # above where the step ends
    stays(lambda: running.status()["overload"]["step"] == 2, 0.6, "step 2")
    cgroup(50)
    wait_step(running, 0)
    assert running.get("/version").status == 200
    assert [event["step"] for event in running.events("overload")] == [1, 2, 0]
    assert running.admin("/readyz").status == 200


def test_nobody_is_let_in_and_idle_ones_make_room(running, cgroup):
    address = running.address("edge")
    with Wire(address) as idle, Wire(address) as waiting:
        assert idle.ask("GET", "/version").status == 200
        cgroup(96)
        wait_step(running, 3)
        waiting.send(request_bytes("GET", "/version", fields=[("Connection", "close")]))
        assert idle.closed_within(5)
        ticks = cpu_ticks(running)
        stays(lambda: running.status()["listeners"][0]["connections_total"] == 1, 0.6,
              "the connection to wait")
        assert cpu_ticks(running) - ticks < 30, "it spins"
        cgroup(10)
        assert waiting.reader.response().status == 200


@pytest.mark.parametrize("pct, step", [(93, 2), (96, 3)])
def test_who_is_in_the_queue_already_is_served_and_nobody_joins(sluiced, upstream, cgroup,
                                                                 tmp_path, pct, step):
    """A request that waits has what it needs; to turn it away would have been for nothing."""
    gate = threading.Event()
    server = upstream([[Wait(gate), answer_bytes(b"first")], [answer_bytes(b"second")]])
    proxy = sluiced(config({"chat": pool(server.address, health="off", queue={"timeout": "60s"},
                                         limits={"per_endpoint": 1})}, workers=2),
                    env={"SLUICED_CGROUP_DIR": str(tmp_path / "cgroup")})
    with contextlib.ExitStack() as stack:
        first, second, late = [stack.enter_context(Wire(proxy.address("edge"))) for _ in range(3)]
        first.send(request_bytes("GET", "/"))
        wait_until(lambda: server.requests, 10, "the first request")
        second.send(request_bytes("GET", "/"))
        late.send(request_bytes("GET", "/")[:-2])  # let in, and not a request yet
        wait_until(lambda: proxy.metric("sluiced_pool_queued", pool="chat") == 1, 10, "the wait",
                   proxy.status)
        wait_until(lambda: proxy.status()["listeners"][0]["connections_total"] == 3, 10,
                   "all to be let in", proxy.status)
        cgroup(pct)
        wait_step(proxy, step)
        late.send(b"\r\n")
        answer = late.reader.response()
        assert answer.status == 503 and b'"overload"' in answer.body
        assert proxy.metric("sluiced_pool_queued", pool="chat") == 1
        gate.set()
        assert first.reader.response().body == b"first"
        assert second.reader.response().body == b"second"


def cpu_ticks(proxy: Sluiced) -> int:
    """CPU time used so far, in 1/100 s."""
    stat = Path(f"/proc/{proxy.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(stat[11]) + int(stat[12])


@pytest.fixture
def held(upstream) -> Iterator[Tuple[Any, threading.Event]]:
    """An endpoint that answers when the event is set."""
    event = threading.Event()
    yield upstream([[Wait(event), answer_bytes(b"done")]]), event
    event.set()


def test_descriptors_do_not_run_out(sluiced, held):
    server, event = held
    limit = 600
    proxy = sluiced(config({"chat": pool(server.address, health="off")}, workers=2),
                    wrap=["sh", "-c", f'ulimit -n {limit}; exec "$0" "$@"'],
                    env={"SLUICED_CGROUP_DIR": "/nonexistent"})
    assert proxy.status()["overload"]["fds_limit"] == limit
    address, others = proxy.address("edge"), proxy.status()["overload"]["fds"]
    with contextlib.ExitStack() as stack:
        wires = []

        def ask() -> bool:
            seen = proxy.status()["overload"]
            # Two descriptors each: of the client, and of the endpoint. From step 1 on, one by one as
            # they are seen: at step 3 nobody would be let in to be told.
            if seen["step"] < 2 and (seen["step"] == 0 or seen["fds"] >= others + 2 * len(wires)):
                wire = stack.enter_context(Wire(address))
                wire.send(request_bytes("GET", "/", fields=[("Connection", "close")]))
                wires.append(wire)
            return seen["step"] >= 2

        wait_until(ask, 60, "step 2", proxy.status)
        assert proxy.status()["overload"]["step"] == 2
        wait_until(lambda: proxy.get("/").status == 503, 5, "an answer of our own", proxy.status)
        event.set()
        codes = [wire.reader.response().status for wire in wires]
    assert codes.count(200) > limit * 0.35 and set(codes) <= {200, 503}, codes
    assert not proxy.events("accept_failed"), "nothing was refused for want of a descriptor"
    wait_step(proxy, 0)
    assert proxy.get("/").status == 200
