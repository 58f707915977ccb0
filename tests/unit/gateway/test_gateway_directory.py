"""Whose proof is whose: a name alone never makes a caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protocol.ops.config import parse
from protocol.ops.values import Context
from tests.support.toml import to_toml
from tunnel_hub.config import HubConfig
from tunnel_hub.gateway import directory
from tunnel_hub.gateway.directory import Directory
from tunnel_hub.gateway.grant import Grant

HASH = "sha256:" + "ab" * 32


def make(callers: dict[str, Any], before: Directory | None = None) -> Directory:
    table = {
        "hub": {"id": "hub-1", "key_file": "hub.key"},
        "services": {"visits": {"paths": ["/nomisapi/"]}},
        "callers": callers,
    }
    context = Context(Path("/none"), False, environ={})
    config = parse(to_toml(table), HubConfig, name="hub.toml", context=context)
    return Directory(config.callers, config.services, before)


def callers(tokens_allow: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "tokens": {
            "provisioning_keys": ["p.pem"],
            **({"allow": {"visits": ["GET /nomisapi/**"]}} if tokens_allow else {}),
        },
        "oauth": {"auth": {"issuer": "i", "audience": "a", "jwks": "http://h/j"}},
        "named": {
            "booking": {"api_keys": [HASH], "allow": {"visits": ["* /**"]}, **more},
            "money": {"tokens": ["Prisoner Money"], "oauth": ["auth/money-client"]},
        },
    }


def token(name: str) -> Grant:
    return Grant(name, "token", "print")


def oauth(client: str, issuer: str = "auth") -> Grant:
    return Grant(client, "oauth", f"{issuer}/{client}", issuer=issuer)


def test_each_proof_leads_to_its_own_table() -> None:
    people = make(callers())

    def name_of(grant: Grant) -> str:
        policy = people.find(grant)
        return "" if policy is None else policy.name

    assert name_of(Grant("booking", "api_key", HASH)) == "booking"
    assert name_of(token("Prisoner Money")) == "money"
    assert name_of(oauth("money-client")) == "money"
    assert name_of(oauth("booking")) == ""
    assert name_of(oauth("money-client", "other")) == ""


def test_a_token_cannot_take_the_name_of_somebody_with_another_proof() -> None:
    assert make(callers()).find(token("booking")) is None
    assert make(callers()).find(token("money")) is None


def test_clients_without_a_table_have_the_tokens_rules() -> None:
    people = make(callers())
    policy = people.find(token("licences"))
    assert policy is not None
    assert policy.allow["visits"].allows(b"GET", b"/nomisapi/x")
    assert not policy.allow["visits"].allows(b"POST", b"/nomisapi/x")
    assert people.find(token("licences")) is policy
    assert make(callers(tokens_allow=False)).find(token("licences")) is None


def test_those_met_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "TOKEN_CLIENTS_MAX", 3)
    people = make(callers())
    for number in range(10):
        assert people.find(token(f"client {number}")) is not None
    assert len(list(people)) == 2 + 3


def test_counters_and_rates_go_on_over_a_reload() -> None:
    before = make(callers(rate=2))
    policy = before.find(Grant("booking", "api_key", HASH))
    assert policy is not None
    policy.outcomes[200] += 3
    assert [policy.take(5.0) for _ in range(5)] == [True] * 4 + [False]
    after = make(callers(rate=2), before).find(Grant("booking", "api_key", HASH))
    assert after is not None
    assert after.outcomes == {200: 3}
    assert not after.take(5.0)
    assert after.take(5.5)
