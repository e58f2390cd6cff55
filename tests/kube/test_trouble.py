# SPDX-License-Identifier: Apache-2.0
"""Trouble with the API server while clients come and go: not one of their requests may notice."""

import base64
import json
import signal
import ssl
import time

import httpx
import pytest
from cluster import READER, ApiError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from lengths import CUT_S
from process import eventually
from sluiced import route
from world import compact

STOP_S = max(8.0, CUT_S / 6)  # in a soak longer than a silent watch is believed
DOWN_S = 20.0
HURRY_S = 10  # of who cannot reach the server at all it stays below 2 s; handshakes come on top
BACK_OFF_S = 45  # the delay between two tries grows to 30 s
LABELS = {"app": "llama", "version": "v1"}
LOAD = {"clients": 30, "rate": 300, "streams": 20}
# A pod that ends untold may close a connection just as a POST is sent on it.
ROUTES = [{**route("llama")[0], "replay": "generation"}]
QUIET = {"routes": ROUTES, "log": {"level": "info", "access": "off"}}


def pools(namespace):
    source = {"namespace": namespace.name, "service": "llama", "port": "http"}
    return {"llama": {"discover": {"kubernetes": source}}}


@pytest.fixture
def say(capsys):
    """Prints a figure where it is seen."""

    def line(text):
        with capsys.disabled():
            print(f"\n{text}")

    return line


def start_pods(namespace, crew, count):
    namespace.service("llama", LABELS)
    return [crew.start(f"llama-{i}", LABELS) for i in range(count)]


def discovery(proxy):
    return proxy.pool("llama")["discovery"]


def is_aged(proxy, seconds):
    """Whether discovery has been without proof for so long; ready it must be all the while."""
    assert proxy.process.running(), proxy.process.tail()
    if not proxy.ready():
        raise RuntimeError("it is not ready any more")
    return discovery(proxy)["age_ms"] > seconds * 1000


def put_to_the_end(load, least):
    """Stops the load: nothing has failed, and there was enough of it to be a proof."""
    report = load.stop()
    assert report.failures == [], str(report)
    assert report.requests > least and report.streams > 0, str(report)
    return report


def test_a_long_cut_is_not_noticed_by_clients(
    namespace, crew, start_sluiced, relay, through_relay, start_load, say
):
    pods = start_pods(namespace, crew, 4)
    proxy = start_sluiced(pools=pools(namespace), env=through_relay, **QUIET)
    proxy.wait_endpoints("llama", pods)
    load = start_load(proxy.address(), seconds=CUT_S + 120, **LOAD)
    relay.cut()
    eventually(lambda: is_aged(proxy, CUT_S / 2), "the age does not grow", CUT_S, 0.2)
    crew.retire(pods[0].name)  # nobody can tell the proxy
    pods = [*pods[1:], crew.start("llama-new", LABELS)]
    eventually(lambda: is_aged(proxy, CUT_S), "the age does not grow", 2 * CUT_S, 0.2)
    relay.heal()
    healed_at = time.monotonic()
    proxy.wait_endpoints("llama", pods, HURRY_S)
    took_s = time.monotonic() - healed_at
    assert discovery(proxy)["age_ms"] < CUT_S * 1000 / 2
    report = put_to_the_end(load, 200 * CUT_S)
    say(
        f"cut for {CUT_S:.0f} s, one pod replaced meanwhile: converged {took_s:.2f} s after its "
        f"end; p99 {report.quantile_ms(0.99):.1f} ms; {report}"
    )


def test_an_api_server_that_stands_still_is_not_noticed_by_clients(
    cluster, namespace, crew, start_sluiced, start_load, say
):
    pods = start_pods(namespace, crew, 2)
    proxy = start_sluiced(pools=pools(namespace), **QUIET)
    proxy.wait_endpoints("llama", pods)
    load = start_load(proxy.address(), seconds=STOP_S + 120, **LOAD)
    server = cluster.processes["kube-apiserver"]
    server.send(signal.SIGSTOP)
    try:
        late = start_sluiced(pools=pools(namespace), kubernetes=proxy.kubernetes)
        assert not late.ready()
        eventually(lambda: is_aged(proxy, STOP_S), "the age does not grow", 2 * STOP_S, 0.2)
        assert proxy.addresses("llama") == {pod.address for pod in pods}
        assert not late.pool("llama")["discovery"]["synced"]
    finally:
        server.send(signal.SIGCONT)
    cluster.wait_ready()
    went_on_at = time.monotonic()
    pods.append(crew.start("llama-new", LABELS))
    proxy.wait_endpoints("llama", pods, BACK_OFF_S)
    took_s = time.monotonic() - went_on_at
    late.wait_endpoints("llama", pods, BACK_OFF_S)
    assert late.ready()
    report = put_to_the_end(load, 200 * STOP_S)
    say(f"stood still for {STOP_S:.0f} s: a new pod was found {took_s:.2f} s after; {report}")


