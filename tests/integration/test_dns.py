# SPDX-License-Identifier: Apache-2.0
"""Endpoints from DNS: they follow the records, and outlive servers that fail or forget."""

import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

from lib.config import config
from lib.fake_dns import AAAA, REFUSED, SERVFAIL, FakeDns
from lib.fetch import fetch
from lib.sluiced import Sluiced, named
from lib.wait import stays, wait_until

NAME = "llama.prod.test"


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    """The DNS server."""
    server = FakeDns()
    yield server
    server.stop()


@pytest.fixture
def start(sluiced: Any, dns: FakeDns) -> Callable[..., Sluiced]:
    """Starts sluiced with one pool "chat" that asks the server."""
    def run(**options: Any) -> Sluiced:
        source = {"name": NAME, "servers": [dns.address], "min_ttl": "100ms", "max_ttl": "200ms",
                  **options}
        return sluiced(config({"chat": {"discover": {"dns": source}, "health": "off"}}))
    return run


def chat(proxy: Sluiced) -> Dict[str, Any]:
    """What /status says of the pool."""
    return named(proxy.status()["pools"], "chat")


def addresses(proxy: Sluiced) -> List[str]:
    """Its endpoints."""
    return sorted(one["address"] for one in chat(proxy)["endpoints"])


def expect(proxy: Sluiced, *wanted: str, deadline_s: float = 10.0) -> None:
    """Waits until the pool has exactly these endpoints."""
    wait_until(lambda: addresses(proxy) == sorted(wanted), deadline_s, f"endpoints {wanted}",
               lambda: chat(proxy))


def expect_error(proxy: Sluiced, wanted: str) -> None:
    """Waits until the source says what is wrong."""
    wait_until(lambda: chat(proxy)["discovery"]["last_error"] == wanted, 20, f"error {wanted!r}",
               lambda: chat(proxy))


def test_endpoints_follow_the_records(dns: FakeDns, start: Any, model: Any) -> None:
    first = model()
    port = int(first.address.rsplit(":", 1)[1])
    dns.put(NAME, "127.0.0.1")
    proxy = start(port=port, hold="0s")
    expect(proxy, f"127.0.0.1:{port}")
    assert fetch(proxy.address("edge"), "/version").status == 200
    dns.put(NAME, "127.0.0.1", "127.0.0.2", "fd00::1")
    expect(proxy, f"127.0.0.1:{port}", f"127.0.0.2:{port}", f"[fd00::1]:{port}")
    dns.put(NAME, "127.0.0.1")
    expect(proxy, f"127.0.0.1:{port}")
    state = chat(proxy)["discovery"]
    assert state["synced"] and state["connected"] and state["last_error"] == ""


def test_what_fails_changes_nothing(dns: FakeDns, start: Any) -> None:
    dns.put(NAME, "10.0.0.1", "fd00::1")
    proxy = start(port=8000, hold="0s")
    known = ("10.0.0.1:8000", "[fd00::1]:8000")
    expect(proxy, *known)
    dns.rcode = SERVFAIL
    expect_error(proxy, f"{NAME}: server failure (SERVFAIL)")
    dns.rcode = REFUSED
    expect_error(proxy, f"{NAME}: query refused (REFUSED)")
    dns.rcode, dns.silent = None, True
    expect_error(proxy, f"{NAME}: no answer in time")
    assert addresses(proxy) == sorted(known)
    assert not chat(proxy)["discovery"]["connected"]
    dns.put(NAME, "10.0.0.2")
    dns.silent = False
    expect(proxy, "10.0.0.2:8000", deadline_s=40)
    expect_error(proxy, "")


def test_a_name_that_is_gone_for_a_moment_keeps_its_endpoints(dns: FakeDns, start: Any) -> None:
    dns.put(NAME, "10.0.0.1")
    proxy = start(port=8000, hold="2s")
    expect(proxy, "10.0.0.1:8000")
    dns.forget(NAME)
    began = time.monotonic()
    stays(lambda: addresses(proxy) == ["10.0.0.1:8000"], 1.0, "held")
    expect(proxy, deadline_s=10)
    assert time.monotonic() - began >= 1.9
    dns.put(NAME, "10.0.0.3")
    expect(proxy, "10.0.0.3:8000")


def test_srv_records_have_ports_and_weights(dns: FakeDns, start: Any) -> None:
    name = "_http._tcp.llama.test"
    dns.put_srv(name, (0, 3, 8001, "a.test"), (0, 1, 8002, "b.test"), (1, 1, 8003, "c.test"))
    dns.put("a.test", "10.0.0.1")
    dns.put("b.test", "10.0.0.2")
    dns.put("c.test", "10.0.0.3")
    proxy = start(name=name, type="srv")
    expect(proxy, "10.0.0.1:8001", "10.0.0.2:8002")
    assert proxy.endpoint("chat", "10.0.0.1:8001")["weight"] == 3
    dns.put_srv(name, (1, 1, 8003, "c.test"))
    expect(proxy, "10.0.0.3:8003")


def test_a_long_answer_comes_over_tcp(dns: FakeDns, start: Any) -> None:
    hosts = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(500)]
    dns.put(NAME, *hosts)
    proxy = start(port=8000, type="a")
    expect(proxy, *(f"{host}:8000" for host in hosts))
    assert any(how == "tcp" for _, _, how in dns.queries)
    assert not any(kind == AAAA for _, kind, _ in dns.queries)
