# SPDX-License-Identifier: Apache-2.0
"""The API server restarts, forgets, refuses: the last known endpoints serve on, and the truth is
found again.
"""

import signal

import pytest
from process import eventually

LABELS = {"app": "llama", "version": "v1"}
RECONNECT_S = 30  # bounds the back-off of sluiced and the start of the controllers


def pools(namespace):
    source = {"namespace": namespace.name, "service": "llama", "port": "http"}
    return {"llama": {"discover": {"kubernetes": source}}}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_a_restart_of_the_api_server_is_not_noticed_by_clients(
    cluster, namespace, fleet, start_sluiced, number, start_load
):
    namespace.service("llama", {"app": "llama"})
    first = fleet.start("llama-1", LABELS)
    proxy = start_sluiced(pools=pools(namespace))
    proxy.wait_endpoints("llama", [first])
    load = start_load(proxy.address(), clients=4, seconds=90)
    cluster.stop_apiserver(number)
    assert proxy.addresses("llama") == {first.address}, (
        "without an API server the last endpoints stay"
    )
    done = load.report.requests
    eventually(lambda: load.report.requests > done + 50, "requests go on without an API server")
    assert proxy.ready()
    cluster.start_apiserver()
    second = fleet.start("llama-2", LABELS)
    proxy.wait_endpoints("llama", [first, second], RECONNECT_S)
    report = load.stop()
    assert report.failures == [], str(report)


def test_what_happened_while_the_watch_was_cut_and_its_history_lost_is_found_by_a_new_list(
    cluster, namespace, fleet, start_sluiced, relay, through_relay
):
    namespace.service("llama", {"app": "llama"})
    gone, stays = fleet.start("llama-1", LABELS), fleet.start("llama-2", LABELS)
    proxy = start_sluiced(pools=pools(namespace), env=through_relay)
    proxy.wait_endpoints("llama", [gone, stays])
    relay.cut()
    fleet.retire("llama-1", pre_stop=0.0)
    new = fleet.start("llama-3", LABELS)
    namespace.wait_endpoints("llama", {stays.ip, new.ip})
    # Its watch cache starts empty: the version that sluiced has seen is answered by 410.
    cluster.restart_apiserver()
    assert proxy.addresses("llama") == {gone.address, stays.address}
    relay.heal()
    proxy.wait_endpoints("llama", [stays, new], 30)


def test_watches_of_many_pools_share_one_connection_and_find_a_new_one(
    namespace, fleet, start_sluiced, relay, through_relay
):
    namespace.service("llama", {"app": "llama"})
    first = fleet.start("llama-1", LABELS)
    names = [f"llama-{i}" for i in range(30)]
    many = {name: pools(namespace)["llama"] for name in names}
    split = [{"name": "all", "match": {"path": "/"}, "split": {name: 1 for name in names}}]
    proxy = start_sluiced(pools=many, routes=split, env=through_relay)
    for name in names:
        proxy.wait_endpoints(name, [first])
    assert relay.accepted == 1, "lists and watches are streams of one connection"
    relay.cut()
    second = fleet.start("llama-2", LABELS)
    relay.heal()
    for name in names:
        proxy.wait_endpoints(name, [first, second], RECONNECT_S)


def test_a_cut_watch_resumes_and_misses_no_event(
    namespace, fleet, start_sluiced, relay, through_relay
):
    namespace.service("llama", {"app": "llama"})
    first = fleet.start("llama-1", LABELS)
    proxy = start_sluiced(pools=pools(namespace), env=through_relay)
    proxy.wait_endpoints("llama", [first])
    second = fleet.start("llama-2", LABELS)
    for ready in (False, True, False):
        relay.cut()
        namespace.set_ready("llama-1", ready)
        namespace.wait_endpoints("llama", {first.ip, second.ip} if ready else {second.ip})
        relay.heal()
        proxy.wait_endpoints("llama", [first, second] if ready else [second], 30)


def test_a_proxy_that_starts_before_the_api_server_becomes_ready_with_it(
    namespace, fleet, start_sluiced, relay, through_relay
):
    namespace.service("llama", {"app": "llama"})
    pod = fleet.start("llama-1", LABELS)
    relay.cut()
    proxy = start_sluiced(pools=pools(namespace), env=through_relay)
    eventually(lambda: relay.accepted > 0, "it tries to connect")
    assert not proxy.pool("llama")["discovery"]["synced"] and not proxy.ready()
    relay.heal()
    proxy.wait_endpoints("llama", [pod], 30)
    assert proxy.ready()


def test_a_token_that_was_replaced_in_its_file_is_used_from_then_on(
    cluster, namespace, fleet, start_sluiced, relay, through_relay, tmp_path
):
    namespace.service("llama", {"app": "llama"})
    first = fleet.start("llama-1", LABELS)
    account = namespace.service_account(tmp_path / "account", namespace.token(bound_secret="old"))
    proxy = start_sluiced(
        kubernetes={"service_account": str(account.directory)},
        env=through_relay,
        pools=pools(namespace),
    )
    proxy.wait_endpoints("llama", [first])
    account.write(namespace.account_files(namespace.token(bound_secret="new")))
    cluster.delete(f"{namespace.core}/secrets/old")
    relay.cut()
    cluster.restart_apiserver()  # forgets that it had accepted the old token
    relay.heal()
    second = fleet.start("llama-2", LABELS)
    proxy.wait_endpoints("llama", [first, second], RECONNECT_S)


def test_a_right_that_is_missing_or_taken_away_keeps_the_endpoints_and_is_retried(
    cluster, namespace, fleet, start_sluiced, relay, through_relay
):
    namespace.service("llama", {"app": "llama"})
    first = fleet.start("llama-1", LABELS)
    proxy = start_sluiced(pools=pools(namespace), env=through_relay)
    proxy.wait_endpoints("llama", [first])
    binding = (
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace.name}/rolebindings/discover"
    )
    document = cluster.request("GET", binding)
    cluster.delete(binding)
    relay.cut()  # an open watch goes on without rights: only a new request is refused
    second = fleet.start("llama-2", LABELS)
    seen = relay.accepted
    relay.heal()
    eventually(lambda: relay.accepted > seen, "it tries again", 30)
    eventually(
        lambda: "403" in proxy.pool("llama")["discovery"]["last_error"], "it is refused", 30
    )
    assert set(proxy.served_by(5)) == {first.address}
    cluster.apply(
        {k: document[k] for k in ("apiVersion", "kind", "roleRef", "subjects")}
        | {"metadata": {"name": "discover", "namespace": namespace.name}}
    )
    proxy.wait_endpoints("llama", [first, second], 60)
