# SPDX-License-Identifier: Apache-2.0
"""Retries of a route: by which cause, how often, within which bounds, and why not."""

import json
import socket
import threading
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import pytest

from lib.config import config, pool, route
from lib.wait import stays, wait_until
from lib.wire import Close, Message, RawUpstream, Wait, Wire, answer_bytes, request_bytes

OK = [answer_bytes(b"ok")]
RESET = [Close(reset=True)]
REFUSAL = [answer_bytes(b"busy", "503 Service Unavailable", [("Retry-After", "1")])]
SSE_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n")
EVENT = b"data: one\n\n"
STREAM = SSE_HEAD + b"%x\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT)
REASONS = ("budget", "attempts", "not_repeatable", "body_not_kept", "response_started", "upgrade",
           "no_endpoint")


def status(code: int, body: bytes = b"no") -> List[Any]:
    """An answer with a status and without Retry-After."""
    return [answer_bytes(body, f"{code} Trouble")]


class Endpoints:
    """Endpoints that share one script: the n-th request of all gets the n-th answer, the last one
    for ever. So it does not matter which of them is asked first."""

    def __init__(self, upstream: Callable[..., RawUpstream], count: int,
                 answers: Sequence[Sequence[Any]]) -> None:
        self.answers = answers
        self.requests: List[Message] = []
        self._lock = threading.Lock()
        self.servers = [upstream(self._answer) for _ in range(count)]
        self.addresses = [server.address for server in self.servers]

    def _answer(self, request: Message) -> Sequence[Any]:
        with self._lock:
            self.requests.append(request)
            return self.answers[min(len(self.requests), len(self.answers)) - 1]

    def asked(self) -> List[int]:
        """How many requests each of them got, sorted."""
        return sorted(len(server.requests) for server in self.servers)


@pytest.fixture
def endpoints(upstream) -> Callable[..., Endpoints]:
    """Factory: endpoints(2, first answer, second answer, ...)."""
    return lambda count, *answers: Endpoints(upstream, count, answers)


def proxied(sluiced: Any, addresses: Sequence[str], retry: Any = None, replay: str = "safe",
            heartbeat: str = "off", **options: Any) -> Any:
    """sluiced in front of a pool, its route with these retries."""
    said: Dict[str, Any] = {} if retry is None else {"retry": retry}
    return sluiced(config({"chat": pool(*addresses, health="off", **options)},
                          [route("chat", replay=replay, heartbeat=heartbeat, **said)], workers=1))


def ask(proxy: Any, method: str = "GET", body: Optional[bytes] = None,
        fields: Sequence[Tuple[str, str]] = ()) -> Message:
    """One request on a connection of its own."""
    with Wire(proxy.address("edge")) as wire:
        return wire.ask(method, "/v1/x", body, fields)


def reason_of(answer: Message) -> str:
    """The reason of an answer of our own."""
    return str(json.loads(answer.body)["error"]["reason"])


def refused(proxy: Any) -> Dict[str, int]:
    """Why requests were not retried; those reasons that were counted."""
    name = "sluiced_pool_retries_refused_total"
    counts = {reason: int(proxy.metric(name, pool="chat", reason=reason)) for reason in REASONS}
    return {reason: n for reason, n in counts.items() if n}


def expect(proxy: Any, tries: int, **why: int) -> None:
    """One request made so many tries, and what was not retried was counted so."""
    assert proxy.access_log(1)[0]["tries"] == tries
    assert proxy.metric("sluiced_pool_retries_total", pool="chat") == tries - 1
    assert refused(proxy) == why


@pytest.fixture
def gate():
    """An event that is set at the end, whatever happens."""
    event = threading.Event()
    yield event
    event.set()


# ---- Causes


@pytest.mark.parametrize("failure", [
    RESET, [Close()], [b"HTTP/1.1 2", Close()], [b"nonsense\r\n\r\n"], REFUSAL,
], ids=["reset", "closed", "half a head", "no HTTP", "refusal"])
def test_what_failed_before_its_answer_goes_to_another_endpoint(sluiced, endpoints, failure):
    both = endpoints(2, failure, OK)
    proxy = proxied(sluiced, both.addresses)
    assert ask(proxy).body == b"ok"
    assert both.asked() == [1, 1]
    expect(proxy, 2)


