"""OAuth2 client-credentials tokens from an issuer that rotates its keys and is not always there."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.credentials import READ, bearer, oauth_table, wait_keys
from tests.support.issuer import Issuer, new_key
from tests.support.metrics import metric
from tests.support.problems import assert_problem
from tests.support.tokens import ABSENT
from tests.support.tunnel import Tunnel
from tests.support.waiting import wait_until

MakeGateway = Callable[..., Tunnel]
PATH = "/nomisapi/x"
INVALID = "The bearer token is not valid: its form or its signature does not hold."


@pytest.fixture
def make(make_gateway: MakeGateway, issuer: Issuer) -> Callable[..., Tunnel]:
    def make(**more: object) -> Tunnel:
        tunnel = make_gateway(
            {
                "oauth": {"platform": oauth_table(issuer, **more)},
                "named": {"visits-public": {"oauth": ["platform/visits-api"], "allow": READ}},
            }
        ).start()
        if issuer.jwks.mode == "ok":
            wait_keys(tunnel, issuer)
        return tunnel

    return make


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256"])
def test_a_token_of_the_issuer(make_gateway: MakeGateway, algorithm: str) -> None:
    issuer = Issuer(algorithm)
    try:
        tunnel = make_gateway(
            {
                "oauth": {"platform": oauth_table(issuer)},
                "named": {"visits-public": {"oauth": ["platform/visits-api"], "allow": READ}},
            }
        ).start()
        wait_keys(tunnel, issuer)
        verified = metric(tunnel.hub, "tunnel_hub_credentials_verified_total", means="oauth")
        field = bearer(issuer.token("visits-api"))
        with tunnel.raw() as caller:
            for _ in range(3):
                assert caller.get(PATH, field).status == 200
        seen = tunnel.upstream.ledger[-1]
        assert seen.get("x-client-name") == "visits-public", "the table's name, not the issuer's"
        assert not seen.has("authorization")
        assert metric(tunnel.hub, "tunnel_hub_credentials_verified_total", means="oauth") == verified + 1
        assert metric(tunnel.hub, "tunnel_hub_feed_age_seconds", feed="keys of platform") < 60
    finally:
        issuer.close()


def test_what_is_wrong_with_a_token(make: Callable[..., Tunnel], issuer: Issuer) -> None:
    tunnel = make()
    other = new_key(issuer.keys[-1].kid, "RS256")
    said = {
        "audience": issuer.token(audience="another"),
        "expired": issuer.token(lifetime=-20),
        "does not hold yet": issuer.token(payload={"nbf": time.time() + 60}),
        "future": issuer.token(payload={"iat": time.time() + 60}),
        "no exp": issuer.token(payload={"exp": ABSENT}),
        "names no caller": issuer.token(payload={"client_id": ABSENT, "sub": ABSENT}),
    }
    for words, token in said.items():
        assert words in assert_problem(tunnel.fetch(PATH, bearer(token)), 401, code="unauthenticated")["detail"]
    forged = [
        issuer.token(key=other.key),
        issuer.token(header={"alg": "none"}, algorithm="none"),
        issuer.token(header={"alg": "HS256"}, key=b"public key as a secret", algorithm="HS256"),
        issuer.token(header={"typ": "dpop+jwt"}),
        issuer.token(header={"crit": ["exp"]}),
        issuer.token()[:-8] + b"AAAAAAAA",
    ]
    for token in forged:
        assert assert_problem(tunnel.fetch(PATH, bearer(token)), 401)["detail"] == INVALID
    strange = assert_problem(tunnel.fetch(PATH, bearer(issuer.token(payload={"iss": "https://evil/"}))), 401)
    assert strange["detail"].startswith("The request shows no credentials that this hub takes")
    unknown = assert_problem(tunnel.fetch(PATH, bearer(issuer.token("stranger"))), 403, code="forbidden")
    assert 'the hub knows no caller for "stranger": ask its operators to add it' in unknown["detail"]
    assert tunnel.upstream.ledger == []


def test_a_token_expires_on_an_open_connection(make: Callable[..., Tunnel], issuer: Issuer) -> None:
    tunnel = make(skew="0s")
    field = bearer(issuer.token(lifetime=4))
    with tunnel.raw() as caller:
        assert caller.get(PATH, field).status == 200
        wait_until(lambda: caller.get(PATH, field).status == 401, "its end", 8.0)
        assert "expired" in assert_problem(caller.get(PATH, field), 401)["detail"]


def test_keys_rotate(make: Callable[..., Tunnel], issuer: Issuer) -> None:
    """A new key is fetched when a token names it, long before the next interval; a withdrawn one is void."""
    tunnel = make(jwks_interval="1h")
    old = issuer.keys[-1]
    assert tunnel.fetch(PATH, bearer(issuer.token())).status == 200
    new = issuer.rotate(keep=1)
    fetched = len(issuer.jwks.requests)
    field = bearer(issuer.token(by=new))
    statuses: list[int] = []

    def served() -> bool:
        answer = tunnel.fetch(PATH, field)
        statuses.append(answer.status)
        if answer.status != 200:
            assert_problem(answer, 503, code="authentication_unavailable")
        return answer.status == 200

    wait_until(served, "the new key")
    assert tunnel.fetch(PATH, bearer(issuer.token(by=old))).status == 200
    assert len(issuer.jwks.requests) == fetched + 1


def test_a_withdrawn_key_is_void(make: Callable[..., Tunnel], issuer: Issuer) -> None:
    tunnel = make()
    old = issuer.keys[-1]
    issuer.rotate(keep=0)

    def void() -> bool:
        answer = tunnel.fetch(PATH, bearer(issuer.token(by=old)))  # a fresh one each time
        return answer.status == 401 and assert_problem(answer, 401)["detail"] == INVALID

    wait_until(lambda: tunnel.fetch(PATH, bearer(issuer.token())).status == 200, "the new key")
    wait_until(void, "the old key's end", 20)


def test_an_outage_after_the_first_fetch(make: Callable[..., Tunnel], issuer: Issuer) -> None:
    tunnel = make()
    assert tunnel.fetch(PATH, bearer(issuer.token())).status == 200
    for mode in ("down", "garbage", "error"):
        failures = metric(tunnel.hub, "tunnel_hub_feed_failures_total", feed="keys of platform")
        issuer.jwks.mode = mode  # type: ignore[assignment]
        issuer.drop()

        def failed(before: float = failures) -> bool:
            return metric(tunnel.hub, "tunnel_hub_feed_failures_total", feed="keys of platform") > before

        wait_until(failed, f"a failure: {mode}", 15)
        assert tunnel.fetch(PATH, bearer(issuer.token())).status == 200, mode
    wait_until(lambda: metric(tunnel.hub, "tunnel_hub_feed_age_seconds", feed="keys of platform") > 2, "its age")


def test_an_issuer_that_was_never_reached(make: Callable[..., Tunnel], issuer: Issuer) -> None:
    """Not 401, which callers take for final: 503, and again later."""
    issuer.jwks.mode = "down"
    tunnel = make()
    field = bearer(issuer.token())
    answer = tunnel.fetch(PATH, field)
    document = assert_problem(answer, 503, code="authentication_unavailable", origin="hub")
    assert "has not read the keys of the token's issuer yet" in document["detail"]
    assert int(answer.get("retry-after") or 0) >= 1
    assert tunnel.upstream.ledger == []
    assert_problem(tunnel.fetch(PATH), 401)
    tunnel.hub.wait_log("a feed fails", "keys of platform")
    issuer.jwks.mode = "ok"
    wait_until(lambda: tunnel.fetch(PATH, field).status == 200, "the issuer's keys")


def test_unknown_keys_do_not_hammer_the_issuer(make: Callable[..., Tunnel], issuer: Issuer) -> None:
    tunnel = make(jwks_interval="1h")
    assert tunnel.fetch(PATH, bearer(issuer.token())).status == 200
    before = len(issuer.jwks.requests)
    statuses = {
        tunnel.fetch(PATH, bearer(issuer.token(header={"kid": f"none-{number}"}))).status for number in range(20)
    }
    assert statuses <= {401, 503}
    assert len(issuer.jwks.requests) <= before + 1
    assert tunnel.fetch(PATH, bearer(issuer.token())).status == 200
