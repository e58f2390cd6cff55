# SPDX-License-Identifier: Apache-2.0
"""Reloads, listeners and limits at their edges."""

import os
import resource
import socket
import threading
import time
from pathlib import Path

from lib.config import config, listener, pool, route
from lib.process import Process
from lib.sluiced import SANITIZER, Sluiced, binary
from lib.wait import wait_until
from lib.wire import Wait, Wire, answer_bytes, request_bytes


def body_of(proxy: Sluiced) -> bytes:
    """Who answers now."""
    return proxy.get("/").body


def taken_port():
    """A socket that listens, so that nobody else can."""
    server = socket.create_server(("127.0.0.1", 0))
    return server, f"127.0.0.1:{server.getsockname()[1]}"


def test_refused_config_leaves_nothing_for_the_next_one(sluiced, upstream):
    one, two = upstream([answer_bytes(b"one")]), upstream([answer_bytes(b"two")])
    proxy = sluiced(config({"chat": pool(one.address)}, workers=1))
    holder, address = taken_port()
    with holder:
        bad = config({"chat": pool(two.address)}, workers=1)
        bad["listeners"].append(listener([route("chat")], name="taken", bind=address))
        assert not proxy.reload(bad)
        assert body_of(proxy) == b"one"
    assert proxy.reload(config({"chat": pool(one.address)}, [route("chat", name="renamed")],
                               workers=1))
    assert body_of(proxy) == b"one", "what was refused came with the next config"


def unix_get(path: Path) -> bytes:
    """Body of GET / over a unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(request_bytes("GET", "/", fields=[("Connection", "close")]))
        data = b""
        while True:
            more = sock.recv(65536)
            if not more:
                return data.partition(b"\r\n\r\n")[2]
            data += more


def unix_config(server, path: Path, name: str, **options):
    """A file with one more listener, on a unix socket."""
    conf = config({"chat": pool(server.address)}, workers=1, **options)
    conf["listeners"].append(listener([route("chat")], name=name, bind=f"unix:{path}"))
    return conf


def test_unix_listener_survives_a_refused_rename(sluiced, upstream, tmp_path):
    server = upstream([answer_bytes(b"here")])
    path = tmp_path / "edge.sock"
    proxy = sluiced(unix_config(server, path, "local"))
    assert unix_get(path) == b"here"
    assert not proxy.reload(unix_config(server, path, "other"))
    assert unix_get(path) == b"here"


def test_unix_listener_that_comes_back_outlives_the_old_one(sluiced, upstream, tmp_path):
    server = upstream([answer_bytes(b"here")])
    path = tmp_path / "edge.sock"
    proxy = sluiced(unix_config(server, path, "local"))
    with socket.socket(socket.AF_UNIX) as held:
        held.connect(str(path))
        held.sendall(b"GET / HTTP/1.1\r\n")  # a head that does not end holds the old listener
        wait_until(lambda: proxy.metric("sluiced_listener_connections", listener="local") == 1,
                   5, "the connection")
        assert proxy.reload(config({"chat": pool(server.address)}, workers=1))
        assert not path.exists()
        assert proxy.reload(unix_config(server, path, "local"))
        assert unix_get(path) == b"here"
    for name in ("a", "b"):  # the old one is swept when a view goes
        assert proxy.reload(unix_config(server, path, "local", log={"level": "info",
                            "access": "stdout"}, drain={"delay": "0s", "timeout": name == "a"
                            and "9s" or "8s"}))
        time.sleep(0.2)
    assert unix_get(path) == b"here"


def waiting_options(tmp_path: Path, address: str):
    """A pool whose API server never answers, and the options that lead there."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        "contexts: [ { name: a, context: { cluster: a, user: a } } ]\n"
        f"clusters: [ {{ name: a, cluster: {{ server: 'http://{address}' }} }} ]\n"
        "users: [ { name: a, user: { token: t } } ]\n")
    silent = {"discover": {"kubernetes": {"namespace": "a", "service": "b", "port": 80}}}
    return silent, {"kubernetes": {"kubeconfig": str(kubeconfig)}, "workers": 1}


def test_config_that_replaces_a_waiting_one_keeps_who_waits(upstream, tmp_path):
    server = upstream([answer_bytes(b"here")])
    holder, address = taken_port()
    silent, options = waiting_options(tmp_path, address)
    proxy = Sluiced(tmp_path, config({"chat": silent}, **options), ready=False)
    try:
        with Wire(proxy.address("edge")) as wire:
            wire.send(request_bytes("GET", "/"))
            proxy.write_config(config({"chat": pool(server.address)}, **options))
            assert wire.reader.response().body == b"here"
        assert len([e for e in proxy.events("listening") if e["listener"] == "edge"]) == 1
    finally:
        holder.close()
        proxy.stop()