def test_silence_beyond_first_byte_goes_to_another_endpoint(sluiced, endpoints, gate):
    both = endpoints(2, [Wait(gate), *OK], OK)
    proxy = proxied(sluiced, both.addresses, timeouts={"first_byte": "200ms"})
    assert ask(proxy).body == b"ok"
    assert both.asked() == [1, 1]
    expect(proxy, 2)


@pytest.mark.parametrize("retry", [None, "off", {"attempts": 5}])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refused_connections_have_their_own_bound(sluiced, endpoints, retry, method):
    """Nothing was sent: that is no retry that could be switched off, nor one of `attempts`."""
    one = endpoints(1, OK)
    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        dead = []
        for sock in (a, b, c):
            sock.bind(("127.0.0.1", 0))  # nobody listens
            dead.append(f"127.0.0.1:{sock.getsockname()[1]}")
        proxy = proxied(sluiced, [*dead, *one.addresses], retry)
        assert ask(proxy, method, b"x" if method == "POST" else None).body == b"ok"
        assert proxy.access_log(1)[0]["tries"] <= 4
        assert refused(proxy) == {}


# ---- Statuses


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("method, body, replay, again", [
    ("GET", None, "safe", True), ("HEAD", None, "safe", True), ("PUT", b"put", "safe", True),
    ("POST", b"post", "generation", True), ("POST", b"post", "safe", False)])
def test_chosen_status_goes_to_another_endpoint(sluiced, endpoints, code, method, body, replay,
                                                again):
    both = endpoints(2, status(code), OK)
    proxy = proxied(sluiced, both.addresses, {"statuses": [429, "500-504"]}, replay)
    answer = ask(proxy, method, body)
    assert answer.status == (200 if again else code)
    assert [r.body for r in both.requests] == [body or b""] * (2 if again else 1)
    if again:
        assert both.asked() == [1, 1]
        expect(proxy, 2)
    else:
        assert answer.body == b"no"
        expect(proxy, 1, not_repeatable=1)


@pytest.mark.parametrize("retry", [None, {"statuses": 502}])
def test_status_that_was_not_chosen_is_an_answer(sluiced, endpoints, retry):
    both = endpoints(2, status(503), OK)
    proxy = proxied(sluiced, both.addresses, retry)
    assert (ask(proxy).status, len(both.requests)) == (503, 1)
    expect(proxy, 1)


def test_post_that_was_refused_goes_on_whatever_the_statuses(sluiced, endpoints):
    both = endpoints(2, REFUSAL, OK)
    proxy = proxied(sluiced, both.addresses, {"statuses": 503})
    assert ask(proxy, "POST", b"x").body == b"ok"
    expect(proxy, 2)


@pytest.mark.parametrize("attempts, tries, why", [
    (1, 2, "attempts"), (2, 3, "attempts"), (5, 3, "no_endpoint")])
def test_the_last_real_answer_is_the_clients(sluiced, endpoints, attempts, tries, why):
    three = endpoints(3, status(503, b"first"), status(502, b"second"), status(504, b"third"))
    proxy = proxied(sluiced, three.addresses, {"attempts": attempts, "statuses": ["502-504"]})
    answer = ask(proxy)
    code, body = {2: (502, b"second"), 3: (504, b"third")}[tries]
    assert (answer.status, answer.body) == (code, body)
    assert three.asked() == ([0, 1, 1] if tries == 2 else [1, 1, 1])
    expect(proxy, tries, **{why: 1})
    line = proxy.access_log(1)[0]
    assert (line["reason"], line["status"]) == ("ok", code)


@pytest.mark.parametrize("after, code, reason", [
    (RESET, 502, "upstream_reset"), (None, 504, "first_byte_timeout")], ids=["reset", "silence"])
def test_an_answer_that_was_given_up_does_not_come_back(sluiced, endpoints, gate, after, code,
                                                        reason):
    both = endpoints(2, [answer_bytes(b"first", "503 Trouble", [("Retry-After", "7")])],
                     after or [Wait(gate), *OK])
    proxy = proxied(sluiced, both.addresses, {"statuses": 503}, timeouts={"first_byte": "200ms"})
    answer = ask(proxy)
    assert (answer.status, reason_of(answer)) == (code, reason)
    assert answer.get("retry-after") is None
    expect(proxy, 2, attempts=1)


