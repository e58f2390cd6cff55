# SPDX-License-Identifier: Apache-2.0
"""The command line as somebody finds it who has not read about it: help, and what is told of wrong
arguments and of a process that cannot be asked."""

import subprocess
from typing import List

import pytest
import yaml

from lib.config import config, pool
from lib.sluiced import ROOT, binary, run_cli
from lib.wire import answer_bytes

VERBS = ["run", "check", "status", "endpoints", "reload", "drain", "version"]
ASK = ["status", "endpoints", "reload", "drain"]  # a running process


def usage() -> List[str]:
    """What help says."""
    result = run_cli("help")
    assert (result.code, result.stderr) == (0, []), result.log()
    return result.stdout


def test_help_names_each_verb_and_the_exit_codes():
    text = "\n".join(usage())
    for verb in VERBS:
        assert f"sluiced [{verb}]" in text or f"sluiced {verb}" in text
    assert usage()[-1].startswith("Exit code: 0 ")
    for flag in ("-h", "--help"):
        assert run_cli(flag).stdout == usage()


def test_readme_shows_the_help():
    block = "\n".join(f"    {line}" for line in usage())
    assert f"\n\n{block}\n\n" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_about_that_verb(verb):
    result = run_cli(verb, "--help")
    assert (result.code, result.stderr) == (0, []), result.log()
    assert result.stdout == run_cli("help", verb).stdout == run_cli(verb, "-h").stdout
    text = "\n".join(result.stdout)
    assert text.startswith(f"usage: sluiced {'[run]' if verb == 'run' else verb}")
    assert not [other for other in VERBS if other != verb and f"sluiced {other}" in text]
    assert ("PROC, the running process" in text) == (verb in ASK)


def test_help_may_come_last():
    assert run_cli("drain", "a-pod", "--wait", "--help").stdout == run_cli("help", "drain").stdout


@pytest.mark.parametrize("argv, said", [
    ([], "-c FILE is missing"),
    (["run"], "-c FILE is missing"),
    (["check", "--admin", "127.0.0.1:1"], "-c FILE is missing"),
    (["check", "-c", "x", "--admin", "127.0.0.1:1"], "--admin is for --diff"),
    *[([verb], "-c FILE or --admin ADDRESS:PORT is missing") for verb in ASK],
    *[([verb, "-c", "x", "--admin", "127.0.0.1:1"], "give one of them") for verb in ASK],
    (["status", "--admin"], "a value is missing after --admin"),
    (["status", "--admin", "here"], '--admin: expected an address with a port, found "here"'),
    (["status", "--wait"], "--wait is for another verb"),
    (["status", "a-pod", "-c", "x"], "unknown argument a-pod"),
    (["version", "-c", "x"], "-c is for another verb"),
    (["version", "x"], "unknown argument x"),
    (["drain", "--undo", "--admin", "127.0.0.1:1"], "--undo is for an endpoint"),
    (["nonsense"], "unknown verb nonsense"),
    (["nonsense", "--help"], "unknown verb nonsense"),
    (["help", "nonsense"], "unknown verb nonsense"),
    (["statsu"], "unknown verb statsu; did you mean status?"),
    (["help", "drian"], "unknown verb drian; did you mean drain?"),
], ids=" ".join)
def test_wrong_arguments_are_told_first_and_exit_with_two(argv, said):
    result = run_cli(*argv)
    assert (result.code, result.stdout) == (2, []), result.log()
    assert said in result.stderr[0], result.log()


def test_wrong_arguments_show_the_usage_of_their_verb():
    result = run_cli("drain", "--bogus")
    assert result.stderr[1:] == run_cli("help", "drain").stdout
    assert run_cli("nonsense").stderr[1:] == usage()


def test_version_is_told_by_verb_and_by_flag():
    assert run_cli("--version").stdout == run_cli("version").stdout
    assert run_cli("version").stdout[0].startswith("sluiced ")


def test_output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([binary(), "help"], stdout=full, stderr=subprocess.PIPE, timeout=20,
                              check=False)
    assert done.returncode == 1 and b"could not be written" in done.stderr


@pytest.mark.parametrize("listen, said", [
    (None, "admin.listen is not set"),
    ("127.0.0.1:0", "ask it with --admin ADDRESS:PORT"),
    ("unix:/run/absent.sock", "curl --unix-socket /run/absent.sock http://localhost/"),
])
@pytest.mark.parametrize("verb", ASK)
def test_an_admin_listener_that_cannot_be_asked_says_what_can(tmp_path, verb, listen, said):
    conf = config({"chat": pool("127.0.0.1:1")})
    conf["admin"] = {"listen": listen} if listen else {}
    path = tmp_path / "sluiced.yaml"
    path.write_text(yaml.safe_dump(conf))
    result = run_cli(verb, "-c", str(path))
    assert result.code in (1, 2) and result.stdout == [], result.log()
    assert said in result.log()


@pytest.mark.parametrize("verb", ASK)
def test_a_listener_that_is_not_admin_is_told_by_its_answer(sluiced, verb):
    proxy = sluiced(config({"chat": pool("127.0.0.1:1")}))
    result = run_cli(verb, "--admin", proxy.address("probes"))
    assert result.code == 1 and result.stdout == [], result.log()
    assert result.stderr == ["404: not found"]
    assert not proxy.status()["draining"]


@pytest.mark.parametrize("body", [b"<html>", b"{}", b""])
@pytest.mark.parametrize("verb", ASK)
def test_an_answer_of_somebody_else_is_not_taken_for_ours(upstream, verb, body):
    result = run_cli(verb, "--admin", upstream([answer_bytes(body)]).address)
    assert result.code == 1 and result.stdout == [], result.log()
    assert "sluiced" in result.stderr[0]


def test_a_refusal_does_not_steer_the_terminal(upstream):
    server = upstream([answer_bytes(b"\x1b[2Jno\r\n", "418 I'm a teapot")])
    result = run_cli("status", "--admin", server.address)
    assert (result.code, result.stderr) == (1, ["418: ?[2Jno"]), result.log()


def test_a_refused_reload_shows_its_error_as_lines(upstream):
    body = b'{"error":"a.yaml:1:1: x: unknown key\\na.yaml:2:1: y: unknown key"}'
    server = upstream([answer_bytes(body, "422 Unprocessable Content")])
    result = run_cli("reload", "--admin", server.address)
    assert result.code == 1, result.log()
    assert result.stderr == ["422: a.yaml:1:1: x: unknown key", "a.yaml:2:1: y: unknown key"]
