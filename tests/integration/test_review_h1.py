# SPDX-License-Identifier: Apache-2.0
"""Who is slow, who ended one side, and what was never sent: each told from its neighbour."""

import socket
import struct
import threading
import time
from typing import Any, List, Tuple

import pytest

from lib.config import config, pool, route
from lib.strace import Strace, thread_id
from lib.wait import wait_until
from lib.wire import Close, Closed, Wait, Wire, answer_bytes, request_bytes

MIB = 1 << 20
BIG = b"0123456789abcdef" * (MIB // 16)
UPGRADE = [("Upgrade", "echo"), ("Connection", "upgrade")]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n"


def behind(sluiced: Any, *addresses: str, http: Any = None, timeouts: Any = None) -> Any:
    """One worker, no checks."""
    conf = config({"chat": pool(*addresses, health="off", timeouts=timeouts or {})},
                  [route("chat", max_body="off")], workers=1)
    conf["listeners"][0]["http"].update(http or {})
    return sluiced(conf)


def end_of_client(wire: Wire) -> None:
    """The client's side ends, in order."""
    wire.sock.shutdown(socket.SHUT_WR)


# -- a body whose first send fails ---------------------------------------------------------------


@pytest.mark.parametrize("size", [2 * MIB, 3000])
def test_body_whose_first_send_fails_on_a_kept_connection_arrives_whole(
        sluiced, upstream, tmp_path, size):
    server = upstream([answer_bytes(b"1"), answer_bytes(b"2"), answer_bytes(b"3")])
    proxy = behind(sluiced, server.address)
    body = BIG[:MIB] * 2
    body = body[:size]
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").status == 200
        tracer = Strace(thread_id(proxy.process.pid, "worker-0"), tmp_path / "calls",
                        "sendto,sendmsg:error=ECONNRESET:when=1")
        answer = wire.ask("POST", "/up", body)
        tracer.stop()
    assert answer.status == 200
    posts = [request for request in server.requests if request.method == "POST"]
    assert [len(p.body) for p in posts] == [size] and posts[0].body == body


# -- slow clients --------------------------------------------------------------------------------


def sip(wire: Wire, size: int, step: int, pause: float) -> bytes:
    """Takes a body of size bytes by small steps."""
    taken = bytearray(wire.reader.buf)
    wire.reader.buf = b""
    while len(taken) < size:
        taken += wire.sock.recv(min(step, size - len(taken)))
        time.sleep(pause)  # it is a slow client that is tested
    return bytes(taken)


@pytest.mark.parametrize("fields", [[], [("Connection", "close")]], ids=["kept", "last"])
def test_client_that_takes_a_little_at_a_time_gets_all(sluiced, upstream, fields):
    server = upstream([answer_bytes(BIG * 6)])
    proxy = behind(sluiced, server.address, http={"timeouts": {"write": "600ms", "idle": "600ms"}})
    with Wire(proxy.address("edge"), receive_buffer=8192) as wire:
        wire.send(request_bytes("GET", "/", None, fields))
        assert wire.reader.head().status == 200
        got = sip(wire, 6 * MIB, 64 << 10, 0.03)
        assert got == BIG * 6


def test_client_that_takes_nothing_of_its_last_answer_is_cut(sluiced, upstream):
    server = upstream([answer_bytes(BIG * 6)])
    proxy = behind(sluiced, server.address, http={"timeouts": {"write": "300ms", "idle": "1h"}})
    with Wire(proxy.address("edge"), receive_buffer=8192) as wire:
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: server.requests, 10, "the request", proxy.log)
        wait_until(lambda: int(proxy.metric("sluiced_listener_connections") or 0) == 0, 10,
                   "the connection to be cut", proxy.log)
        with pytest.raises((ConnectionResetError, Closed)):
            wire.reader.exactly(7 * MIB)


# -- one side ended ------------------------------------------------------------------------------


@pytest.mark.parametrize("half_close", ["end", "keep"])
def test_end_of_a_client_whose_answer_is_on_its_way_takes_nothing_away(
        sluiced, upstream, half_close):
    server = upstream([answer_bytes(BIG)])
    proxy = behind(sluiced, server.address, http={"half_close": half_close})
    with Wire(proxy.address("edge"), receive_buffer=8192) as wire:
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: proxy.access_log(1), 10, "the exchange to end", proxy.log)
        end_of_client(wire)
        answer = wire.reader.response()
        assert answer.body == BIG
        assert wire.reader.rest() == b""


def test_client_that_breaks_after_its_end_cancels(sluiced, upstream):
    never = threading.Event()
    server = upstream([[Wait(never)]])
    proxy = behind(sluiced, server.address, http={"half_close": "keep"})
    wire = Wire(proxy.address("edge"))
    wire.send(request_bytes("GET", "/"))
    wait_until(lambda: server.requests, 10, "the request", proxy.log)
    end_of_client(wire)
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()
    record = proxy.access_log(1)[0]
    assert record["reason"] == "client_gone"
    never.set()


def test_end_before_the_upgrade_is_passed_on(sluiced):
    ends: List[Tuple[bytes, bytes]] = []
    server = socket.create_server(("127.0.0.1", 0))
    proxy = behind(sluiced, f"127.0.0.1:{server.getsockname()[1]}", http={"half_close": "keep"})
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/", None, UPGRADE))
        end_of_client(wire)
        sock, _ = server.accept()
        sock.settimeout(10)
        head = sock.recv(65536)
        sock.sendall(SWITCH + b"hello")
        ends.append((head[:3], sock.recv(10)))
        sock.close()
        assert wire.reader.head().status == 101
        assert wire.reader.rest() == b"hello"
    assert ends == [(b"GET", b"")]
    server.close()


# -- whose fault ---------------------------------------------------------------------------------


def test_client_that_waits_for_100_has_nobody_ejected(sluiced, upstream):
    server = upstream([[Wait(threading.Event())]])
    proxy = behind(sluiced, server.address, timeouts={"first_byte": "200ms"})
    wires = [Wire(proxy.address("edge")) for _ in range(8)]
    for wire in wires:
        wire.send(request_bytes("POST", "/", None, [("Content-Length", "5"),
                                                    ("Expect", "100-continue")]))
    for wire in wires:
        assert wire.reader.response("POST").status == 504
        wire.close()
    endpoint = proxy.endpoint("chat", server.address)
    assert (endpoint["failures"], endpoint["ejections"]) == (0, 0)


def test_endpoint_that_breaks_after_an_interim_answer_has_failed(sluiced, upstream):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    told = threading.Event()
    server = upstream([answer_bytes(b"ok"), [hints, Wait(told), Close(reset=True)]])
    proxy = behind(sluiced, server.address)
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").status == 200
        wire.send(request_bytes("POST", "/", b""))
        assert wire.reader.head().status == 103
        told.set()
        assert wire.reader.response("POST").status == 502
    assert proxy.endpoint("chat", server.address)["failures"] == 1