def test_pods_replaced_around_an_outage_are_found_after_it_and_dead_ones_not_used(
    cluster, namespace, crew, start_sluiced, relay, through_relay, start_load, say
):
    pods = start_pods(namespace, crew, 4)
    dead, stay = pods[:2], pods[2:]
    proxy = start_sluiced(pools=pools(namespace), env=through_relay, **QUIET)
    proxy.wait_endpoints("llama", pods)
    load = start_load(proxy.address(), seconds=DOWN_S + 120, **LOAD)
    eventually(lambda: load.report.streams >= 20, "streams end", 10)
    relay.cut()
    for number, pod in enumerate(dead):
        stay.append(crew.start(f"llama-new-{number}", LABELS))
        crew.retire(pod.name)
    namespace.wait_endpoints("llama", {pod.ip for pod in stay})
    cluster.stop_apiserver()
    down_at = time.monotonic()
    relay.heal()
    over = down_at + DOWN_S
    eventually(
        lambda: proxy.ready() and time.monotonic() > over, "not ready", DOWN_S + 5, 0.2
    )
    state = {e["address"]: e for e in proxy.pool("llama")["endpoints"]}
    assert all(state[pod.address]["ejections"] >= 1 for pod in dead), state
    tries = sum(state[pod.address]["failures"] for pod in dead)
    during = load.report.requests
    cluster.start_apiserver()
    back_at = time.monotonic()
    proxy.wait_endpoints("llama", stay, BACK_OFF_S)
    took_s = time.monotonic() - back_at
    assert set(proxy.served_by(20)) <= {pod.address for pod in stay}
    report = put_to_the_end(load, 200 * DOWN_S)
    say(
        f"API server down for {DOWN_S:.0f} s: converged {took_s:.2f} s after it said that it is "
        f"ready; {tries} tries of 2 dead pods among {during} requests; {report}"
    )
    assert tries < during / 20, "an ejected pod is hardly tried"


def bearer(cluster, token):
    return httpx.Client(
        base_url=cluster.url,
        verify=ssl.create_default_context(cafile=cluster.ca),
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )


def expiring(cluster, token, seconds):
    """The same token, valid for so many seconds from now: the server gives 60 more than it says."""

    def encode(part):
        return base64.urlsafe_b64encode(part).rstrip(b"=")

    head, payload, _ = token.encode().split(b".")
    claims = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    claims["exp"] = int(time.time() + seconds - 60)
    signed = head + b"." + encode(json.dumps(claims).encode())
    key = serialization.load_pem_private_key(cluster.token_key.read_bytes(), None)
    r, s = decode_dss_signature(key.sign(signed, ECDSA(hashes.SHA256())))
    return (signed + b"." + encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()


def test_a_token_that_expires_keeps_the_endpoints_until_there_is_another(
    cluster, namespace, crew, start_sluiced, relay, through_relay, tmp_path
):
    pods = start_pods(namespace, crew, 1)
    token = expiring(cluster, namespace.token(), 5)
    account = namespace.service_account(tmp_path / "account", token)
    proxy = start_sluiced(
        pools=pools(namespace),
        kubernetes={"service_account": str(account.directory)},
        env=through_relay,
    )
    proxy.wait_endpoints("llama", pods)
    with bearer(cluster, token) as client:
        # What was accepted is remembered for 10 s.
        eventually(
            lambda: client.get(namespace.slices).status_code == 401, "still accepted", 25, 0.2
        )
    pods.append(crew.start("llama-new", LABELS))
    proxy.wait_endpoints("llama", pods)  # the watch that is open goes on
    relay.cut()
    relay.heal()
    eventually(lambda: "401" in discovery(proxy)["last_error"], "it is refused", 30)
    assert proxy.ready() and set(proxy.served_by(20)) == {pod.address for pod in pods}
    pods.append(crew.start("llama-newer", LABELS))
    account.write(namespace.account_files())
    proxy.wait_endpoints("llama", pods, BACK_OFF_S)
    assert discovery(proxy)["last_error"] == ""


def test_a_rule_taken_out_of_the_role_is_named_and_its_return_noticed(
    cluster, namespace, crew, start_sluiced, relay, through_relay
):
    pods = start_pods(namespace, crew, 1)
    proxy = start_sluiced(pools=pools(namespace), env=through_relay, **QUIET)
    proxy.wait_endpoints("llama", pods)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "discover"},
    }
    cluster.apply({**role, "rules": READER[:1]}, namespace.name)
    with bearer(cluster, namespace.token()) as client:
        eventually(lambda: client.get(namespace.slices).status_code == 403, "still allowed", 10)
    relay.cut()
    pods.append(crew.start("llama-new", LABELS))
    relay.heal()

    def told():
        error = discovery(proxy)["last_error"]
        return "403" in error and "endpointslices" in error

    eventually(told, lambda: f"the error does not say what is missing: {discovery(proxy)}", 30)
    assert proxy.ready() and set(proxy.served_by(5)) == {pods[0].address}
    cluster.apply({**role, "rules": READER}, namespace.name)
    proxy.wait_endpoints("llama", pods, BACK_OFF_S)
    assert discovery(proxy)["last_error"] == ""


def test_a_history_compacted_away_is_a_list_with_the_cause_expired(
    cluster, namespace, crew, start_sluiced, relay, through_relay
):
    pods = start_pods(namespace, crew, 2)
    proxy = start_sluiced(pools=pools(namespace), env=through_relay, **QUIET)
    proxy.wait_endpoints("llama", pods)
    version = cluster.request("GET", namespace.slices)["metadata"]["resourceVersion"]
    relay.cut()
    crew.retire(pods.pop(0).name)
    namespace.wait_endpoints("llama", {pod.ip for pod in pods})
    compact(cluster)
    cluster.restart_apiserver()  # what its watch cache still had would hide it
    with pytest.raises(ApiError) as gone:
        cluster.request(
            "GET", namespace.slices, resourceVersion=version, resourceVersionMatch="Exact"
        )
    assert gone.value.status == 410
    relay.heal()
    proxy.wait_endpoints("llama", pods, BACK_OFF_S)
    name = "sluiced_discovery_relists_total"
    assert proxy.metric(name, pool="llama", cause="expired") == 1
    assert proxy.metric(name, pool="llama") == 1
