# SPDX-License-Identifier: Apache-2.0
"""Upgrades: a request that asks for another protocol, and the tunnel that follows an agreement."""

import base64
import hashlib
import os
import queue
import socket
import ssl
import struct
import threading
import time
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

import pytest

from lib.config import config, listener, pool, route
from lib.wait import stays, wait_until
from lib.wire import DEADLINE_S, Close, Closed, Message, Reader, Wire, answer_bytes, request_bytes

MIB = 1 << 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
       ("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Protocol", "chat, superchat")]
AGREE = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
         b"Sec-WebSocket-Protocol: chat\r\n\r\n")


class End(NamedTuple):
    """One end of a connection, at the endpoint: the test says what is done there."""

    sock: socket.socket
    reader: Reader
    request: Message

    def reset(self) -> None:
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        """FIN, while reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)


class Endpoint:
    """Hands each connection with a request over to the test; answers probes itself."""

    def __init__(self, tls: Optional[ssl.SSLContext] = None) -> None:
        self.tls = tls
        self.ends: "queue.Queue[End]" = queue.Queue()
        self.given: List[End] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE_S)
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            reader = Reader(sock)
            request = reader.request()
            while request.target == "/health":
                sock.sendall(answer_bytes())
                request = reader.request()
            self.ends.put(End(sock, reader, request))
        except (Closed, OSError):
            sock.close()

    def end(self) -> End:
        """The next connection, its first request read."""
        end = self.ends.get(timeout=DEADLINE_S)
        self.given.append(end)
        return end

    def stop(self) -> None:
        """Closes everything."""
        self.listener.close()
        for end in self.given:
            end.sock.close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint whose connections the test plays."""
    server = Endpoint()
    yield server
    server.stop()


@pytest.fixture
def behind(sluiced, endpoint) -> Callable[..., Any]:
    """Starts one worker in front of the endpoint."""
    def start(**options: Any) -> Any:
        timeouts = options.pop("timeouts", {})
        return sluiced(config({"chat": pool(endpoint.address, timeouts=timeouts)},
                              workers=1, **options))
    return start


def ask(proxy: Any, **options: Any) -> Wire:
    """A client that has asked for a WebSocket."""
    wire = Wire(proxy.address("edge"), **options)
    wire.send(request_bytes("GET", "/ws", fields=ASK))
    return wire


def tunnel(proxy: Any, endpoint: Endpoint, **options: Any) -> Tuple[Wire, End]:
    """Both ends of a tunnel."""
    wire = ask(proxy, **options)
    end = endpoint.end()
    end.sock.sendall(AGREE)
    assert wire.reader.head().status == 101
    return wire, end


def pump(sock: socket.socket, data: bytes) -> threading.Thread:
    """Sends in the background; a failure shows at the receiver, who misses bytes."""
    def run() -> None:
        try:
            sock.sendall(data)
        except OSError:
            pass
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


# -- the handshake -----------------------------------------------------------------------------


def test_handshake_passes_both_ways(behind, endpoint):
    proxy = behind()
    with ask(proxy) as wire:
        end = endpoint.end()
        asked = end.request
        assert (asked.get("connection"), asked.get("upgrade")) == ("upgrade", "websocket")
        assert asked.get("sec-websocket-key") == KEY
        assert asked.get("sec-websocket-protocol") == "chat, superchat"
        assert asked.get("x-forwarded-for") == "127.0.0.1"
        end.sock.sendall(AGREE)
        answer = wire.reader.head()
        assert answer.status == 101
        assert (answer.get("connection"), answer.get("upgrade")) == ("upgrade", "websocket")
        assert answer.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert answer.get("sec-websocket-protocol") == "chat"
        assert not answer.all("content-length") and not answer.all("transfer-encoding")


@pytest.mark.parametrize("offered, forwarded", [
    ("h2c", None), ("H2C", None), ("h2", None), ("HTTP/2.0", None), ("TLS/1.0, http/1.1", None),
    ("h2c, websocket", "websocket"), ("a/1, h2c, ,b", "a/1,b"), ('"h2c", x y, ok', "ok")])
def test_no_upgrade_to_http_is_forwarded(behind, endpoint, offered, forwarded):
    proxy = behind()
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/", fields=[
            ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", offered),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__")]))
        end = endpoint.end()
        assert end.request.get("upgrade") == forwarded
        assert end.request.get("connection") == ("upgrade" if forwarded else None)
        assert end.request.get("http2-settings") is None
        end.sock.sendall(AGREE.replace(b"websocket", b"h2c"))
        assert wire.reader.response().status == 502


