# SPDX-License-Identifier: Apache-2.0
"""The end of a process while long streams run, in short (each `make test`) and long (`make soak`)."""

import signal
import threading
from typing import Any, Callable, Dict, List

from lib.ca import CA
from lib.config import config, listener, pool, route
from lib.fetch import fetch
from lib.model import Model
from lib.process import Process
from lib.sluiced import Sluiced, binary
from lib.streams import Streams
from lib.wait import wait_until
from lib.wire import RawUpstream, Wait, Wire, answer_bytes, request_bytes

STREAMS, TOKENS_PER_S = 20, 10
DELAY = "5s"


def watch(proxy: Sluiced) -> Process:
    """`sluiced drain --wait`, which shows how far it is."""
    return Process([binary(), "drain", "--wait", "--admin", proxy.address("admin")])


def wait_step(proxy: Sluiced, **wanted: Any) -> Dict[str, Any]:
    """Waits until /drain says so."""
    address = proxy.address("admin")

    def reached() -> Dict[str, Any]:
        now = fetch(address, "/drain").json()
        return now if all(now[key] == value for key, value in wanted.items()) else {}

    return wait_until(reached, 30, f"/drain to say {wanted}", proxy.log)


def check_accepting(proxy: Sluiced) -> None:
    """Not ready any more, but whoever comes is served, and may come again."""
    address, probes = proxy.address("edge"), proxy.address("probes")
    for port in (probes, proxy.address("admin")):
        answer = fetch(port, "/readyz")
        assert answer.status == 503 and b"draining" in answer.body, answer
    assert fetch(probes, "/healthz").status == 200
    with Wire(address) as wire:
        answers = [wire.ask("GET", "/version") for _ in range(3)]
    # Else the machine was too slow to say anything about the delay.
    assert not fetch(proxy.address("admin"), "/drain").json()["closing"], "the delay was over"
    for answer in answers:
        assert answer.status == 200 and answer.get("connection") != "close", answer


def is_refused(address: str) -> bool:
    """Whether nobody listens there any more."""
    try:
        Wire(address).close()
    except ConnectionRefusedError:
        return True
    return False


def drain_with_streams(start: Callable[..., Sluiced], model: Callable[..., Model],
                       upstream: Callable[..., RawUpstream], ca: CA,
                       seconds: float) -> Dict[str, Any]:
    """SIGTERM while streams of so many seconds run, over plaintext and mTLS; they must be whole."""
    gate = threading.Event()
    held = upstream([[Wait(gate), answer_bytes(b"late")]])
    server = model("--token-rate", str(TOKENS_PER_S))
    leaf = ca.issue("edge", ips=["127.0.0.1"])
    routes = [route("held", path="/held", name="held"), route("chat")]
    conf = config({"chat": pool(server.address), "held": pool(held.address, health="off")}, routes,
                  workers=2, drain={"delay": DELAY, "timeout": f"{int(seconds) + 300}s"},
                  log={"level": "info", "access": "off"})
    conf["listeners"].append(listener([route("chat")], name="secure", tls={
        "cert": leaf.cert, "key": leaf.key, "client_ca": ca.path}))
    proxy = start(conf)
    edge, tokens = proxy.address("edge"), int(seconds * TOKENS_PER_S)
    tls = ca.client(ca.issue("caller"))
    with Streams(edge, STREAMS, tokens, once=True, end_s=seconds + 120) as plain, \
            Streams(proxy.address("secure"), STREAMS, tokens, once=True, tls=tls,
                    end_s=seconds + 120) as sealed, \
            Wire(edge) as idle, Wire(edge) as late:
        wait_until(lambda: plain.open + sealed.open == 2 * STREAMS, 30, "all streams to run",
                   proxy.status)
        assert idle.ask("GET", "/version").status == 200
        late.send(request_bytes("GET", "/held"))
        wait_until(lambda: held.requests, 10, "the request that is held")
        proxy.process.signal(signal.SIGTERM)
        begun = wait_step(proxy, draining=True)
        verb = watch(proxy)
        check_accepting(proxy)
        closing = wait_step(proxy, closing=True, outbound_served=False)
        wait_until(lambda: is_refused(edge), 10, "the listener to be closed", proxy.log)
        assert idle.closed_within(10), "a connection between two requests stays"
        gate.set()
        answer = late.reader.response()
        assert (answer.body, answer.get("connection")) == (b"late", "close"), answer
        # All streams run on: it is for them that the process is there.
        left = wait_step(proxy, inbound=2 * STREAMS)
        assert left["requests"] == 2 * STREAMS and plain.open + sealed.open == 2 * STREAMS, left
    for streams in (plain, sealed):
        assert streams.failures == [], streams.failures[:5]
        assert (streams.done, streams.connects) == (STREAMS, STREAMS)
    assert proxy.process.wait(30) == 0, proxy.log()
    assert verb.wait(30) == 0, verb.log()
    check_progress(verb.stdout)
    ended = proxy.events("drained")[0]
    assert ended["connections_cut"] == 0, ended
    assert server.state()["aborted"] == 0
    return {"streams": plain.done + sealed.done, "bytes_compared": plain.bytes + sealed.bytes,
            "accepting": begun["inbound"], "closing": closing["inbound"],
            "took_ms": ended["took_ms"], "progress": verb.stdout}


def check_progress(lines: List[str]) -> None:
    """First still accepting, then closing with fewer and fewer connections, then ended."""
    assert lines[0].startswith("draining, still accepting: connections inbound "), lines
    closing = [line for line in lines if line.startswith("closing: connections inbound ")]
    assert any(f"inbound {2 * STREAMS}, outbound 0; requests {2 * STREAMS}" in line
               for line in closing), lines
    counts = [int(line.split()[3].rstrip(",")) for line in closing]
    assert counts == sorted(counts, reverse=True) and lines[-1] == "ended", lines