def test_client_of_http_1_0_is_answered_by_the_other(sluiced, endpoints):
    both = endpoints(2, status(503), [STREAM])
    proxy = proxied(sluiced, both.addresses, {"statuses": 503})
    with Wire(proxy.address("edge")) as wire:
        wire.send(b"GET / HTTP/1.0\r\n\r\n")
        assert wire.reader.response().body == EVENT
    expect(proxy, 2)


# ---- How often


@pytest.mark.parametrize("attempts", [0, 1, 2, 5])
def test_attempts_are_bounded(sluiced, endpoints, attempts):
    many = endpoints(7, RESET)
    proxy = proxied(sluiced, many.addresses, {"attempts": attempts})
    assert reason_of(ask(proxy)) == "upstream_reset"
    assert max(many.asked()) == 1
    expect(proxy, attempts + 1, attempts=1)


def test_the_last_of_many_attempts_may_succeed(sluiced, endpoints):
    many = endpoints(6, RESET, status(503), REFUSAL, [Close()], RESET, OK)
    proxy = proxied(sluiced, many.addresses, {"attempts": 5, "statuses": 503,
                                              "backoff": {"min": "1ms"}})
    assert ask(proxy).body == b"ok"
    assert many.asked() == [1] * 6
    expect(proxy, 6)


@pytest.mark.parametrize("failure, answered", [(RESET, 502), (REFUSAL, 503)])
def test_off_means_one_attempt(sluiced, endpoints, failure, answered):
    both = endpoints(2, failure, OK)
    proxy = proxied(sluiced, both.addresses, "off")
    assert ask(proxy).status == answered
    expect(proxy, 1, attempts=1)


# ---- per_try


def test_hanging_endpoint_is_left_for_another(sluiced, endpoints, gate):
    both = endpoints(2, [Wait(gate), *OK], OK)
    proxy = proxied(sluiced, both.addresses, {"per_try": "150ms"})
    assert ask(proxy).body == b"ok"
    assert both.asked() == [1, 1]
    expect(proxy, 2)
    failures = [proxy.endpoint("chat", address)["failures"] for address in both.addresses]
    assert sorted(failures) == [0, 1]


def test_generation_is_not_left_unless_the_route_says_so(sluiced, endpoints, gate):
    both = endpoints(2, [Wait(gate), *OK], OK)
    proxy = proxied(sluiced, both.addresses, {"per_try": "50ms"}, timeouts={"first_byte": "400ms"})
    assert reason_of(ask(proxy, "POST", b"x")) == "first_byte_timeout"
    assert len(both.requests) == 1
    expect(proxy, 1, not_repeatable=1)


def test_stream_without_a_token_is_left_where_the_route_says_so(sluiced, endpoints, gate):
    """Its head came at once, and was held."""
    both = endpoints(2, [SSE_HEAD, Wait(gate)], [STREAM])
    proxy = proxied(sluiced, both.addresses, {"per_try": "150ms"}, "generation")
    assert ask(proxy, "POST", b"prompt").body == EVENT
    assert [r.body for r in both.requests] == [b"prompt"] * 2
    expect(proxy, 2)


def test_heartbeat_gives_the_other_attempts_up(sluiced, endpoints, gate):
    both = endpoints(2, [SSE_HEAD, Wait(gate), STREAM[len(SSE_HEAD):]], [STREAM])
    proxy = proxied(sluiced, both.addresses, {"per_try": "250ms"}, "generation", "100ms")
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("POST", "/", b"prompt"))
        assert wire.reader.head().status == 200
        for _ in range(4):  # longer than per_try
            assert wire.reader.chunk() == b": heartbeat\n\n"
        gate.set()
        chunk = wire.reader.chunk()
        while chunk != EVENT:
            assert chunk == b": heartbeat\n\n"
            chunk = wire.reader.chunk()
    assert len(both.requests) == 1
    assert refused(proxy) == {}


def test_slow_answer_is_awaited_where_nobody_else_is_there(sluiced, endpoints, gate):
    one = endpoints(1, [Wait(gate), *OK])
    proxy = proxied(sluiced, one.addresses, {"per_try": "50ms"})
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: refused(proxy) == {"no_endpoint": 1}, 5, "the try to be over", proxy.log)
        gate.set()
        assert wire.reader.response().body == b"ok"
    assert proxy.endpoint("chat", one.addresses[0])["failures"] == 0
    expect(proxy, 1, no_endpoint=1)


