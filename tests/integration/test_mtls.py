# SPDX-License-Identifier: Apache-2.0
"""TLS on both sides: who is let in, whom we talk to, and that doubt means no."""

import json
import shutil
import ssl
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import pytest
import yaml

from lib.ca import Cert
from lib.config import config, listener, pool, route
from lib.sluiced import Sluiced, run_cli
from lib.wait import wait_until
from lib.wire import REFUSED, RawUpstream, Wire, answer_bytes

SPIFFE = "spiffe://corp/ns/prod/sa/"
SERVER_NAMES = {"dns": ["edge.test"], "ips": ["127.0.0.1"]}


@pytest.fixture
def secured(sluiced, upstream, ca) -> Callable[..., Sluiced]:
    """Starts a proxy whose edge has TLS; options go into its `tls:` section."""
    def start(**options: Any) -> Sluiced:
        cert = ca.issue("edge", **SERVER_NAMES)
        server = upstream([answer_bytes(b"inside")])
        tls = {"cert": cert.cert, "key": cert.key, **options}
        conf = config({"chat": pool(server.address)},
                      listeners=[listener([route("chat")], tls=tls)])
        proxy = sluiced(conf)
        proxy.upstream = server
        return proxy
    return start


def ask(proxy: Sluiced, context: ssl.SSLContext) -> bytes:
    """One request over TLS; one of REFUSED when the proxy does not want us."""
    with Wire(proxy.address("edge"), tls=context) as wire:
        answer = wire.ask("GET", "/")
        assert answer.status == 200, answer
        return answer.body


def check_refused(proxy: Sluiced, context: ssl.SSLContext) -> None:
    """The proxy refuses, counts it, and the upstream sees nothing."""
    with pytest.raises(REFUSED):
        ask(proxy, context)
    assert proxy.upstream.requests == []
    assert proxy.process.running()


# -- listener ----------------------------------------------------------------------------------


def test_tls_listener_serves_and_plaintext_is_refused(secured, ca):
    proxy = secured()
    assert ask(proxy, ca.client()) == b"inside"
    assert proxy.upstream.requests[0].get("x-forwarded-proto") == "https"
    with pytest.raises(REFUSED):
        with Wire(proxy.address("edge")) as wire:
            wire.ask("GET", "/")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(secured, ca, version):
    context = ca.client()
    context.minimum_version = context.maximum_version = version
    assert ask(secured(), context) == b"inside"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(secured, ca):
    context = ca.client()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    check_refused(secured(), context)


def test_min_version_refuses_an_older_one(secured, ca):
    context = ca.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    proxy = secured(min_version="1.3")
    check_refused(proxy, context)
    assert ask(proxy, ca.client()) == b"inside"


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_client_ca_lets_in_a_client_of_that_ca(secured, ca, version):
    context = ca.client(ca.issue("caller"))
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    assert ask(secured(client_ca=ca.path), context) == b"inside"


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("who", ["nobody", "other ca", "expired"])
def test_client_ca_refuses(secured, ca, other_ca, who, version):
    identity: Dict[str, Optional[Cert]] = {
        "nobody": None,
        "other ca": other_ca.issue("caller"),
        "expired": ca.issue("caller", expired=True),
    }
    context = ca.client(identity[who])
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    proxy = secured(client_ca=ca.path)
    check_refused(proxy, context)
    assert ask(proxy, ca.client(ca.issue("caller"))) == b"inside"


PATTERNS = [
    # pattern, names of the client, let in
    (SPIFFE + "*", {"uris": [SPIFFE + "edge"]}, True),
    (SPIFFE + "*", {"uris": ["spiffe://corp/ns/test/sa/edge"]}, False),
    (SPIFFE + "*", {"uris": [SPIFFE]}, False),
    (SPIFFE + "*", {"uris": [SPIFFE + "a/b"]}, False),
    (SPIFFE + "*", {"dns": ["spiffe.corp"]}, False),
    (SPIFFE + "*", {}, False),
    (SPIFFE + "edge", {"uris": [SPIFFE + "edge"]}, True),
    (SPIFFE + "edge", {"uris": [SPIFFE + "edge2"]}, False),
    ("app.prod.svc", {"dns": ["app.prod.svc"]}, True),
    ("app.prod.svc", {"dns": ["other.svc", "app.prod.svc"]}, True),
    ("app.prod.svc", {"dns": ["app.prod.svc.evil"]}, False),
    ("*.prod.svc", {"dns": ["app.prod.svc"]}, True),
    ("*.prod.svc", {"dns": ["a.b.prod.svc"]}, False),
    ("*.prod.svc", {"dns": ["prod.svc"]}, False),
    ("10.0.0.7", {"ips": ["10.0.0.7"]}, True),
    ("10.0.0.7", {"ips": ["10.0.0.8"]}, False),
    ("10.0.0.7", {"dns": ["x.test"]}, False),
]


