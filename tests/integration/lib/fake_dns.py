# SPDX-License-Identifier: Apache-2.0
"""A DNS server over UDP and TCP, from scratch: it says what a test puts, and stays silent on demand."""

import socket
import struct
import threading
from typing import Any, Dict, List, Optional, Tuple

A, SOA, AAAA, SRV = 1, 6, 28, 33
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
UDP_MAX = 512


def encode_name(name: str) -> bytes:
    """A name without compression."""
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def address(host: str) -> Tuple[int, bytes]:
    """The type of its record, and what stands in it."""
    if ":" in host:
        return AAAA, socket.inet_pton(socket.AF_INET6, host)
    return A, socket.inet_pton(socket.AF_INET, host)


class FakeDns:
    """Answers by (name, type); names that nobody put are NXDOMAIN."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.records: Dict[Tuple[str, int], List[bytes]] = {}
        self.rcode: Optional[int] = None  # of every answer, whatever there is
        self.silent = False
        self.queries: List[Tuple[str, int, str]] = []
        self.udp, self.tcp = self._bind()
        self.port = self.udp.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.threads = [threading.Thread(target=self._serve_udp, daemon=True),
                        threading.Thread(target=self._serve_tcp, daemon=True)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def _bind() -> Tuple[socket.socket, socket.socket]:
        for _ in range(100):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            udp.bind(("127.0.0.1", 0))
            try:
                tcp.bind(udp.getsockname())
            except OSError:
                udp.close()
                tcp.close()
                continue
            tcp.listen(16)
            return udp, tcp
        raise AssertionError("no port is free for both UDP and TCP")

    def put(self, name: str, *hosts: str, ttl: int = 1) -> None:
        """The addresses of a name, of both families."""
        found: Dict[int, List[bytes]] = {A: [], AAAA: []}
        for host in hosts:
            kind, data = address(host)
            found[kind].append(self._record(b"\xc0\x0c", kind, ttl, data))
        with self.lock:
            for kind, records in found.items():
                self.records[(name, kind)] = records

    def put_srv(self, name: str, *entries: Tuple[int, int, int, str], ttl: int = 1) -> None:
        """SRV records: priority, weight, port, target."""
        with self.lock:
            self.records[(name, SRV)] = [
                self._record(b"\xc0\x0c", SRV, ttl,
                             struct.pack(">HHH", *entry[:3]) + encode_name(entry[3]))
                for entry in entries]

    def forget(self, name: str) -> None:
        """It was never there."""
        with self.lock:
            for key in [key for key in self.records if key[0] == name]:
                del self.records[key]

    @staticmethod
    def _record(owner: bytes, kind: int, ttl: int, data: bytes) -> bytes:
        return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data

    def _answer(self, query: bytes, limit: int, how: str) -> Optional[bytes]:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind = ".".join(labels).lower(), struct.unpack(">H", query[at + 1:at + 3])[0]
        with self.lock:
            self.queries.append((name, kind, how))
            known = any(key[0] == name for key in self.records)
            records = self.records.get((name, kind), [])
            rcode, silent = self.rcode, self.silent
        if silent:
            return None
        if rcode is None:
            rcode = NOERROR if known else NXDOMAIN
        else:
            records = []
        soa = b"" if records or rcode not in (NOERROR, NXDOMAIN) else self._record(
            encode_name("test"), SOA, 1, b"\0\0" + struct.pack(">IIIII", 1, 1, 1, 1, 1))
        question = query[12:at + 5]

        def message(flags: int, answers: List[bytes], authority: bytes) -> bytes:
            return query[:2] + struct.pack(">HHHHH", flags | rcode, 1, len(answers),
                                           1 if authority else 0, 0) + question + \
                b"".join(answers) + authority
        whole = message(0x8580, records, soa)
        return whole if len(whole) <= limit else message(0x8780, [], b"")

    def _serve_udp(self) -> None:
        while True:
            try:
                query, peer = self.udp.recvfrom(4096)
                if not query:
                    return  # shut down
                answer = self._answer(query, UDP_MAX, "udp")
                if answer is not None:
                    self.udp.sendto(answer, peer)
            except OSError:
                return

    def _serve_tcp(self) -> None:
        while True:
            try:
                conn, _ = self.tcp.accept()
            except OSError:
                return
            with conn:
                conn.settimeout(5)
                try:
                    self._serve_conn(conn)
                except OSError:
                    pass

    def _serve_conn(self, conn: Any) -> None:
        stream = conn.makefile("rb")
        head = stream.read(2)
        if len(head) == 2:
            query = stream.read(struct.unpack(">H", head)[0])
            answer = self._answer(query, 65535, "tcp")
            if answer is not None:
                conn.sendall(struct.pack(">H", len(answer)) + answer)

    def stop(self) -> None:
        """Closes the sockets and waits for the threads."""
        for sock in (self.udp, self.tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        for thread in self.threads:
            thread.join(10)
