"""What `tunnel-hub check --client-token` says of a token."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.ops.config import parse
from protocol.ops.values import Context
from tests.support.tokens import Provisioner
from tests.support.toml import to_toml
from tunnel_hub.config import HubConfig
from tunnel_hub.gateway.inspect import TokenFileError, inspect

Say = Callable[..., list[str]]


@pytest.fixture
def provisioner() -> Provisioner:
    return Provisioner()


@pytest.fixture
def say(tmp_path: Path, provisioner: Provisioner) -> Say:
    (tmp_path / "provisioning.pem").write_text(provisioner.public_pem)

    def say(token: bytes, *, tokens: bool = True, allow: bool = False) -> list[str]:
        callers: dict[str, Any] = {"named": {"booking": {"api_keys": ["sha256:" + "ab" * 32]}}}
        if tokens:
            callers["tokens"] = {"provisioning_keys": ["provisioning.pem"]}
            callers["named"]["money"] = {"tokens": ["Prisoner Money"], "allow": {"visits": ["GET /**"]}}
            if allow:
                callers["tokens"]["allow"] = {"visits": ["GET /**"]}
        table = {
            "hub": {"id": "h", "key_file": "hub.key"},
            "services": {"visits": {"paths": ["/"]}},
            "callers": callers,
        }
        config = parse(to_toml(table), HubConfig, name="hub.toml", context=Context(tmp_path, False, environ={}))
        (tmp_path / "token").write_bytes(token + b"\n")
        return list(inspect(config, tmp_path / "token", time.time()))

    return say


def test_whose_it_is_and_what_matches_too_much(say: Say, provisioner: Provisioner) -> None:
    client = provisioner.client("Prisoner Money", ("^/nomisapi/health$", "/nomisapi/.*", "^/a|b$"))
    first, second, *warnings = say(client.token)
    assert 'client "Prisoner Money" until ' in first
    assert client.fingerprint in first
    assert second == "  is the caller money, with rules for visits"
    assert len(warnings) == 2
    assert "'/nomisapi/.*' is not anchored" in warnings[0]


def test_a_client_that_no_table_names(say: Say, provisioner: Provisioner) -> None:
    client = provisioner.client("licences")
    assert "it is refused" in say(client.token)[1]
    assert say(client.token, allow=True)[1] == "  is the caller licences, with rules for visits"
    assert "it is refused" in say(provisioner.client("booking").token, allow=True)[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: Provisioner().client("x").token, "none of the provisioning keys"),
        (lambda p: b"tk_not-a-token", "three parts"),
        (lambda p: p.client("x", now=1.0).token, "expired"),
        (lambda p: b"\xff\xfe", "cannot be read as a token"),
    ],
)
def test_what_is_no_token_here(
    say: Say, provisioner: Provisioner, make: Callable[[Provisioner], bytes], words: str
) -> None:
    token = make(provisioner)
    with pytest.raises(TokenFileError) as caught:
        say(token)
    assert words in str(caught.value)
    assert token.decode("latin-1") not in str(caught.value)


def test_without_a_table_for_tokens(say: Say, provisioner: Provisioner) -> None:
    with pytest.raises(TokenFileError, match=r"no \[callers.tokens\]"):
        say(provisioner.client("x").token, tokens=False)