def test_longest_list_of_protocols_is_forwarded_or_refused(behind, endpoint):
    proxy = behind()
    offered = ",".join(["a"] * 30000)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/", fields=[("Connection", "upgrade"),
                                                    ("Upgrade", offered)]))
        end = endpoint.end()
        assert end.request.get("upgrade") == offered
        end.sock.sendall(AGREE.replace(b"websocket", b"a"))
        assert wire.reader.head().status == 101


@pytest.mark.parametrize("fields", [
    [], [("Upgrade", "websocket")], [("Connection", "upgrade")],
    [("Connection", "upgrade"), ("Upgrade", "websocket"), ("Content-Length", "1")]])
def test_101_that_was_not_asked_for_is_502(behind, endpoint, fields):
    proxy = behind()
    with Wire(proxy.address("edge")) as wire:
        body = b"x" if any(name == "Content-Length" for name, _ in fields) else b""
        wire.send(request_bytes("GET", "/", fields=fields) + body)
        end = endpoint.end()
        assert end.request.get("upgrade") is None
        end.sock.sendall(AGREE + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert wire.reader.response().status == 502
    assert proxy.access_log()[0]["reason"] == "upstream_protocol"


@pytest.mark.parametrize("chosen", [b"telnet", b"websocket, telnet", b"web", b"websocket/1"])
def test_101_to_another_protocol_than_asked_for_is_502(behind, endpoint, chosen):
    proxy = behind()
    with ask(proxy) as wire:
        endpoint.end().sock.sendall(AGREE.replace(b"Upgrade: websocket", b"Upgrade: " + chosen))
        assert wire.reader.response().status == 502
    assert proxy.access_log()[0]["reason"] == "upstream_protocol"


@pytest.mark.parametrize("status", ["200 OK", "426 Upgrade Required", "403 Forbidden"])
def test_refused_upgrade_goes_on_as_http(behind, endpoint, status):
    proxy = behind()
    with ask(proxy) as wire:
        first = endpoint.end()
        first.sock.sendall(answer_bytes(b"no", status))
        answer = wire.reader.response()
        assert (answer.status, answer.body) == (int(status[:3]), b"no")
        assert answer.get("connection") is None
        wire.send(request_bytes("GET", "/next"))
        again = first.reader.request()  # on both connections
        assert again.target == "/next" and again.get("upgrade") is None
        first.sock.sendall(answer_bytes(b"yes"))
        assert wire.reader.response().body == b"yes"


def test_upgrade_has_a_connection_of_its_own(behind, endpoint):
    proxy = behind()
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        kept = endpoint.end()
        kept.sock.sendall(answer_bytes())
        assert wire.reader.response().status == 200
        wire.send(request_bytes("GET", "/ws", fields=ASK))
        assert endpoint.end().request.target == "/ws"  # a second one, for the first may be ending
        wire.reset()
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/kept"))
        assert kept.reader.request().target == "/kept"
        kept.sock.sendall(answer_bytes())
        assert wire.reader.response().status == 200


def test_http_1_0_does_not_upgrade(behind, endpoint):
    proxy = behind()
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\n"
                  b"Upgrade: websocket\r\n\r\n")
        end = endpoint.end()
        assert end.request.get("upgrade") is None and end.request.get("connection") is None
        end.sock.sendall(answer_bytes())
        assert wire.reader.response().status == 200


def test_connect_is_still_not_implemented(behind):
    proxy = behind()
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: upgrade\r\n"
                  b"Upgrade: websocket\r\n\r\n")
        assert wire.reader.response().status == 501


def test_early_bytes_wait_for_the_agreement(behind, endpoint):
    proxy = behind()
    early = os.urandom(300000)
    with ask(proxy) as wire:
        sending = pump(wire.sock, early)
        end = endpoint.end()
        end.sock.settimeout(0.5)
        with pytest.raises(socket.timeout):
            end.sock.recv(1)
        end.sock.settimeout(DEADLINE_S)
        assert end.reader.buf == b""
        end.sock.sendall(AGREE + b"hello")
        assert wire.reader.head().status == 101
        assert wire.reader.exactly(5) == b"hello"
        assert end.reader.exactly(len(early)) == early
        sending.join(DEADLINE_S)


