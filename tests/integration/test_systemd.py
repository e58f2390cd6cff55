# SPDX-License-Identifier: Apache-2.0
"""What a service manager is told, and the sockets that it may pass: sd_notify(3) and
sd_listen_fds(3), with this test in its place."""

import configparser
import os
import socket
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from lib.config import config, listener, pool, route
from lib.fetch import fetch
from lib.sluiced import ROOT, Sluiced


class Manager:
    """The receiving end of $NOTIFY_SOCKET."""

    def __init__(self, address: Any) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.settimeout(10)

    def next(self) -> Dict[str, str]:
        """The next message; watchdog pings are passed over."""
        while True:
            text = self.sock.recv(4096).decode()
            if text != "WATCHDOG=1":
                return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture
def manager(tmp_path) -> Iterator[Manager]:
    """A manager at a path."""
    one = Manager(str(tmp_path / "notify"))
    yield one
    one.sock.close()


def test_ready_reloading_and_stopping_are_told(sluiced, manager, tmp_path):
    conf = config({"chat": pool("127.0.0.1:1", health="off")})
    proxy = sluiced(conf, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    ready = manager.next()
    assert ready["READY"] == "1" and ready["STATUS"] == "generation 1"
    before = int(open("/proc/uptime", encoding="ascii").read().split(".")[0]) - 1
    assert proxy.reload({**conf, "log": {"level": "warn"}})
    reloading = manager.next()
    assert reloading["RELOADING"] == "1"
    assert before * 1000000 <= int(reloading["MONOTONIC_USEC"]) <= (before + 60) * 1000000
    assert manager.next()["STATUS"] == "generation 2"
    assert not proxy.reload("nonsense: 1\n")
    assert manager.next()["RELOADING"] == "1"
    refused = manager.next()
    assert refused["READY"] == "1" and "refused" in refused["STATUS"]
    proxy.stop()
    assert manager.next() == {"STOPPING": "1", "STATUS": "draining"}


def test_ready_waits_for_endpoints(manager, tmp_path):
    endpoints = tmp_path / "endpoints.yaml"
    conf = config({"chat": {"discover": {"file": str(endpoints)}}})
    manager.sock.settimeout(0.3)
    directory = tmp_path / "waiting"
    directory.mkdir()
    proxy = Sluiced(directory, conf, ready=False,
                    env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    try:
        with pytest.raises(TimeoutError):
            manager.next()
        manager.sock.settimeout(10)
        endpoints.write_text('endpoints: ["127.0.0.1:1"]\n')
        assert manager.next()["READY"] == "1"
    finally:
        proxy.stop()


def test_watchdog_is_answered_at_an_abstract_socket(sluiced):
    name = f"sluiced-test-{os.getpid()}-{os.urandom(4).hex()}"
    one = Manager("\0" + name)
    sluiced(config({"chat": pool("127.0.0.1:1")}),
            env={"NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "100000"})
    assert [one.sock.recv(4096) for _ in range(4)].count(b"WATCHDOG=1") >= 3
    one.sock.close()


def test_a_manager_that_is_gone_does_no_harm(sluiced, tmp_path):
    proxy = sluiced(config({"chat": pool("127.0.0.1:1")}),
                    env={"NOTIFY_SOCKET": str(tmp_path / "absent"), "WATCHDOG_USEC": "nonsense"})
    assert proxy.admin("/readyz").status == 200


# -- sockets -----------------------------------------------------------------------------------


def passed(socks: List[socket.socket], names: str = "") -> Dict[str, Any]:
    """Options that start a proxy with these sockets as descriptors 3, 4, ...; LISTEN_PID is the pid
    of the program itself, which only the shell that becomes it knows."""
    count = len(socks)
    # First out of the way, then to where they belong: 3 may be one of them.
    moves = " ".join(f"{9 - i}<&{sock.fileno()}" for i, sock in enumerate(socks))
    places = " ".join(f"{3 + i}<&{9 - i}" for i in range(count))
    script = f'exec {moves}; exec {places}; LISTEN_PID=$$ exec "$0" "$@"'
    return {"wrap": ["bash", "-c", script], "pass_fds": [sock.fileno() for sock in socks],
            "env": {"LISTEN_FDS": str(count), "LISTEN_FDNAMES": names}}


def listening() -> socket.socket:
    """What a .socket unit opens."""
    return socket.create_server(("127.0.0.1", 0), backlog=64)


def address_of(sock: socket.socket) -> str:
    """As one would write it."""
    return f"127.0.0.1:{sock.getsockname()[1]}"


def conf_at(server: Any, *binds: str) -> Dict[str, Any]:
    """A listener at each address, edge being the first."""
    conf = config({"chat": pool(server.address)}, workers=2)
    conf["listeners"] = [
        listener([route("chat")], name="edge" if i == 0 else f"edge-{i}", bind=bind)
        for i, bind in enumerate(binds)]
    return conf


def test_a_listener_takes_over_the_socket_of_its_address(sluiced, model):
    server, sock, unused = model(), listening(), listening()
    # Who came before the process began waits in the queue, and is served.
    early = socket.create_connection(sock.getsockname())
    early.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    proxy = sluiced(conf_at(server, address_of(sock), "127.0.0.1:0"),
                    **passed([unused, sock], "spare:edge"))
    assert early.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert proxy.address("edge") == address_of(sock)
    for _ in range(20):
        assert fetch(address_of(sock), "/version").status == 200
    assert fetch(proxy.address("edge-1"), "/version").status == 200
    warned = proxy.events("passed_socket_unused")
    assert [(one["name"], one["address"]) for one in warned] == [("spare", address_of(unused))]


def test_the_socket_outlives_its_listener_and_the_process(sluiced, model):
    server, sock = model(), listening()
    proxy = sluiced(conf_at(server, address_of(sock)), **passed([sock]))
    assert proxy.reload(conf_at(server, "127.0.0.1:0"))
    waits = socket.create_connection(sock.getsockname())  # nobody listens, but the queue is there
    waits.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert proxy.reload(conf_at(server, address_of(sock)))
    assert waits.recv(4096).startswith(b"HTTP/1.1 200 ")
    proxy.stop()
    between = socket.create_connection(sock.getsockname())
    between.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    sluiced(conf_at(server, address_of(sock)), **passed([sock]))
    assert between.recv(4096).startswith(b"HTTP/1.1 200 "), "nobody is lost between two processes"


def test_a_unix_socket_is_taken_over_and_its_path_stays(sluiced, model, tmp_path):
    server, path = model(), tmp_path / "edge.sock"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(16)
    proxy = sluiced(conf_at(server, f"unix:{path}"), **passed([sock]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
        client.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    proxy.stop()
    assert path.exists(), "it is the manager's"


def test_sockets_for_another_process_are_left_alone(sluiced, model):
    server = model()
    proxy = sluiced(conf_at(server, "127.0.0.1:0"),
                    env={"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x"})
    assert proxy.get("/version").status == 200


def test_the_unit_waits_for_readiness():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(Path(ROOT) / "deploy" / "systemd" / "sluiced.service")
    assert unit["Service"]["Type"] == "notify"
