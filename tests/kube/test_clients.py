# SPDX-License-Identifier: Apache-2.0
"""Clients as people use them, over mutual TLS on both sides of sluiced, to pods that the cluster
knows.
"""

import json
import ssl
import subprocess

import httpx
import openai
import pytest
from sluiced import LOCAL, route

LABELS = {"app": "llama"}
IDENTITY = "spiffe://corp/ns/prod/sa/{}"
QUESTION = [{"role": "user", "content": "how are you?"}]


@pytest.fixture
def edge(namespace, fleet, start_sluiced, authority):
    """A sluiced that wants certificates of its clients, and pods that want its own."""
    server = authority.issue("edge", names=["127.0.0.1", "localhost"])
    upstream = authority.issue("sluiced", names=[IDENTITY.format("sluiced")])
    model = authority.issue("model", names=[IDENTITY.format("llama")])
    namespace.service("llama", LABELS)
    pod_tls = ",".join(str(path) for path in (*model, authority.ca))
    pods = [fleet.start(f"llama-{i}", LABELS, options=["--tls", pod_tls]) for i in range(2)]
    source = {"namespace": namespace.name, "service": "llama", "port": "http"}
    to_pods = {"ca": str(authority.ca), "cert": str(upstream[0]), "key": str(upstream[1])}
    to_pods["san"] = [IDENTITY.format("llama")]
    listener_tls = {"cert": str(server[0]), "key": str(server[1]), "client_ca": str(authority.ca)}
    listener_tls["client_san"] = [IDENTITY.format("app-*")]
    listener = {
        "name": "edge",
        "bind": LOCAL,
        "tls": listener_tls,
        "http": {"routes": route("llama")},
    }
    proxy = start_sluiced(
        listeners=[listener],
        pools={"llama": {"discover": {"kubernetes": source}, "tls": to_pods}},
    )
    proxy.wait_endpoints("llama", pods)
    return proxy


@pytest.fixture
def client_files(authority):
    """Certificate and key of an application that may call."""
    return authority.issue("app", names=[IDENTITY.format("app-1")])


def http_client(authority, files=None):
    """An httpx client that shows a certificate."""
    context = ssl.create_default_context(cafile=authority.ca)
    if files:
        context.load_cert_chain(*files)
    return httpx.Client(verify=context, timeout=10, trust_env=False)


def curl(*arguments):
    """Runs curl; returns its exit code and output."""
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "10",
        "--noproxy",
        "*",
        *map(str, arguments),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return result.returncode, result.stdout or result.stderr


def test_the_openai_client_completes_and_streams(edge, authority, client_files):
    with http_client(authority, client_files) as transport:
        base = edge.url("/v1", scheme="https")
        client = openai.OpenAI(
            base_url=base, api_key="unused", http_client=transport, max_retries=0
        )
        assert [model.id for model in client.models.list()] == ["llama"]
        answer = client.chat.completions.create(model="llama", messages=QUESTION, max_tokens=8)
        assert answer.choices[0].message.content and answer.usage.completion_tokens == 8
        stream = client.chat.completions.create(
            model="llama",
            messages=QUESTION,
            max_tokens=50,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) == 50
        assert chunks[-1].usage.completion_tokens == 50


def test_the_openai_client_gets_the_model_servers_own_errors(edge, authority, client_files):
    with http_client(authority, client_files) as transport:
        base = edge.url("/v1", scheme="https")
        client = openai.OpenAI(
            base_url=base, api_key="unused", http_client=transport, max_retries=0
        )
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="no-such-model", messages=QUESTION)


def test_curl_gets_an_answer_and_a_stream(edge, authority, client_files):
    identity = ("--cacert", authority.ca, "--cert", client_files[0], "--key", client_files[1])
    url = edge.url("/v1/chat/completions", scheme="https")
    ask = {"model": "llama", "messages": QUESTION, "max_tokens": 8}
    send = ("--json", json.dumps(ask))
    code, text = curl(*identity, "--fail", *send, url)
    assert code == 0 and json.loads(text)["choices"], text
    send = ("--json", json.dumps({**ask, "stream": True}))
    code, text = curl(*identity, "--fail", "--no-buffer", *send, url)
    assert code == 0 and text.rstrip().endswith("data: [DONE]"), text


def test_the_pod_sees_the_certificate_of_sluiced(edge, authority, client_files):
    with http_client(authority, client_files) as client:
        seen = client.get(edge.url("/echo", scheme="https")).json()["peer_certificate"]
    assert ["URI", IDENTITY.format("sluiced")] in [list(pair) for pair in seen["san"]]


def test_a_client_without_certificate_or_with_that_of_a_stranger_is_refused(
    edge, authority, tmp_path
):
    url = edge.url("/v1/models", scheme="https")
    code, text = curl("--cacert", authority.ca, url)
    assert code != 0, text
    wrong_name = authority.issue("wrong", names=[IDENTITY.format("other")])
    code, text = curl(
        "--fail", "--cacert", authority.ca, "--cert", wrong_name[0], "--key", wrong_name[1], url
    )
    assert code != 0, text
    stranger = type(authority)(tmp_path / "stranger", "another-ca").issue(
        "app", names=[IDENTITY.format("app-1")]
    )
    code, text = curl("--cacert", authority.ca, "--cert", stranger[0], "--key", stranger[1], url)
    assert code != 0, text


def test_a_pod_with_the_wrong_identity_gets_no_request(namespace, fleet, start_sluiced, authority):
    model = authority.issue("model", names=[IDENTITY.format("intruder")])
    namespace.service("llama", LABELS)
    pod = fleet.start("llama-0", LABELS, options=["--tls", ",".join(map(str, model))])
    source = {"namespace": namespace.name, "service": "llama", "port": "http"}
    to_pods = {"ca": str(authority.ca), "san": [IDENTITY.format("llama")]}
    proxy = start_sluiced(pools={"llama": {"discover": {"kubernetes": source}, "tls": to_pods}})
    proxy.wait_endpoints("llama", [pod])
    with httpx.Client(timeout=10, trust_env=False) as client:
        assert client.get(proxy.url("/v1/models")).status_code in (502, 503)
    assert pod.state()["requests"] == 0
