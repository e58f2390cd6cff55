# SPDX-License-Identifier: Apache-2.0
"""What discovery makes of an API server that misbehaves: it never forgets what it knew, never
believes what is not true for long, and does not hammer."""

import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

from lib.config import config
from lib.fake_kube import PODS, SLICES, FakeKube, endpoint, refuse, slice_of, status_body
from lib.sluiced import Sluiced, named, run_cli
from lib.wait import stays, wait_until


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    """The API server, over plain HTTP."""
    server = FakeKube()
    yield server
    server.stop()


@pytest.fixture
def tls_kube() -> Iterator[Callable[[Any], FakeKube]]:
    """Factory of API servers with a certificate of an authority."""
    running: List[FakeKube] = []

    def run(authority: Any) -> FakeKube:
        running.append(FakeKube(authority.issue("kube", ips=["127.0.0.1"])))
        return running[-1]

    yield run
    for server in running:
        server.stop()


@pytest.fixture
def start(sluiced: Any, kube: FakeKube, tmp_path: Any) -> Callable[..., Sluiced]:
    """Starts sluiced with one pool "chat" of the service "llama"."""
    def run(**source: Any) -> Sluiced:
        path = kube.kubeconfig(tmp_path / "kubeconfig", tmp_path / "token")
        pool = {"discover": {"kubernetes": source or {"service": "llama", "port": "http"}}}
        return sluiced(config({"chat": pool}, kubernetes={"kubeconfig": path}))
    return run


def chat(proxy: Sluiced) -> Dict[str, Any]:
    """What /status says of the pool."""
    return named(proxy.status()["pools"], "chat")


def addresses(proxy: Sluiced) -> List[str]:
    """Its endpoints."""
    return sorted(one["address"] for one in chat(proxy)["endpoints"])


def discovery(proxy: Sluiced) -> Dict[str, Any]:
    """The state of its source."""
    return chat(proxy)["discovery"]


def expect(proxy: Sluiced, *wanted: str, deadline_s: float = 10.0) -> None:
    """Waits until the pool has exactly these endpoints."""
    wait_until(lambda: addresses(proxy) == sorted(wanted), deadline_s, f"endpoints {wanted}",
               lambda: chat(proxy))


def test_odd_slices_give_what_is_usable_in_them(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [
        endpoint("10.0.0.1", "p1", ready=True, serving=True, terminating=False),
        endpoint("10.0.0.2", "p2", ready=None, serving=None, terminating=None),
        {"addresses": ["10.0.0.3", "10.0.0.33"]},
        endpoint("10.0.0.4", "p4", ready=False),
        endpoint("10.0.0.5", "p5", ready=False, serving=True, terminating=True),
        endpoint(""), endpoint("not an address"), {"addresses": None}, {"addresses": []}, {}]))
    kube.put(slice_of("b", [endpoint("10.0.0.1", "p1"), endpoint("10.0.0.6", "p6")]))
    kube.put(slice_of("nothing", None, ports=None))
    kube.put(slice_of("names", [endpoint("model.example")], addressType="FQDN"))
    proxy = start()
    expect(proxy, "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000", "10.0.0.5:8000",
           "10.0.0.6:8000")
    assert proxy.endpoint("chat", "10.0.0.5:8000")["draining"] is True
    assert proxy.endpoint("chat", "10.0.0.1:8000")["draining"] is False
    state = discovery(proxy)
    assert state["synced"] and state["connected"] and state["last_error"] == ""
    agent = kube.requests[0].headers["user-agent"]
    assert agent.startswith("sluiced/") and "curl" not in agent


def test_a_change_arrives_within_a_second(kube: FakeKube, start: Any) -> None:
    proxy = start()
    kube.watch()
    for last in range(1, 4):
        kube.put(slice_of("a", [endpoint(f"10.0.0.{last}")]))
        expect(proxy, f"10.0.0.{last}:8000", deadline_s=1)
    kube.remove("a")
    expect(proxy, deadline_s=1)