def test_last_try_has_the_time_of_the_pool(sluiced, endpoints, gate):
    forever = threading.Event()
    three = endpoints(3, [Wait(forever)], [Wait(gate), *OK], OK)
    proxy = proxied(sluiced, three.addresses, {"per_try": "60ms"})
    try:
        with Wire(proxy.address("edge")) as wire:
            wire.send(request_bytes("GET", "/"))
            wait_until(lambda: len(three.requests) == 2, 5, "the second try", proxy.log)
            stays(lambda: len(three.requests) == 2, 0.4, "no third try")
            gate.set()
            assert wire.reader.response().body == b"ok"
    finally:
        forever.set()
    expect(proxy, 2)


# ---- Why not


def test_empty_budget_is_counted(sluiced, endpoints, gate):
    """Three may run at any time; what four requests earn is less than one more."""
    many = endpoints(5, RESET, [Wait(gate), *OK], RESET, [Wait(gate), *OK], RESET,
                     [Wait(gate), *OK], RESET)
    proxy = proxied(sluiced, many.addresses)
    wires = [Wire(proxy.address("edge")) for _ in range(3)]
    for n, wire in enumerate(wires):
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda want=2 * n + 2: len(many.requests) == want, 5, "its retry", proxy.log)
    assert reason_of(ask(proxy)) == "upstream_reset"
    assert refused(proxy) == {"budget": 1}
    gate.set()
    for wire in wires:
        assert wire.reader.response().body == b"ok"
        wire.close()


def test_place_in_the_budget_is_given_back(sluiced, endpoints):
    """Each of many retries one after the other is one of three that may run at any time."""
    many = endpoints(6, *([RESET] * 5 + [OK]) * 4)
    proxy = proxied(sluiced, many.addresses, {"attempts": 5, "backoff": {"min": "1ms"}},
                    balance="round_robin")
    for _ in range(4):
        assert ask(proxy).body == b"ok"
    assert [line["tries"] for line in proxy.access_log(4)] == [6] * 4
    assert refused(proxy) == {}


def test_who_is_only_looked_at_is_not_counted(sluiced, endpoints):
    """Two that always want to be left alone: once one of them has said so the other is no better,
    and no request is counted that was not made."""
    both = endpoints(2, [answer_bytes(b"busy", "503 Service Unavailable", [("Retry-After", "60")])])
    proxy = proxied(sluiced, both.addresses)
    for _ in range(20):
        assert ask(proxy).status == 503
    counted = [proxy.endpoint("chat", address)["requests"] for address in both.addresses]
    assert sorted(counted) == both.asked()
    assert sum(counted) == 21
    assert proxy.metric("sluiced_pool_picks_total", pool="chat") == 21
    assert proxy.metric("sluiced_pool_retries_total", pool="chat") == 1
    assert refused(proxy) == {"attempts": 1, "no_endpoint": 19}


def test_looking_for_somebody_in_vain_costs_no_retry(sluiced, endpoints):
    """Nobody else is there: what was granted for that is there for others, many times over."""
    one = endpoints(1, status(503))
    proxy = proxied(sluiced, one.addresses, {"statuses": 503}, limits={"retries": 1})
    for _ in range(30):
        assert ask(proxy).status == 503
    assert refused(proxy) == {"no_endpoint": 30}
    assert proxy.metric("sluiced_pool_retries_running", pool="chat") == 0


def test_body_that_was_too_long_to_keep_is_counted(sluiced, endpoints):
    both = endpoints(2, RESET, OK)
    proxy = proxied(sluiced, both.addresses)
    assert reason_of(ask(proxy, "PUT", b"x" * 1_100_000)) == "upstream_reset"
    assert len(both.requests[0].body) == 1_100_000
    expect(proxy, 1, body_not_kept=1)


def test_answer_that_has_begun_is_counted(sluiced, endpoints):
    both = endpoints(2, [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Close(reset=True)], OK)
    proxy = proxied(sluiced, both.addresses)
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        assert wire.reader.head().status == 200
        assert wire.closed_within(5)
    expect(proxy, 1, response_started=1)


