from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.issuer import new_key
from tests.unit.gateway.refusals import row
from tunnel_hub.gateway.feed import BadDocument
from tunnel_hub.gateway.jwks import KEYS, MISSING, KeySet, read_keys

RSA, EC = new_key("rsa", "RS256"), new_key("ec", "ES256")
RSA_JWK, EC_JWK = RSA.jwk, EC.jwk


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def without(jwk: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    return {name: value for name, value in {**jwk, **more}.items() if name not in names}


def places(*keys: Any) -> set[tuple[str, str]]:
    return set(read_keys(document(*keys)))


@pytest.mark.parametrize(
    ("jwk", "expected"),
    [
        (RSA_JWK, {("rsa", "RS256")}),
        (without(RSA_JWK, "alg"), {("rsa", "RS256"), ("rsa", "PS256")}),
        ({**RSA_JWK, "alg": "PS256"}, {("rsa", "PS256")}),
        (EC_JWK, {("ec", "ES256")}),
        (without(EC_JWK, "alg"), {("ec", "ES256")}),
        (without(EC_JWK, "use"), {("ec", "ES256")}),
        ({**EC_JWK, "key_ops": ["verify"]}, {("ec", "ES256")}),
        (without(EC_JWK, "kid"), {("", "ES256")}),
        ({**EC_JWK, "x5t": "AA", "more": {"a": [1]}}, {("ec", "ES256")}),
    ],
)
def test_keys_that_serve(jwk: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    keys = read_keys(document(jwk))
    assert set(keys) == expected
    assert all(key in (RSA.key.public_key(), EC.key.public_key()) for key in keys.values())


def public(kind: Any, key: Any) -> dict[str, Any]:
    jwk: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return jwk


UNUSABLE: list[Any] = [
    None,
    1,
    "ec",
    [],
    {},
    {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"},
    {"kty": "oct", "k": "c2VjcmV0", "alg": "RS256"},
    public(OKPAlgorithm, ed25519.Ed25519PrivateKey.generate()),
    public(ECAlgorithm, ec.generate_private_key(ec.SECP384R1())),
    public(ECAlgorithm, ec.generate_private_key(ec.SECP256K1())),
    public(RSAAlgorithm, rsa.generate_private_key(65537, 1024)),
    ECAlgorithm.to_jwk(EC.key, as_dict=True),  # type: ignore[arg-type]  # a private key, published
    {**EC_JWK, "use": "enc"},
    {**EC_JWK, "use": None},
    {**EC_JWK, "key_ops": ["sign"]},
    {**EC_JWK, "key_ops": []},
    {**EC_JWK, "key_ops": "verify"},
    {**EC_JWK, "key_ops": None},
    {**EC_JWK, "alg": "ES384"},
    {**EC_JWK, "alg": "RS256"},
    {**EC_JWK, "alg": ["ES256"]},
    {**RSA_JWK, "alg": "HS256"},
    {**RSA_JWK, "alg": "none"},
    {**RSA_JWK, "alg": "RS512"},
    {**RSA_JWK, "kty": "EC"},
    {**EC_JWK, "kty": "RSA"},
    {**EC_JWK, "kty": ["EC"]},
    {**EC_JWK, "kty": {}},
    {**EC_JWK, "kid": 1},
    {**EC_JWK, "kid": None},
    {**EC_JWK, "kid": "x" * 257},
    {**EC_JWK, "x": 1},
    {**EC_JWK, "x": None},
    {**EC_JWK, "x": "AA"},
    {**EC_JWK, "x": EC_JWK["y"]},
    {**EC_JWK, "crv": "P-384"},
    {**EC_JWK, "crv": None},
    without(EC_JWK, "x"),
    without(EC_JWK, "crv"),
    {**RSA_JWK, "n": 5},
    {**RSA_JWK, "n": ""},
    {**RSA_JWK, "e": ""},
    {**RSA_JWK, "e": "AA"},
    {**RSA_JWK, "n": "\u00e9"},
    {**RSA_JWK, "n": "A" * 20_000},
    without(RSA_JWK, "e"),
]


@pytest.mark.parametrize("jwk", UNUSABLE, ids=range(len(UNUSABLE)))
def test_keys_that_do_not_serve_are_passed_over(jwk: Any) -> None:
    assert places(jwk, RSA_JWK) == {("rsa", "RS256")}
    with pytest.raises(BadDocument, match="the key set holds no RSA key"):
        read_keys(document(jwk))


def test_the_first_of_two_with_one_id() -> None:
    other = {**new_key("ec", "ES256").jwk}
    assert read_keys(document(EC_JWK, other))["ec", "ES256"] == EC.key.public_key()
    assert places({**RSA_JWK, "kid": "ec"}, EC_JWK) == {("ec", "RS256"), ("ec", "ES256")}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{}", b'{"keys":null}', b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[', b"<html>"),
        *(b'{"keys":' + b"[" * 100_000, b'{"keys":["\xff"]}', document(*[EC_JWK] * (KEYS + 1))),
    ],
    ids=row,
)
def test_bad_documents(body: bytes) -> None:
    with pytest.raises(BadDocument, match=r"the (document|key set)"):
        read_keys(body)


class Clocked:
    """A key set without a network: `fetch` stands for a fetch that begins and ends now."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.now = 1000.0
        self.set = KeySet("http://127.0.0.1:1/", name="idp", clock=lambda: self.now)
        if keys:
            self.fetch(*keys)

    def fetch(self, *keys: dict[str, Any]) -> None:
        self.set._wanted.clear()
        self.set._take(read_keys(document(*keys)))
        self.set.known_at = self.set.last_success = self.now

    @property
    def wanted(self) -> bool:
        """Whether a fetch was asked for since the last one."""
        return self.set._wanted.is_set()


def test_find() -> None:
    keys = Clocked(without(RSA_JWK, "alg"), EC_JWK).set
    assert keys.find("rsa", "RS256") == keys.find("rsa", "PS256") == RSA.key.public_key()
    assert keys.find("ec", "ES256") == EC.key.public_key()
    assert keys.find("", "ES256") == EC.key.public_key(), "the only one"
    for kid, algorithm in (("ec", "RS256"), ("rsa", "ES256"), ("x", "ES256"), ("", "HS256"), ("rsa", "none")):
        assert keys.find(kid, algorithm) is None
    assert Clocked(EC_JWK, {**EC_JWK, "kid": "b"}).set.find("", "ES256") is None, "one of two"


def test_an_unknown_key_asks_for_a_fetch_and_the_fetch_decides() -> None:
    keys = Clocked(EC_JWK)
    keys.now += 1
    assert keys.set.may_come("new")
    assert keys.wanted
    keys.now += 1
    assert keys.set.may_come("new"), "no fetch since"
    keys.fetch(EC_JWK)
    assert not keys.set.may_come("new")
    assert not keys.wanted
    keys.now += 9
    assert not keys.set.may_come("new")
    keys.now += 2
    assert keys.set.may_come("new"), "it may have been published since"
    assert keys.wanted


def test_however_many_unknown_keys_fetches_are_apart() -> None:
    keys = Clocked(EC_JWK)
    keys.now += 1
    asked = []
    for number in range(100):
        assert keys.set.may_come(f"new-{number}")
        if keys.wanted:
            asked.append(keys.now)
            keys.fetch(EC_JWK)
        keys.now += 0.5
    assert asked == [1001.0, 1011.0, 1021.0, 1031.0, 1041.0]


def test_a_key_first_asked_for_after_the_fetch_waits_for_the_next() -> None:
    """It may have been published in between: only a fetch that began later can tell."""
    keys = Clocked(EC_JWK)
    assert keys.set.may_come("a")
    keys.now += 1
    keys.fetch(EC_JWK)
    keys.now += 1
    assert keys.set.may_come("b")
    assert not keys.wanted
    keys.now += 8.5
    assert keys.set.may_come("b")
    assert keys.wanted
    keys.now += 1
    keys.fetch(EC_JWK, {**EC_JWK, "kid": "b"})
    assert keys.set.find("b", "ES256") is not None


def test_without_any_fetch_it_may_always_come() -> None:
    keys = Clocked()
    for _ in range(10):
        assert keys.set.may_come("a")
        keys.now += 60


def test_unknown_keys_are_remembered_within_bounds() -> None:
    keys = Clocked(EC_JWK)
    for number in range(MISSING * 3):
        keys.set.may_come(f"kid-{number}")
    assert len(keys.set._missing) == MISSING