def test_an_expired_version_in_the_stream_leads_to_a_list(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    kube.put(slice_of("b", [endpoint("10.0.0.2")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000", "10.0.0.2:8000")
    kube.watch()
    kube.remove("a", tell=False)
    kube.forget()
    kube.close_watches(lambda watch: watch.cut())
    expect(proxy, "10.0.0.2:8000")
    assert discovery(proxy)["relists"]["expired"] == 1


def test_an_expired_version_as_a_status_leads_to_a_list(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    kube.watch()
    kube.script.append(refuse(410, "too old"))
    kube.put(slice_of("a", [endpoint("10.0.0.2")]), tell=False)
    kube.close_watches(lambda watch: watch.end())
    expect(proxy, "10.0.0.2:8000")


def test_a_list_that_is_expired_too_is_made_without_a_version(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    kube.watch()
    kube.script += [refuse(410, "too old"), refuse(410, "too old as well")]
    kube.put(slice_of("a", [endpoint("10.0.0.2")]), tell=False)
    kube.close_watches(lambda watch: watch.end())
    expect(proxy, "10.0.0.2:8000")
    assert "resourceVersion" not in kube.seen(watches=False)[-1].query


def test_a_watch_cut_in_the_middle_of_an_event_loses_nothing(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    watch = kube.watch()
    watch.chunk(b'{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":"999"},')
    kube.close_watches(lambda open_watch: None)
    kube.put(slice_of("b", [endpoint("10.0.0.2")]))
    watch.cut()
    expect(proxy, "10.0.0.1:8000", "10.0.0.2:8000")
    assert kube.seen(watches=True)[-1].query["resourceVersion"] == "101"
    assert not any(discovery(proxy)["relists"].values())


@pytest.mark.parametrize("line", [
    b"garbage\n", b'{"type":"ADDED","object":{"metadata":{"name":"x"\n', b"[]\n",
    b'{"type":"ADDED","object":{}}\n', b'{"type":"WHAT","object":{"metadata":{"name":"a"}}}\n'])
def test_a_line_that_is_no_event_is_healed_by_a_list(
        kube: FakeKube, start: Any, line: bytes) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    watch = kube.watch()
    kube.put(slice_of("a", [endpoint("10.0.0.2")]), tell=False)
    watch.chunk(line)
    expect(proxy, "10.0.0.2:8000")
    assert sum(discovery(proxy)["relists"].values()) == 1


def test_bytes_that_come_one_by_one_make_an_event(kube: FakeKube, start: Any) -> None:
    proxy = start()
    watch = kube.watch()
    for byte in (b'{"type":"ADDED","object":{"metadata":{"name":"s","resourceVersion":"500"},'
                 b'"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.9"]}],'
                 b'"ports":[{"name":"http","port":8000}]}}\n'):
        watch.chunk(bytes([byte]))
    expect(proxy, "10.0.0.9:8000")


def test_an_event_and_a_list_of_megabytes_are_taken(kube: FakeKube, start: Any) -> None:
    big = slice_of("big", [endpoint(f"10.{i // 250}.{i % 250}.1", f"pod-{i}", ready=True)
                           for i in range(1000)])
    big["metadata"]["annotations"] = {"padding": "x" * 1_500_000}
    kube.put(big)
    proxy = start()
    wait_until(lambda: chat(proxy)["endpoints_n"] == 1000, 10, "the list", lambda: chat(proxy))
    kube.watch()
    big["endpoints"].append(endpoint("10.9.9.9", "last"))
    kube.put(big)
    wait_until(lambda: chat(proxy)["endpoints_n"] == 1001, 10, "the event", lambda: chat(proxy))


def test_what_is_found_and_cannot_be_applied_is_said_once(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.200.0.1")]))
    proxy = start()
    expect(proxy, "10.200.0.1:8000")
    kube.watch()
    for i in range(67):  # 67 000: more than a set may have
        kube.put(slice_of(f"s{i}", [endpoint(f"10.{i}.{j // 250}.{j % 250}")
                                    for j in range(1000)]), tell=False)
    kube.forget()
    kube.close_watches(lambda watch: watch.cut())
    wait_until(lambda: "no room for" in discovery(proxy)["last_error"], 30, "the refusal",
               lambda: discovery(proxy))
    assert addresses(proxy) == ["10.200.0.1:8000"]
    status = run_cli("status", "--admin", proxy.address("admin"))
    assert status.log().count("no room for") == 1, status.log()
    kube.watch()
    kube.remove("s1")
    kube.remove("s2")
    wait_until(lambda: chat(proxy)["endpoints_n"] == 65_001, 30, "a set with room")
    assert discovery(proxy)["last_error"] == ""


def test_a_rotated_token_is_read_again(kube: FakeKube, start: Any, tmp_path: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    kube.watch()
    kube.tokens = {"fresh"}
    kube.put(slice_of("b", [endpoint("10.0.0.2")]))  # an open watch goes on
    expect(proxy, "10.0.0.1:8000", "10.0.0.2:8000")
    kube.close_watches(lambda watch: watch.end())
    wait_until(lambda: "401" in discovery(proxy)["last_error"], 10, "the refusal")
    assert addresses(proxy) == ["10.0.0.1:8000", "10.0.0.2:8000"]
    assert not discovery(proxy)["connected"]
    (tmp_path / "token").write_text("fresh\n")
    kube.watch()
    kube.put(slice_of("c", [endpoint("10.0.0.3")]))
    expect(proxy, "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000")
    wait_until(lambda: discovery(proxy)["last_error"] == "", 5, "the error to be over")


def test_a_server_that_forbids_in_its_first_second_is_asked_again(
        kube: FakeKube, start: Any) -> None:
    until = time.monotonic() + 1

    def forbid(connection: Any, _: Any) -> Optional[bool]:
        if time.monotonic() >= until:
            return None
        connection.answer(403, status_body(403, "endpointslices is forbidden"))
        return False

    kube.script.append(forbid)
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    assert len(kube.requests) < 40


def test_too_many_requests_are_answered_by_waiting(kube: FakeKube, start: Any) -> None:
    kube.script.append(refuse(429, "Too many requests", {"Retry-After": "1"}))
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    lists = kube.seen(watches=False)
    assert lists[1].at - lists[0].at >= 1


def test_a_server_that_goes_away_takes_no_endpoint_with_it(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    kube.watch()
    kube.stop()
    wait_until(lambda: discovery(proxy)["errors"] >= 3, 10, "failures", lambda: discovery(proxy))
    stays(lambda: addresses(proxy) == ["10.0.0.1:8000"], 1, "the endpoint")
    state = discovery(proxy)
    assert state["synced"] and not state["connected"] and state["last_error"]
    assert state["age_ms"] > 500


def test_an_answer_that_is_no_list_empties_nothing(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    proxy = start()
    expect(proxy, "10.0.0.1:8000")
    kube.watch()

    def portal(connection: Any, request: Any) -> bool:
        if request.is_watch:
            connection.answer(410, status_body(410, "too old"))
        else:
            connection.answer(200, b"<html>please log in</html>")
        return False

    kube.script.append(portal)
    kube.close_watches(lambda watch: watch.end())
    wait_until(lambda: "not a list" in discovery(proxy)["last_error"], 10, "the error")
    stays(lambda: addresses(proxy) == ["10.0.0.1:8000"], 0.5, "the endpoint")
    kube.script.clear()
    kube.put(slice_of("a", [endpoint("10.0.0.2")]))
    expect(proxy, "10.0.0.2:8000", deadline_s=20)


def test_watches_that_end_at_once_are_not_hammered(kube: FakeKube, start: Any) -> None:
    def end_at_once(connection: Any, request: Any) -> Optional[bool]:
        if not request.is_watch:
            connection.answer(200, {"metadata": {"resourceVersion": "7"}, "items": []})
        else:
            connection.head()
            connection.end()
        return False

    kube.script.append(end_at_once)
    start()
    begin = len(kube.requests)
    stays(lambda: len(kube.requests) - begin < 60, 3, "fewer than 60 requests in 3 s")
    assert len(kube.requests) > 3


def test_pods_of_a_lost_watch_still_narrow_the_set(kube: FakeKube, start: Any) -> None:
    kube.put(slice_of("a", [endpoint("10.0.0.1", "p1"), endpoint("10.0.0.2", "p2")]))
    kube.put({"metadata": {"name": "p1", "uid": "uid-p1"}}, PODS)
    proxy = start(service="llama", pods="version=v1", port="http")
    expect(proxy, "10.0.0.1:8000")
    assert kube.seen(False, PODS)[0].query["labelSelector"] == "version=v1"
    assert kube.seen(False, SLICES)[0].query["labelSelector"] == "kubernetes.io/service-name=llama"
    kube.watch(PODS)
    kube.put({"metadata": {"name": "p2", "uid": "uid-p2"}}, PODS)
    expect(proxy, "10.0.0.1:8000", "10.0.0.2:8000")
    kube.close_watches(lambda watch: watch.cut())
    kube.remove("p1", PODS)
    expect(proxy, "10.0.0.2:8000")


def in_pod(kube: FakeKube, ca: Any, tmp_path: Any, monkeypatch: Any) -> Dict[str, Any]:
    """Makes environment and mount of a pod that trusts ca; returns the configuration for it."""
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("secret")
    (account / "namespace").write_text("prod")
    (account / "ca.crt").write_bytes(Path(ca.path).read_bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(kube.port))
    kube.put(slice_of("a", [endpoint("10.0.0.1")]))
    pool = {"discover": {"kubernetes": {"service": "llama", "port": 9000}}}
    return config({"chat": pool}, kubernetes={"service_account": str(account)})


def test_in_a_pod_the_mounted_account_is_used_over_tls(
        sluiced: Any, tls_kube: Any, ca: Any, tmp_path: Any, monkeypatch: Any) -> None:
    kube = tls_kube(ca)
    proxy = sluiced(in_pod(kube, ca, tmp_path, monkeypatch))
    expect(proxy, "10.0.0.1:9000")
    kube.watch()
    assert kube.requests[0].headers["authorization"] == "Bearer secret"


def test_a_server_that_another_authority_signed_is_not_believed(
        sluiced: Any, tls_kube: Any, ca: Any, other_ca: Any, tmp_path: Any,
        monkeypatch: Any) -> None:
    kube = tls_kube(other_ca)
    proxy = sluiced(in_pod(kube, ca, tmp_path, monkeypatch))
    wait_until(lambda: discovery(proxy)["errors"] > 0, 10, "the refusal")
    state = discovery(proxy)
    assert not state["synced"] and "certificate" in state["last_error"].lower(), state
    assert addresses(proxy) == [] and not kube.requests  # nor did it see our token