@pytest.mark.parametrize("failure, answered", [(RESET, 502), (REFUSAL, 503), (status(500), 500)])
def test_upgrade_is_never_sent_twice(sluiced, endpoints, failure, answered):
    both = endpoints(2, failure, OK)
    proxy = proxied(sluiced, both.addresses, {"statuses": 500}, "generation")
    fields = [("Upgrade", "websocket"), ("Connection", "upgrade")]
    assert ask(proxy, fields=fields).status == answered
    expect(proxy, 1, upgrade=1)


# ---- Bodies


@pytest.mark.parametrize("failure", [RESET, REFUSAL, status(500)], ids=["reset", "503", "500"])
def test_chunked_body_is_sent_again_byte_for_byte(sluiced, endpoints, failure):
    both = endpoints(2, failure, OK)
    proxy = proxied(sluiced, both.addresses, {"statuses": 500}, "generation")
    chunks = [bytes([n % 251]) * (n * n % 7919 + 1) for n in range(200)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\nX-Sum: 1\r\n\r\n"
    answer = ask(proxy, "POST", body, [("Transfer-Encoding", "chunked")])
    assert answer.body == b"ok"
    for request in both.requests:
        assert request.body == b"".join(chunks)
        assert request.trailers == [("X-Sum", "1")]
    assert both.requests[0].chunks == both.requests[1].chunks == chunks
    expect(proxy, 2)


def test_body_of_a_mebibyte_is_sent_again_as_often_as_needed(sluiced, endpoints):
    four = endpoints(4, RESET, status(502), REFUSAL, OK)
    proxy = proxied(sluiced, four.addresses, {"attempts": 3, "statuses": 502}, "generation")
    body = bytes(range(256)) * 4096
    assert ask(proxy, "POST", body).body == b"ok"
    assert [r.body == body for r in four.requests] == [True] * 4
    expect(proxy, 4)


# ---- Limits, reload


def test_retry_keeps_its_place(sluiced, endpoints, gate):
    both = endpoints(2, status(503), [Wait(gate), answer_bytes(b"first")],
                     [answer_bytes(b"second")])
    proxy = proxied(sluiced, both.addresses, {"statuses": 503}, limits={"in_flight": 1})
    with Wire(proxy.address("edge")) as one, Wire(proxy.address("edge")) as two:
        one.send(request_bytes("GET", "/"))
        wait_until(lambda: len(both.requests) == 2, 5, "the retry", proxy.log)
        two.send(request_bytes("GET", "/"))
        wait_until(lambda: proxy.metric("sluiced_pool_queued", pool="chat") == 1, 5, "the other")
        gate.set()
        assert one.reader.response().body == b"first"
        assert two.reader.response().body == b"second"
    wait_until(lambda: proxy.metric("sluiced_pool_places", pool="chat") == 0, 5, "all to be over")


def test_endpoint_that_is_full_is_nobody_to_go_to(sluiced, endpoints, gate):
    both = endpoints(2, [Wait(gate), *OK], status(503))
    proxy = proxied(sluiced, both.addresses, {"statuses": 503}, limits={"per_endpoint": 1})
    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: len(both.requests) == 1, 5, "the first", proxy.log)
        assert ask(proxy).status == 503
        assert refused(proxy) == {"no_endpoint": 1}
        gate.set()
        assert wire.reader.response().body == b"ok"


def test_client_that_leaves_during_the_back_off_leaves_nothing(sluiced, endpoints):
    both = endpoints(2, status(503), OK)
    conf = {"statuses": 503, "backoff": {"min": "6s", "max": "1m"}}
    proxy = proxied(sluiced, both.addresses, conf)

    def in_flight() -> int:
        return sum(proxy.endpoint("chat", address)["in_flight"] for address in both.addresses)

    with Wire(proxy.address("edge")) as wire:
        wire.send(request_bytes("GET", "/"))
        wait_until(lambda: len(both.requests) >= 1, 5, "the first try", proxy.log)
    wait_until(lambda: in_flight() == 0, 10, "all to be given back", proxy.log)
    assert proxy.access_log(1)[0]["reason"] == "client_gone"


def test_reload_changes_what_is_retried(sluiced, endpoints):
    both = endpoints(2, status(503), status(503), OK)
    proxy = proxied(sluiced, both.addresses)
    assert ask(proxy).status == 503
    assert proxy.reload(config({"chat": pool(*both.addresses, health="off")},
                               [route("chat", replay="safe", retry={"statuses": 503})], workers=1))
    assert ask(proxy).body == b"ok"