def test_upgrade_is_not_sent_twice(sluiced, upstream):
    other = upstream([[Close(reset=True)]])
    another = upstream([[Close(reset=True)]])
    proxy = sluiced(config({"chat": pool(other.address, another.address)}, workers=1))
    with ask(proxy) as wire:
        assert wire.reader.response().status == 502
    assert proxy.access_log()[0]["reason"] == "upstream_reset"
    assert len(other.requests) + len(another.requests) == 1


def test_refusal_with_retry_after_is_relayed_and_not_sent_elsewhere(sluiced, endpoint, upstream):
    other = upstream([answer_bytes(b"no", "503 Service Unavailable", [("Retry-After", "1")])])
    third = upstream([answer_bytes(b"no", "503 Service Unavailable", [("Retry-After", "1")])])
    proxy = sluiced(config({"chat": pool(other.address, third.address)}, workers=1))
    with ask(proxy) as wire:
        assert wire.reader.response().status == 503
    assert len(other.requests) + len(third.requests) == 1


# -- the tunnel --------------------------------------------------------------------------------


def frame(data: bytes, mask: bytes = b"") -> bytes:
    """A binary message of RFC 6455 in one frame."""
    head = b"\x82" + bytes([(0x80 if mask else 0) | 127]) + struct.pack(">Q", len(data)) + mask
    return head + (masked(data, mask) if mask else data)