@pytest.mark.parametrize("pattern,names,allowed", PATTERNS)
def test_client_san(secured, ca, pattern, names, allowed):
    proxy = secured(client_ca=ca.path, client_san=["never.test", pattern])
    context = ca.client(ca.issue("caller", **names))
    if allowed:
        assert ask(proxy, context) == b"inside"
    else:
        check_refused(proxy, context)


def test_common_name_is_no_identity(secured, ca):
    proxy = secured(client_ca=ca.path, client_san=["caller.test"])
    check_refused(proxy, ca.client(ca.issue("caller.test")))


def test_refused_handshakes_are_counted_and_shown(secured, ca):
    proxy = secured(client_ca=ca.path)
    check_refused(proxy, ca.client())
    wait_until(lambda: any("tls" in name and "fail" in name and value >= 1
                           for name, value in proxy.metrics().items()), 5,
               "the TLS failure in /metrics", proxy.metrics)


def test_new_certificate_is_served_after_a_reload(sluiced, upstream, ca, tmp_path):
    server = upstream([answer_bytes(b"inside")])
    first, second = ca.issue("one", **SERVER_NAMES), ca.issue("two", **SERVER_NAMES)
    live = Cert(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))

    def install(cert: Cert) -> None:
        shutil.copy(cert.cert, live.cert)
        shutil.copy(cert.key, live.key)

    def served() -> Any:
        with Wire(proxy.address("edge"), tls=ca.client()) as wire:
            return wire.sock.getpeercert()["subject"][0][0][1]

    install(first)
    tls = {"cert": live.cert, "key": live.key}
    conf = config({"chat": pool(server.address)}, listeners=[listener([route("chat")], tls=tls)])
    proxy = sluiced(conf)
    assert served() == "one"
    with Wire(proxy.address("edge"), tls=ca.client()) as kept:
        assert kept.ask("GET", "/").body == b"inside"
        install(second)
        assert proxy.reload(yaml.safe_dump(conf) + "# again\n")
        assert served() == "two"
        assert kept.ask("GET", "/").body == b"inside"


# -- upstream ----------------------------------------------------------------------------------