def test_config_that_waits_outlives_one_that_is_refused(tmp_path):
    holder, address = taken_port()
    silent, options = waiting_options(tmp_path, address)
    proxy = Sluiced(tmp_path, config({"chat": silent}, **options), ready=False)
    try:
        bad = config({"chat": silent}, **options)
        bad["listeners"].append(listener([route("chat")], name="taken", bind=address))
        with Wire(proxy.address("edge")) as wire:
            wire.sock.settimeout(20)
            wire.send(request_bytes("GET", "/"))
            proxy.write_config(bad)
            wait_until(lambda: proxy.events("reload_failed"), 5, "the refusal", proxy.log)
            assert wire.reader.response().status == 503  # once the wait is given up
        assert proxy.generation() == 1
    finally:
        holder.close()
        proxy.stop()


def test_more_connections_than_descriptors_do_not_spin(sluiced, upstream):
    server = upstream([answer_bytes(b"here")])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    limit = len(os.listdir(f"/proc/{proxy.process.pid}/fd")) + 4
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    wires = [Wire(proxy.address("edge")) for _ in range(20)]
    for wire in wires:
        wire.send(b"G")
    time.sleep(1.0)
    lines = len(proxy.events("accept_failed"))
    assert 0 < lines < 40, f"{lines} lines in a second"
    for wire in wires:
        wire.close()
    wait_until(lambda: len(os.listdir(f"/proc/{proxy.process.pid}/fd")) <= limit - 3, 5,
               "descriptors to come back")
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").body == b"here"


def test_too_few_descriptors_for_the_workers_is_an_error_and_no_crash(tmp_path):
    conf = tmp_path / "sluiced.yaml"
    conf.write_text("workers: 60\nlisteners:\n"
                    "  - { name: a, bind: 127.0.0.1:0, http: { routes: [ { name: r, "
                    "match: { path: / }, pool: p } ] } }\n"
                    "pools: { p: { discover: { static: [ 127.0.0.1:9 ] } } }\n")
    process = Process(["sh", "-c", f"ulimit -n 30; exec {binary()} run -c {conf}"])
    try:
        code = process.wait(20)
    finally:
        process.kill()
    assert code == 1, process.log()
    assert any("workers" in line for line in process.stderr), process.log()
    assert not any(SANITIZER.search(line) for line in process.stderr), process.log()


def test_reload_during_the_drain_opens_nothing(sluiced, upstream):
    event = threading.Event()
    server = upstream([[b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc",
                        Wait(event), b"def"]])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        wire.reader.head()
        proxy.process.signal(15)
        wait_until(lambda: proxy.events("draining"), 5, "the drain", proxy.log)
        time.sleep(0.2)
        late = config({"chat": pool(server.address)}, workers=1)
        late["listeners"].append(listener([route("chat")], name="late"))
        proxy.write_config(late)
        proxy.process.signal(1)
        wait_until(lambda: proxy.events("reload_failed"), 5, "the refusal", proxy.log)
        event.set()
        assert wire.reader.exactly(6) == b"abcdef"
    assert proxy.process.wait(5) == 0
    assert not [e for e in proxy.events("listening") if e["listener"] == "late"]


def test_status_during_reloads_never_shows_a_view_that_is_gone(sluiced, upstream):
    server = upstream([answer_bytes()])
    confs = [config({"chat": pool(server.address)}, [route("chat", name=name)], workers=2)
             for name in ("a", "b")]
    proxy = sluiced(confs[0])
    stop = threading.Event()
    failures = []

    def ask() -> None:
        while not stop.is_set():
            try:
                proxy.status()
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
                return
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(30):
        assert proxy.reload(confs[(i + 1) % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_reloads_applied_and_refused_leave_no_descriptor_behind(sluiced, upstream):
    server = upstream([answer_bytes(b"here")])
    holder, address = taken_port()

    def conf(name: str, **options):
        made = config({"chat": pool(server.address, health={"http": "/health"}),
                       name: pool(server.address)}, [route(name)], workers=2)
        made["listeners"].append(listener([route("chat")], name=name, **options))
        return made
    proxy = sluiced(conf("a"))

    def count() -> int:
        return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))
    with holder:
        for _ in range(3):
            assert proxy.reload(conf("a"))
        before = count()
        for _ in range(10):
            assert proxy.reload(conf("b")) and body_of(proxy) == b"here"
            assert not proxy.reload(conf("c", bind=address))
            assert proxy.reload(conf("a")) and body_of(proxy) == b"here"
    wait_until(lambda: count() <= before + 4, 10, "descriptors to come back",
               lambda: os.listdir(f"/proc/{proxy.process.pid}/fd"))
    wait_until(lambda: proxy.metric("sluiced_live_views") == 1, 5, "old views to go")
