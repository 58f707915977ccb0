"""`tunnel-hub check`, `explain` and `api-key` from outside: exit codes and sentences."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.credentials import READ, api_key
from tests.support.problems import assert_problem
from tests.support.process import run_once
from tests.support.tokens import Provisioner, private_pem
from tests.support.toml import merge, to_toml
from tests.support.tunnel import HOST, Tunnel

MakeGateway = Callable[..., Tunnel]
Table = dict[str, Any]
OWNER = api_key()
NAMED = {"api_keys": [OWNER.hash], "allow": {"visits": ["GET /nomisapi/**", "POST /nomisapi/*/booking"]}}


@pytest.fixture
def config(make_gateway: MakeGateway, tmp_path: Path) -> Callable[[Table], Path]:
    """Writes hub.toml with these [callers]."""
    sound = make_gateway({}).hub.config

    def write(callers: Table) -> Path:
        file = tmp_path / "hub.toml"
        file.write_text(to_toml(merge({**sound, "callers": {}}, {"callers": callers})))
        return file

    return write


def run(command: str, file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = run_once("tunnel_hub.cli", command, "--config", str(file), *arguments)
    assert "Traceback" not in done.stderr
    return done


OAUTH = {"issuer": "https://i/", "audience": "a", "jwks": "https://i/jwks"}
BAD: list[tuple[Table, list[str]]] = [
    ({}, ["callers.authentication", "must be said", 'authentication = "none"', "docs/gateway.md"]),
    ({"authentication": "required"}, ["callers.authentication", "no caller has a way", "docs/gateway.md"]),
    ({"named": {"a": {}}}, ["callers.named.a", "has no way to authenticate", "api_keys"]),
    ({"named": {"a": {"api_keys": ["tk_" + "x" * 43]}}}, ["callers.named.a.api_keys", "an API key itself"]),
    ({"named": {"a": {**NAMED, "alow": {}}}}, ["callers.named.a.alow", '"allow"']),
    ({"named": {"a": {**NAMED, "allow": {"visit": []}}}}, ["callers.named.a.allow", '"visits"']),
    ({"named": {"a": {**NAMED, "allow": {"visits": ["GET x"]}}}}, ["callers.named.a.allow.visits", "/x"]),
    ({"named": {"a": {**NAMED, "allow": {"visits": ["GET /%2e%2e/x"]}}}}, ["can never match"]),
    ({"named": {"a": NAMED, "b": NAMED}}, ["callers.named.b.api_keys", "belongs to callers.named.a already"]),
    ({"named": {"a": {"tokens": ["a"]}}}, ["callers.named.a.tokens", "needs [callers.tokens]"]),
    ({"named": {"a": {"oauth": ["i/a"]}}}, ["callers.named.a.oauth", "ISSUER/CLIENT"]),
    ({"oauth": {"i": OAUTH}}, ["callers.authentication", "no caller has a way"]),
    ({"named": {"a": {"certificates": ["a.b"]}}}, ["callers.named.a.certificates", "client_ca"]),
    (
        {"named": {"a": {"certificates": ["a.b"]}, "b": {"certificates": ["A.B"]}}},
        ["callers.named.b.certificates", "belongs to callers.named.a already"],
    ),
    (
        {"oauth": {"i": OAUTH, "j": {**OAUTH, "audience": "b"}}, "named": {"a": NAMED}},
        ["callers.oauth.j.issuer", "callers.oauth.i"],
    ),
    ({"named": {"a": {**NAMED, "burst": 5}}}, ["callers.named.a.burst", "rate"]),
    ({"tokens": {"provisioning_keys": ["no-such.pem"]}}, ["callers.tokens.provisioning_keys", "no-such.pem"]),
    ({"tokens": {"provisioning_keys": []}}, ["callers.tokens.provisioning_keys"]),
    ({"oauth": {"i": {**OAUTH, "algorithms": ["HS256"]}}, "named": {"a": NAMED}}, ["callers.oauth.i.algorithms"]),
    ({"oauth": {"i": {**OAUTH, "jwks": "https://u:pw0rd@i/"}}, "named": {"a": NAMED}}, ["callers.oauth.i.jwks"]),
]


@pytest.mark.parametrize(("callers", "words"), BAD, ids=[f"{n}-{words[0]}" for n, (_, words) in enumerate(BAD)])
def test_check_names_the_mistake(config: Callable[[Table], Path], callers: Table, words: list[str]) -> None:
    done = run("check", config(callers))
    assert done.returncode == 2, done.stdout
    lines = [line for line in done.stderr.splitlines() if all(word in line for word in words)]
    assert lines, done.stderr
    assert "hub.toml" in lines[0]
    assert "tk_xxx" not in done.stderr
    assert "pw0rd" not in done.stderr


def test_check_of_provisioning_keys(config: Callable[[Table], Path], tmp_path: Path) -> None:
    provisioner = Provisioner()
    key = tmp_path / "key.pem"
    for text, code in (
        (provisioner.public_pem, 0),
        (private_pem(provisioner.key), 2),
        ("nonsense", 2),
    ):
        key.write_text(text)
        done = run("check", config({"tokens": {"provisioning_keys": [str(key)], "allow": READ}}))
        assert done.returncode == code, done.stderr
        assert "PRIVATE" not in done.stderr
        assert ("key.pem" in done.stderr) == (code == 2)


def test_check_of_a_sound_file(config: Callable[[Table], Path]) -> None:
    done = run("check", config({"named": {"booking": NAMED}}))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("hub.toml: fine (1 services, 1 agents, 1 callers)\n")


EXPLAINED = [
    ("GET", "/nomisapi/offenders/A1484AE", 0, "allowed. Allowed by the rule 'GET /nomisapi/**'."),
    ("HEAD", "/nomisapi/x?y=/../", 0, "allowed. Allowed by the rule 'GET /nomisapi/**'."),
    ("POST", "/nomisapi/1/booking", 0, "allowed. Allowed by the rule 'POST /nomisapi/*/booking'."),
    ("POST", "/nomisapi/x", 1, "refused. The path is allowed for GET, HEAD only."),
    ("GET", "/heapdump", 1, "refused. No rule allows this path."),
    ("GET", "/nomisapi/%2e%2e/x", 1, "refused. The path holds a dot segment, which no rule can allow."),
    ("TRACE", "/nomisapi/x", 1, "refused. TRACE is never allowed."),
]


def test_explain_says_what_the_gate_does(make_gateway: MakeGateway) -> None:
    tunnel = make_gateway({"named": {"booking": NAMED}}).start()
    for method, path, code, sentence in EXPLAINED:
        done = run("explain", tunnel.hub.config_file, "--caller", "booking", "--service", "visits", method, path)
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stdout == f"booking at visits: {sentence}\n"
        if method != "TRACE":
            status = tunnel.fetch(
                path, OWNER.field, method=method, body=b"{}" if method == "POST" else None
            ).status
            assert (status == 200) == (code == 0), (method, path, status)


def test_explain_of_names(config: Callable[[Table], Path]) -> None:
    file = config(
        {"named": {"booking": NAMED, "leaver": {**NAMED, "api_keys": [api_key().hash], "enabled": False}}}
    )
    unknown = run("explain", file, "--caller", "bookin", "GET", "/nomisapi/x")
    assert unknown.returncode == 2
    assert 'no caller is called "bookin"' in unknown.stderr
    assert '"booking"' in unknown.stderr
    nowhere = run("explain", file, "--caller", "booking", "GET", "/x")
    assert nowhere.returncode == 2
    assert "--service: visits" in nowhere.stderr
    service = run("explain", file, "--caller", "booking", "--service", "visit", "GET", "/x")
    assert service.returncode == 2
    assert '"visits"' in service.stderr
    leaver = run("explain", file, "--caller", "leaver", "GET", "/nomisapi/x")
    assert leaver.returncode == 1
    assert "switched off" in leaver.stdout
    by_path = run("explain", file, "--caller", "booking", "GET", "/nomisapi/x")
    assert (by_path.returncode, by_path.stdout[:18]) == (0, "booking at visits:")


def test_explain_needs_no_files(config: Callable[[Table], Path]) -> None:
    tokens = {"provisioning_keys": ["elsewhere.pem"], "allow": READ}
    file = config({"tokens": tokens, "named": {"booking": {"tokens": ["visits"], "allow": READ}}})
    done = run("explain", file, "--caller", "booking", "GET", "/nomisapi/x")
    assert done.returncode == 0, done.stderr
    assert "The path list of its client token must match as well." in done.stdout


def test_a_key_from_the_command_is_let_in(make_gateway: MakeGateway) -> None:
    done = run_once("tunnel_hub.cli", "api-key")
    assert done.returncode == 0
    found = re.fullmatch(r"key:  (tk_[A-Za-z0-9_-]{43})\nhash: (sha256:[0-9a-f]{64})\n", done.stdout)
    assert found
    assert found[2] == "sha256:" + sha256(found[1].encode()).hexdigest()
    assert found[1] not in done.stderr
    tunnel = make_gateway({"named": {"booking": {"api_keys": [found[2]], "allow": READ}}}).start()
    assert tunnel.fetch("/nomisapi/x", f"X-Api-Key: {found[1]}", host=HOST).status == 200
    assert_problem(tunnel.fetch("/nomisapi/x", f"X-Api-Key: {found[2]}"), 401)
    assert run_once("tunnel_hub.cli", "api-key").stdout != done.stdout
