from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protocol.ops.urls import Url
from tunnel_hub.gateway.config import Callers, Named, OAuth, Tokens
from tunnel_hub.gateway.openness import NOT_AUTHENTICATED, PLAIN, UNUSED, doubts

FAR, FAR_TLS = Url("http", "keys.example", 80, "/x"), Url("https", "keys.example", 443, "/x")
NAMED = Named(api_keys=("sha256:" + "0" * 64,))


def oauth(url: Url) -> OAuth:
    return OAuth(issuer="https://auth.example/", audience="tunnel", jwks=url)


def tokens(url: Url | None) -> Tokens:
    return Tokens(provisioning_keys=(Path("key.pem"),), revocations=url)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"authentication": "none"}, [(NOT_AUTHENTICATED, {})]),
        ({"authentication": "none", "named": {"a": NAMED}}, [(NOT_AUTHENTICATED, {}), (UNUSED, {})]),
        ({"authentication": "none", "oauth": {"a": oauth(FAR)}}, [(NOT_AUTHENTICATED, {}), (UNUSED, {})]),
        ({"authentication": "none", "tokens": tokens(None)}, [(NOT_AUTHENTICATED, {}), (UNUSED, {})]),
        ({"named": {"a": NAMED}}, []),
        ({"tokens": tokens(None)}, []),
        ({"tokens": tokens(FAR_TLS), "oauth": {"a": oauth(FAR_TLS)}}, []),
        (
            {"tokens": tokens(Url("http", "127.0.0.1", 80, "/x")), "oauth": {"a": oauth(Url("http", "::1", 80))}},
            [],
        ),
        (
            {"tokens": tokens(FAR), "oauth": {"a": oauth(FAR), "b": oauth(FAR_TLS)}},
            [(PLAIN, {"feed": "revocations"}), (PLAIN, {"feed": "keys of a"})],
        ),
    ],
)
def test_what_is_said(table: dict[str, Any], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert list(doubts(Callers(**table))) == expected
