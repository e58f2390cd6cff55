# SPDX-License-Identifier: Apache-2.0
"""Raw bytes through the real binary: what the upstream saw is what was meant, and what was logged.

Whatever two parsers could read differently must end here: one request in, at most one request out,
the same in the access log, and never a connection that carries the rest of something else.
"""

import threading
from typing import Any, Dict, List, Optional, Tuple

import pytest

from lib.config import config, pool
from lib.raw_corpus import ANSWERS, OK, REQUESTS, Answer, Seen, Vector
from lib.wait import wait_until
from lib.wire import (Action, Close, Closed, Message, RawUpstream, Wait, Wire, answer_bytes,
                      request_bytes)

Outcome = List[Any]
SMALL_BYTES = 4096


def friendly(request: Message) -> List[Action]:
    """An answer that ends where it should, whatever the method."""
    body = answer_bytes(b"ok")
    return [body[:-2] if request.method == "HEAD" else body]


def what(message: Message) -> Seen:
    """A request as the corpus speaks of it."""
    return Seen(message.method, message.target, message.body)


def statuses(wire: Wire, vector: Vector) -> Outcome:
    """The statuses that come back, one for each that is due; interim ones are left out."""
    got: Outcome = []
    methods = [seen.method for seen in vector.seen] + ["GET"] * len(vector.statuses)
    if vector.statuses[0] >= 400:  # ours has a body, whoever asked
        methods.insert(0, "GET")
    while len(got) < len(vector.statuses):
        message = wire.reader.response(methods[len(got)])
        if message.status >= 200:
            got.append(message.status)
    return got


def send_pieces(wire: Wire, data: bytes, size: int) -> None:
    """Sends in pieces; what is refused early need not be taken to its end."""
    try:
        for at in range(0, len(data), size):
            wire.send(data[at:at + size])
    except OSError:
        pass


def send_vector(edge: str, vector: Vector, size: int) -> Outcome:
    """Sends one on a connection of its own, then proves that nothing of it is left in there."""
    with Wire(edge) as wire:
        send_pieces(wire, vector.data, size or len(vector.data))
        try:
            got = statuses(wire, vector)
            if vector.closes:
                rest = wire.reader.rest()
                return got + [f"and {rest!r}"] if rest else got
            wire.send(request_bytes("GET", "/fence"))
            fence = wire.reader.response()
            return got if fence.status == 200 else got + [f"fence: {fence}"]
        except (Closed, OSError) as error:
            return [repr(error)]


@pytest.mark.parametrize("size", [0, 5], ids=["whole", "pieces"])
@pytest.mark.parametrize("group", sorted(REQUESTS))
def test_upstream_sees_what_was_meant_and_the_log_says_so(sluiced, upstream, group, size):
    server = upstream(friendly)
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    edge = proxy.address("edge")
    wrong: List[str] = []
    expected_n = 0
    for name, vector in REQUESTS[group].items():
        if size and len(vector.data) > SMALL_BYTES:
            continue
        before = len(server.requests)
        got = send_vector(edge, vector, size)
        saw = [what(message) for message in server.requests[before:]]
        fence = [] if vector.closes else [Seen("GET", "/fence")]
        expected_n += len(vector.statuses) + len(fence)
        if got != list(vector.statuses):
            wrong.append(f"{name}: {vector.data[:120]!r}: {got}, not {list(vector.statuses)}")
        if saw != list(vector.seen) + fence:
            wrong.append(f"{name}: {vector.data[:120]!r}: the upstream saw {saw}")
    assert not wrong, "\n".join(wrong)
    lines = proxy.access_log(expected_n)
    logged = [(line["method"], line["path"]) for line in lines if line["reason"] == "ok"]
    assert len(lines) == expected_n
    assert logged == [(m.method, m.target.partition("?")[0]) for m in server.requests]
    for line in lines:
        assert line["reason"] == "ok" or line["status"] >= 400, line


def receive(wire: Wire, method: str) -> Tuple[Optional[int], bytes]:
    """Status and body of what comes; None for a response that is cut, or none at all."""
    try:
        while True:
            message = wire.reader.response(method)
            if message.status >= 200:
                return message.status, message.body
    except (Closed, OSError):
        return None, b""


def scripted(server_answers: Dict[str, Answer]) -> Any:
    """Answers /v/<index> with that vector, and all else well."""
    by_target = {f"/v/{i}": one for i, one in enumerate(server_answers.values())}

    def script(request: Message) -> List[Action]:
        one = by_target.get(request.target)
        if one is None:
            return [OK]
        return [one.data, Close()] if one.ends else [one.data]
    return script


def check_answer(edge: str, server: RawUpstream, target: str, one: Answer) -> List[str]:
    """What is wrong with what the client got, and with what was done to the connection."""
    wrong = []
    with Wire(edge) as wire:
        wire.send(request_bytes(one.method, target))
        status, body = receive(wire, one.method)
        if status != one.status or (status != 502 and body != one.body):
            wrong.append(f"the client got {status} {body[:80]!r}")
    with Wire(edge) as wire:
        wire.send(request_bytes("GET", "/after"))
        if receive(wire, "GET") != (200, b"ok"):
            wrong.append("the next request did not get its answer")
    pairs = list(zip(server.requests, server.connections_of))
    carried = [number for message, number in pairs if message.target == target]
    if len(carried) != 1:
        wrong.append(f"it was sent {len(carried)} times")
    if carried and (pairs[-1][1] == carried[-1]) != one.reused:
        wrong.append("its connection was used again" if not one.reused else "it was not kept")
    return wrong


def test_hostile_answers_are_refused_or_cut_and_their_connection_ends(sluiced, upstream):
    server = upstream(scripted(ANSWERS))
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    edge = proxy.address("edge")
    wrong = []
    for i, (name, one) in enumerate(ANSWERS.items()):
        wrong += [f"{name}: {one.data[:120]!r}: {text}"
                  for text in check_answer(edge, server, f"/v/{i}", one)]
    assert not wrong, "\n".join(wrong)
    lines = proxy.access_log(2 * len(ANSWERS))
    assert len(lines) == 2 * len(ANSWERS)
    assert [line["path"] for line in lines] == [message.target for message in server.requests]
    for line, one in zip(lines[::2], ANSWERS.values()):
        assert (line["reason"] == "ok") == (one.status not in (None, 502)), line


def test_answer_that_nobody_asked_for_ends_its_connection(sluiced, upstream):
    event = threading.Event()
    evil = answer_bytes(b"evil")
    server = upstream([[answer_bytes(b"one"), Wait(event), evil], answer_bytes(b"two")])
    proxy = sluiced(config({"chat": pool(server.address)}, workers=1))
    with Wire(proxy.address("edge")) as wire:
        assert wire.ask("GET", "/").body == b"one"
        event.set()
        wait_until(server.ended_by_peer.is_set, 5, "the connection to be closed", proxy.log)
        assert wire.ask("GET", "/").body == b"two"
    assert server.connections_of == [1, 2]
