"""[callers]: which files are refused, each with one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protocol.ops.config import ConfigError, parse
from protocol.ops.values import Context
from tests.support.toml import merge, to_toml
from tunnel_hub.config import HubConfig

HASH = "sha256:" + "ab" * 32
BASE: dict[str, Any] = {
    "hub": {"id": "hub-1", "key_file": "hub.key"},
    "callers": {},
    "services": {"visits": {"paths": ["/nomisapi/"]}},
}
TOKENS = {"tokens": {"provisioning_keys": ["provisioning.pem"]}}
BOOKING = {"named": {"booking": {"api_keys": [HASH], "allow": {"visits": ["GET /nomisapi/**"]}}}}


def read(callers: dict[str, Any], over: dict[str, Any] | None = None) -> HubConfig:
    table = merge(merge(BASE, {"callers": callers}), over or {})
    return parse(to_toml(table), HubConfig, name="hub.toml", context=Context(Path("/none"), False, environ={}))


def problems(callers: dict[str, Any], over: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(callers, over)
    return [str(problem).removeprefix("hub.toml: ").removeprefix("callers.") for problem in caught.value.problems]


def test_a_way_to_authenticate_makes_it_required() -> None:
    assert read(BOOKING).callers.required
    assert read(TOKENS).callers.required
    assert read({**BOOKING, "authentication": "required"}).callers.required
    assert not read({**BOOKING, "authentication": "none"}).callers.required
    assert not read({"authentication": "none"}).callers.required


@pytest.mark.parametrize(
    ("callers", "expected"),
    [
        ({}, "authentication: must be said"),
        ({"authentication": "required"}, 'authentication: is "required", but no caller'),
        (
            {"oauth": {"x": {"issuer": "i", "audience": "a", "jwks": "http://h/j"}}},
            'authentication: is "required"',
        ),
        ({"named": {"booking": {}}}, "named.booking: has no way to authenticate"),
        ({"named": {"booking": {"api_keys": ["tk_secret"]}}}, "named.booking.api_keys[0]: is an API key itself"),
        ({"named": {"booking": {"api_keys": ["abc"]}}}, 'named.booking.api_keys[0]: "abc" is not "sha256:"'),
        ({"named": {"booking": {"tokens": ["x"]}}}, "named.booking.tokens: needs [callers.tokens]"),
        ({"named": {"booking": {"oauth": ["auth/x"]}}}, 'named.booking.oauth: "auth/x" is not ISSUER/CLIENT'),
        ({"named": {"booking": {"certificates": ["x"]}}}, "named.booking.certificates: needs client_ca"),
        (
            {"named": {"a": {"api_keys": [HASH]}, "b": {"api_keys": [HASH]}}},
            f'named.b.api_keys: "{HASH[:56]}... belongs to callers.named.a already',
        ),
        (
            merge(BOOKING, {"named": {"booking": {"allow": {"vists": ["GET /x"]}}}}),
            'named.booking.allow: no service is called "vists"; did you mean "visits"?',
        ),
        (
            merge(BOOKING, {"named": {"booking": {"allow": {"visits": ["GETT /x"]}}}}),
            "named.booking.allow.visits[0]: The rule 'GETT /x' names the unknown method",
        ),
        (
            merge(BOOKING, {"named": {"booking": {"allow": {"visits": ["GET /x%2fy"]}}}}),
            "named.booking.allow.visits: The rule 'GET /x%2fy' can never match",
        ),
        (merge(TOKENS, {"tokens": {"allow": {"x": ["GET /x"]}}}), 'tokens.allow: no service is called "x"'),
        (merge(BOOKING, {"named": {"booking": {"burst": 3}}}), "named.booking.burst: has no effect without rate"),
        ({"named": {"böoking": {"api_keys": [HASH]}}}, 'named."böoking": "böoking" is not a name'),
    ],
)
def test_mistakes(callers: dict[str, Any], expected: str) -> None:
    found = problems(callers)
    assert any(problem.startswith(expected) for problem in found), found
    assert not any("tk_secret" in problem for problem in found)


def test_an_exception_of_the_service_counts_for_its_rules() -> None:
    callers = merge(BOOKING, {"named": {"booking": {"allow": {"visits": ["GET /x%2fy"]}}}})
    assert read(callers, {"services": {"visits": {"allow_paths": ["%2f"]}}}).callers.named["booking"].allow


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ({"name_header": "Connection"}, "name_header"),
        ({"name_header": "X Y"}, "name_header"),
        ({"rename_headers": {"Elite-Authorization": "Transfer-Encoding"}}, "rename_headers.Elite-Authorization"),
        ({"rename_headers": {"Host": "X-Host"}}, "rename_headers.Host"),
        ({"rename_headers": {"Tunnel-Service": "X-S"}}, "rename_headers.Tunnel-Service"),
        ({"rename_headers": {"X-Who": "x-client-name"}}, "rename_headers.X-Who"),
        ({"name_header": "X-Caller", "rename_headers": {"X-Who": "X_Caller"}}, "rename_headers.X-Who"),
        ({"name_header": "X-Caller", "rename_headers": {"X-Caller": "X-Who"}}, "rename_headers.X-Caller"),
        ({"rename_headers": {"X-A": "X-New", "X-B": "x-new"}}, "rename_headers.X-B"),
    ],
)
def test_fields_that_cannot_be_renamed(table: dict[str, Any], place: str) -> None:
    found = problems(BOOKING, {"services": {"visits": table}})
    assert all(problem.startswith(f"services.visits.{place}") for problem in found)
