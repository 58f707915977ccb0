"""The mints of credentials make what a client's own software makes, and record every secret."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import jwt
import pytest

from tests.support import tokens
from tests.support.issuer import Issuer
from tests.support.seeded import SEEDED, seed
from tests.support.tokens import ABSENT, Provisioner


@pytest.fixture(params=["RS256", "ES256"])
def issuer(request: pytest.FixtureRequest) -> Iterator[Issuer]:
    issuer = Issuer(request.param)
    yield issuer
    issuer.close()


def test_seed() -> None:
    assert seed("a secret of this test") == "a secret of this test"
    assert SEEDED[-1] == "a secret of this test"


def test_pyjwt_reads_the_two_layers() -> None:
    provisioner = Provisioner()
    client = provisioner.client("visits", ["^/a$"])
    bearer = client.bearer(jti="1")
    outer = jwt.decode(bearer, client.key.public_key(), ["ES256"])
    assert (outer["token"], outer["jti"]) == (client.token.decode(), "1")
    inner = jwt.decode(client.token, provisioner.public_pem, ["ES256"])
    assert (inner["client"], inner["access"]) == ("visits", ["^/a$"])
    for secret in (bearer, client.token, *map(tokens.private_pem, (client.key, provisioner.key))):
        assert (secret if isinstance(secret, str) else secret.decode()) in SEEDED


def test_knobs() -> None:
    client = Provisioner().client()
    header = jwt.get_unverified_header(client.bearer(header={"alg": "none", "typ": ABSENT}))
    assert header == {"alg": "none"}
    text = client.bearer(7, payload={"token": ABSENT, "more": 1})
    assert json.loads(tokens.unb64(text.split(b".")[1])) == {"iat": 7, "more": 1}


def test_pyjwt_reads_what_the_issuer_mints(issuer: Issuer) -> None:
    token = issuer.token("visits-api")
    jwks = jwt.PyJWKSet.from_dict(httpx.get(issuer.jwks.url, trust_env=False).json())
    key = jwks[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, [issuer.algorithm], audience="gateway", issuer=issuer.issuer)
    assert claims["client_id"] == "visits-api"
    assert {token.decode(), *(tokens.private_pem(key.key) for key in issuer.keys)} <= set(SEEDED)


def test_rotation_and_revocation(issuer: Issuer) -> None:
    def kids() -> list[str]:
        return [key["kid"] for key in httpx.get(issuer.jwks.url, trust_env=False).json()["keys"]]

    assert kids() == ["key-1"]
    issuer.rotate()
    assert kids() == ["key-1", "key-2"]
    issuer.rotate(keep=0)
    assert kids() == ["key-3"]
    issuer.revoked.append("a")
    answer = httpx.get(issuer.feed.url, trust_env=False)
    assert answer.json() == ["a"]
    again = httpx.get(issuer.feed.url, headers={"If-None-Match": answer.headers["ETag"]}, trust_env=False)
    assert (again.status_code, again.content) == (304, b"")
    issuer.feed.mode = "down"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(issuer.feed.url, trust_env=False)
    assert httpx.get(f"{issuer.issuer}nothing", trust_env=False).status_code == 404
