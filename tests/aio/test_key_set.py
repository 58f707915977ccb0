"""An issuer's key set on real sockets: rotation, outage, nonsense; and tokens verified with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.issuer import Issuer as Mint
from tests.support.issuer import new_key
from tests.unit.egress.harness import both_loops, until
from tests.unit.gateway.feeds import running
from tests.unit.gateway.refusals import refused_blindly
from tunnel_hub.gateway import feed
from tunnel_hub.gateway.grant import Unverifiable
from tunnel_hub.gateway.jwks import KeySet
from tunnel_hub.gateway.oauth import Issuer


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FIRST_RETRY", 0.02)


@pytest.fixture(params=["RS256", "ES256"])
def mint(request: pytest.FixtureRequest) -> Iterator[Mint]:
    mint = Mint(request.param)
    yield mint
    mint.close()


def verifier(mint: Mint, keys: KeySet) -> Issuer:
    return Issuer("idp", mint.issuer, "gateway", keys, algorithms=["RS256", "ES256"])


@both_loops
async def test_a_rotation(mint: Mint) -> None:
    keys = KeySet(mint.jwks.url, name="idp")
    issuer = verifier(mint, keys)
    old = mint.token()
    with pytest.raises(Unverifiable):
        issuer.verify(old, time.time())
    async with running(keys):
        await until(lambda: keys.ready, "the first fetch")
        assert issuer.verify(old, time.time()).grant.name == "visits-api"
        mint.rotate()
        new = mint.token()
        with pytest.raises(Unverifiable):
            issuer.verify(new, time.time())
        await until(lambda: len(mint.jwks.requests) == 2 and keys.find("key-2", mint.algorithm), "the early fetch")
        assert issuer.verify(new, time.time())
        assert issuer.verify(old, time.time())
        assert len(mint.jwks.requests) == 2


async def test_a_key_that_was_withdrawn(mint: Mint) -> None:
    keys = KeySet(mint.jwks.url, name="idp", interval=0.05)
    told: list[bool] = []
    async with running(keys):
        await until(lambda: keys.ready, "the first fetch")
        grant = verifier(mint, keys).verify(mint.token(), time.time()).grant
        keys.on_withdrawn(lambda: told.append(keys.has(grant)))
        mint.rotate()
        await until(lambda: keys.find("key-2", mint.algorithm), "the second key")
        assert keys.has(grant)
        assert told == [], "nothing was taken away"
        mint.rotate()
        await until(lambda: not keys.has(grant), "the first key to go")
        assert told == [False]
        after = KeySet(mint.jwks.url, name="idp")
        assert after.has(grant), "before anything was read nobody can tell"
        after.follow(keys)
        assert not after.has(grant)


async def test_a_key_that_the_issuer_does_not_have(mint: Mint) -> None:
    keys = KeySet(mint.jwks.url, name="idp")
    issuer = verifier(mint, keys)
    forged = mint.token(by=new_key("forged", mint.algorithm))
    async with running(keys):
        await until(lambda: keys.ready, "the first fetch")
        with pytest.raises(Unverifiable):
            issuer.verify(forged, time.time())
        first = keys.known_at
        await until(lambda: keys.known_at != first, "the early fetch")
        refused_blindly(lambda: issuer.verify(forged, time.time()), forged)
    assert len(mint.jwks.requests) == 2


@pytest.mark.parametrize("mode", ["down", "error", "garbage", "redirect", "huge", "compressed"])
async def test_keys_outlast_the_issuer(mint: Mint, mode: Any) -> None:
    keys = KeySet(mint.jwks.url, name="idp")
    issuer = verifier(mint, keys)
    token = mint.token()
    async with running(keys):
        await until(lambda: keys.ready, "the first fetch")
        mint.jwks.mode = mode
        mint.rotate(keep=0)
        keys.refresh()
        await until(lambda: keys.failures >= 2, "it fails")
        assert issuer.verify(token, time.time())
        mint.jwks.mode = "ok"
        await until(lambda: keys.find("key-2", mint.algorithm), "it works again")
        assert keys.find("key-1", mint.algorithm) is None


async def test_a_set_without_a_key_that_serves_changes_nothing(mint: Mint) -> None:
    keys = KeySet(mint.jwks.url, name="idp")
    async with running(keys):
        await until(lambda: keys.ready, "the first fetch")
        mint.extra[:] = [{"kty": "oct", "k": "c2VjcmV0"}]
        (serving,), mint.keys = mint.keys, []
        keys.refresh()
        await until(lambda: keys.failures, "it fails")
        assert keys.find(serving.kid, mint.algorithm)