def upstream_tls(leaf: Cert, client_ca: Optional[str] = None) -> ssl.SSLContext:
    """A context for a scripted upstream."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.cert, leaf.key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


UPSTREAMS = [
    # names of the upstream's certificate, options of the pool's tls, who signed, trusted
    ({"ips": ["127.0.0.1"]}, {}, "ca", True),
    ({"dns": ["localhost"]}, {}, "ca", False),
    ({"ips": ["127.0.0.1"]}, {}, "other", False),
    ({"ips": ["127.0.0.1"], "expired": True}, {}, "ca", False),
    ({"uris": [SPIFFE + "llama"]}, {"san": [SPIFFE + "llama"]}, "ca", True),
    ({"uris": [SPIFFE + "llama"]}, {"san": [SPIFFE + "*"]}, "ca", True),
    ({"uris": [SPIFFE + "other"]}, {"san": [SPIFFE + "llama"]}, "ca", False),
    ({"ips": ["127.0.0.1"]}, {"san": [SPIFFE + "llama"]}, "ca", False),
    ({"dns": ["model.test"]}, {"sni": "model.test"}, "ca", True),
    ({"dns": ["other.test"]}, {"sni": "model.test"}, "ca", False),
]


@pytest.mark.parametrize("names,options,signer,trusted", UPSTREAMS)
def test_upstream_identity(sluiced, upstream, ca, other_ca, names, options, signer, trusted):
    leaf = (ca if signer == "ca" else other_ca).issue("model", **names)
    server: RawUpstream = upstream([answer_bytes(b"inside")], tls=upstream_tls(leaf))
    proxy = sluiced(config({"chat": pool(server.address, tls={"ca": ca.path, **options})}))
    with Wire(proxy.address("edge")) as wire:
        answer = wire.ask("POST", "/", b"secret")
    if trusted:
        assert (answer.status, answer.body) == (200, b"inside")
    else:
        assert answer.status in (502, 503)
        assert json.loads(answer.body)["error"]["reason"] in ("upstream_tls", "no_endpoint")
        assert server.requests == []


def test_upstream_is_shown_our_certificate(sluiced, model, ca):
    leaf = ca.issue("model", ips=["127.0.0.1"])
    server = model("--tls", f"{leaf.cert},{leaf.key},{ca.path}")
    ours = ca.issue("edge", uris=[SPIFFE + "edge"])
    tls = {"ca": ca.path, "cert": ours.cert, "key": ours.key}
    proxy = sluiced(config({"chat": pool(server.address, tls=tls, health={"http": "/health"})}))
    answer = proxy.get("/echo")
    assert answer.json()["peer_certificate"]["san"] == [["URI", SPIFFE + "edge"]]
    proxy.wait_health("chat", server.address, "up")


def test_upstream_that_wants_a_certificate_we_lack_is_502(sluiced, model, ca):
    leaf = ca.issue("model", ips=["127.0.0.1"])
    server = model("--tls", f"{leaf.cert},{leaf.key},{ca.path}")
    proxy = sluiced(config({"chat": pool(server.address, tls={"ca": ca.path})}))
    assert proxy.get("/echo").status in (502, 503)
    assert server.state()["requests"] == 0


def test_plaintext_upstream_behind_a_tls_pool_is_502(sluiced, upstream, ca):
    server = upstream([answer_bytes(b"inside")])
    proxy = sluiced(config({"chat": pool(server.address, tls={"ca": ca.path})}))
    assert proxy.get("/").status in (502, 503, 504)
    assert server.requests == []


# -- files -------------------------------------------------------------------------------------


def check_file(directory: Path, conf: Dict[str, Any]) -> Any:
    """`sluiced check` over a configuration."""
    path = directory / "sluiced.yaml"
    path.write_text(yaml.safe_dump(conf, sort_keys=False))
    return run_cli("check", "-c", str(path))


@pytest.mark.parametrize("key", ["cert", "key", "client_ca"])
def test_check_names_a_missing_file_of_a_listener(ca, tmp_path, key):
    cert = ca.issue("edge", **SERVER_NAMES)
    tls = {"cert": cert.cert, "key": cert.key, "client_ca": ca.path}
    tls[key] = str(tmp_path / "absent.pem")
    result = check_file(tmp_path, config(
        {"chat": pool("127.0.0.1:1")}, listeners=[listener([route("chat")], tls=tls)]))
    assert result.code == 2
    output = "\n".join(result.stderr + result.stdout)
    assert tls[key] in output and key in output, output


def test_check_names_a_missing_ca_of_a_pool(tmp_path):
    missing = str(tmp_path / "absent.pem")
    result = check_file(tmp_path, config({"chat": pool("127.0.0.1:1", tls={"ca": missing})}))
    assert result.code == 2
    assert missing in "\n".join(result.stderr + result.stdout)


def test_key_of_another_certificate_is_refused(ca, tmp_path):
    one, two = ca.issue("one", **SERVER_NAMES), ca.issue("two", **SERVER_NAMES)
    tls = {"cert": one.cert, "key": two.key}
    conf = config({"chat": pool("127.0.0.1:1")}, listeners=[listener([route("chat")], tls=tls)])
    assert check_file(tmp_path, conf).code == 2


def test_reload_with_a_missing_ca_keeps_the_old_one(secured, ca, tmp_path):
    proxy = secured(client_ca=ca.path)
    conf = yaml.safe_load(proxy.path.read_text())
    conf["listeners"][0]["tls"]["client_ca"] = str(tmp_path / "absent.pem")
    assert not proxy.reload(conf)
    assert "absent.pem" in proxy.status()["reload_error"]
    check_refused(proxy, ca.client())
    assert ask(proxy, ca.client(ca.issue("caller"))) == b"inside"