def masked(data: bytes, mask: bytes) -> bytes:
    """Masks, and unmasks."""
    long = int.from_bytes((mask * (len(data) // 4 + 1))[:len(data)], "big")
    return (int.from_bytes(data, "big") ^ long).to_bytes(len(data), "big")


def read_frame(reader: Reader) -> bytes:
    """A message as frame() makes them."""
    first, size = reader.exactly(2)
    assert first == 0x82 and size & 0x7F == 127
    length = struct.unpack(">Q", reader.exactly(8))[0]
    mask = reader.exactly(4) if size & 0x80 else b""
    data = reader.exactly(length)
    return masked(data, mask) if mask else data


def test_websocket_messages_are_echoed_byte_equal(behind, endpoint):
    proxy = behind()
    key = base64.b64encode(os.urandom(16)).decode()

    def serve() -> None:
        end = endpoint.end()
        told = (end.request.get("sec-websocket-key") or "").encode()
        digest = hashlib.sha1(told + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        end.sock.sendall(AGREE.replace(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", base64.b64encode(digest)))
        for _ in range(18):
            end.sock.sendall(frame(read_frame(end.reader)))
        end.sock.close()

    threading.Thread(target=serve, daemon=True).start()
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/ws", fields=[
            (name, key if name == "Sec-WebSocket-Key" else value) for name, value in ASK]))
        answer = wire.reader.head()
        want = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        assert answer.get("sec-websocket-accept") == base64.b64encode(want).decode()
        for size in [65536] * 16 + [MIB, 1]:
            data = os.urandom(size)
            pump(wire.sock, frame(data, os.urandom(4)))
            assert read_frame(wire.reader) == data
        assert wire.reader.rest() == b""


def test_both_directions_run_at_once_and_are_accounted(behind, endpoint):
    proxy = behind()
    up, down = os.urandom(8 * MIB), os.urandom(8 * MIB + 1)
    wire, end = tunnel(proxy, endpoint)
    with wire:
        pump(wire.sock, up)
        pump(end.sock, down)
        got: List[bytes] = []
        reading = threading.Thread(target=lambda: got.append(end.reader.exactly(len(up))))
        reading.start()
        assert wire.reader.exactly(len(down)) == down
        reading.join(DEADLINE_S)
        assert got == [up]
        assert proxy.lines() and not [line for line in proxy.lines() if "method" in line]
        end.sock.close()
        assert wire.reader.rest() == b""
    lines = proxy.access_log()
    assert len(lines) == 1
    line = lines[0]
    assert (line["status"], line["reason"]) == (101, "ok")
    assert (line["bytes_in"], line["bytes_out"]) == (len(up), len(down))
    assert proxy.metric("sluiced_requests_total", code="1xx", reason="ok") == 1


def test_client_that_ends_first_still_hears_the_rest(behind, endpoint):
    proxy = behind()
    wire, end = tunnel(proxy, endpoint)
    with wire:
        wire.send(b"last words")
        wire.half_close()
        assert end.reader.rest() == b"last words"
        for _ in range(3):
            end.sock.sendall(b"x" * 100000)
            assert wire.reader.exactly(100000) == b"x" * 100000
        end.sock.close()
        assert wire.reader.rest() == b""
    assert proxy.access_log()[0]["reason"] == "ok"


def test_endpoint_that_ends_first_still_hears_the_rest(behind, endpoint):
    proxy = behind()
    wire, end = tunnel(proxy, endpoint)
    with wire:
        end.sock.sendall(b"last words")
        end.half_close()
        assert wire.reader.rest() == b"last words"
        for _ in range(3):
            wire.send(b"x" * 100000)
            assert end.reader.exactly(100000) == b"x" * 100000
    assert end.reader.rest() == b""
    assert proxy.access_log()[0]["reason"] == "ok"


def cpu_ticks(pid: int) -> int:
    """User and system time of a process."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("side", ["client", "endpoint"])
def test_end_that_the_other_side_does_not_answer_costs_no_time(behind, endpoint, side):
    proxy = behind()
    wire, end = tunnel(proxy, endpoint)
    with wire:
        first, other = (wire, end) if side == "client" else (end, wire)
        first.half_close()
        assert other.reader.rest() == b""
        before = cpu_ticks(proxy.process.pid)
        stays(proxy.process.running, 1.0, "a running process")
        assert cpu_ticks(proxy.process.pid) - before < 0.2 * os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("side", ["client", "endpoint"])
def test_end_that_comes_behind_a_full_direction_arrives_last(behind, endpoint, side):
    proxy = behind()
    data = os.urandom(8 * MIB)
    wire, end = tunnel(proxy, endpoint)
    with wire:
        speaker, hearer = (wire, end) if side == "client" else (end, wire)
        hearer.half_close()
        sending = pump(speaker.sock, data)
        time.sleep(0.3)  # everything between here and there is full
        got = hearer.reader.exactly(len(data) - 300000)
        sending.join(DEADLINE_S)
        speaker.sock.close()
        assert got + hearer.reader.rest() == data
    line = proxy.access_log()[0]
    assert (line["reason"], line["bytes_in"] + line["bytes_out"]) == ("ok", len(data))


def test_reset_by_the_endpoint_reaches_the_client(behind, endpoint):
    proxy = behind()
    wire, end = tunnel(proxy, endpoint)
    with wire:
        end.reset()
        with pytest.raises(ConnectionResetError):
            wire.reader.rest()
    assert proxy.access_log()[0]["reason"] == "upstream_reset"


def test_reset_by_the_client_reaches_the_endpoint_at_once(behind, endpoint):
    proxy = behind()
    wire, end = tunnel(proxy, endpoint)
    wire.reset()
    end.sock.settimeout(2)
    with pytest.raises(ConnectionResetError):
        end.reader.rest()
    assert proxy.access_log()[0]["reason"] == "client_gone"


def test_reset_by_a_client_whose_bytes_are_not_taken_reaches_the_endpoint(behind, endpoint):
    proxy = behind()
    wire, end = tunnel(proxy, endpoint)
    wire.sock.settimeout(0.5)
    with pytest.raises(socket.timeout):
        while True:
            wire.sock.send(b"x" * 65536)
    wire.reset()
    assert proxy.access_log()[0]["reason"] == "client_gone"
    with pytest.raises(ConnectionResetError):
        end.reader.rest()


def test_end_of_a_client_that_is_not_read_arrives_behind_its_bytes(behind, endpoint):
    proxy = behind()
    wire, _ = tunnel(proxy, endpoint)
    wire.sock.settimeout(0.3)
    room = 0  # what fits between a client and an endpoint that does not read
    with wire, pytest.raises(socket.timeout):
        while True:
            room += wire.sock.send(b"x" * 65536)
    for eighths in range(1, 8):  # with some of them the end is seen while reading is paused
        data = os.urandom(room * eighths // 8)
        wire, end = tunnel(proxy, endpoint)
        with wire:
            sending = pump(wire.sock, data)
            sending.join(0.5)
            if sending.is_alive():
                break  # less fits this time
            wire.half_close()
            time.sleep(0.05)
            assert end.reader.rest() == data
            end.sock.sendall(b"heard")
            end.sock.close()
            assert wire.reader.rest() == b"heard"


def test_end_of_an_endpoint_that_waits_behind_unsent_bytes_arrives(behind, endpoint):
    proxy = behind()
    for pieces in range(1, 61):  # at some of these sizes the last bytes are still with the proxy
        data = b"x" * (pieces * 48 * 1024)
        wire, end = tunnel(proxy, endpoint, receive_buffer=4096)
        with wire:
            sending = pump(end.sock, data)
            sending.join(0.2)
            if sending.is_alive():
                break  # more than fits
            end.half_close()
            time.sleep(0.01)
            assert wire.reader.rest() == data
            end.sock.settimeout(DEADLINE_S)
            wire.send(b"heard")
            assert end.reader.exactly(5) == b"heard"


@pytest.mark.parametrize("slow", ["client", "endpoint"])
def test_slow_reader_stops_the_sender_and_not_the_other_direction(behind, endpoint, slow):
    proxy = behind()
    data = os.urandom(MIB) * 64
    wire, end = tunnel(proxy, endpoint)
    with wire:
        fast, still = (end, wire) if slow == "client" else (wire, end)
        before = proxy.process.rss_bytes()
        sending = pump(fast.sock, data)
        stays(lambda: sending.is_alive() and proxy.process.rss_bytes() - before < 4 * MIB, 1.0,
              "the sender blocked and nothing piled up")
        still.sock.sendall(b"the other way")
        assert fast.reader.exactly(13) == b"the other way"
        got = still.reader.exactly(len(data))
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_tunnel_over_tls_on_both_sides(sluiced, ca):
    leaf = ca.issue("edge", dns=["edge.test"], ips=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.cert, leaf.key)
    endpoint = Endpoint(context)
    proxy = sluiced(config(
        {"chat": pool(endpoint.address, tls={"ca": ca.path})}, workers=1,
        listeners=[listener([route("chat")], tls={"cert": leaf.cert, "key": leaf.key})]))
    wire, end = tunnel(proxy, endpoint, tls=ca.client())
    data = os.urandom(4 * MIB)
    with wire:
        for sock, reader in ((wire.sock, end.reader), (end.sock, wire.reader)):
            sending = pump(sock, data)
            assert reader.exactly(len(data)) == data
            sending.join(DEADLINE_S)
        ending = threading.Thread(target=end.sock.unwrap, daemon=True)  # waits for our goodbye
        ending.start()
        assert wire.reader.rest() == b""
        wire.sock.unwrap()
        ending.join(DEADLINE_S)
        assert not ending.is_alive()
    line = proxy.access_log()[0]
    assert (line["reason"], line["bytes_in"], line["bytes_out"]) == ("ok", len(data), len(data))
    endpoint.stop()


# -- time --------------------------------------------------------------------------------------


def test_silence_both_ways_ends_it(behind, endpoint):
    proxy = behind(timeouts={"inter_byte": "400ms"})
    wire, end = tunnel(proxy, endpoint)
    with wire:
        for _ in range(6):  # longer than the timeout, and only one of them speaks
            time.sleep(0.15)
            wire.send(b"x")
        assert end.reader.exactly(6) == b"x" * 6
        assert wire.closed_within(3)
    with pytest.raises(ConnectionResetError):
        end.reader.rest()
    assert proxy.access_log()[0]["reason"] == "inter_byte_timeout"


def test_reload_does_not_cut_it(behind, endpoint, upstream):
    proxy = behind()
    wire, end = tunnel(proxy, endpoint)
    with wire:
        other = upstream([answer_bytes(b"other")])
        assert proxy.reload(config({"other": pool(other.address)}, workers=1))
        assert proxy.get("/").body == b"other"
        wire.send(b"up")
        assert end.reader.exactly(2) == b"up"
        end.sock.sendall(b"down")
        assert wire.reader.exactly(4) == b"down"
        end.sock.close()
        assert wire.reader.rest() == b""
    assert [line["status"] for line in proxy.access_log(2)] == [200, 101]


def test_drain_waits_for_it(behind, endpoint):
    proxy = behind(drain={"delay": "0s", "timeout": "20s"})
    wire, end = tunnel(proxy, endpoint)
    with wire:
        proxy.process.signal(15)
        wait_until(lambda: proxy.events("draining"), 5, "the drain", proxy.log)
        stays(proxy.process.running, 0.5, "a running process")
        wire.send(b"up")
        assert end.reader.exactly(2) == b"up"
        end.sock.close()
        assert wire.reader.rest() == b""
    assert proxy.process.wait(5) == 0
    assert proxy.events("drained")[0]["connections_cut"] == 0


def test_drain_timeout_cuts_it(behind, endpoint):
    proxy = behind(drain={"delay": "0s", "timeout": "500ms"})
    wire, end = tunnel(proxy, endpoint)
    with wire:
        proxy.process.signal(15)
        assert wire.closed_within(5)
        with pytest.raises(ConnectionResetError):
            end.reader.rest()
    assert proxy.process.wait(5) == 0
    assert proxy.access_log()[0]["reason"] == "drained"
