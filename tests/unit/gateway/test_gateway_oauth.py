from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jwt as pyjwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import tokens
from tests.support.issuer import Issuer as Mint
from tests.support.issuer import SigningKey, new_key
from tests.support.tokens import ABSENT
from tests.unit.gateway.refusals import refused, refused_blindly
from tunnel_hub.gateway.grant import Grant, Unverifiable, Verified
from tunnel_hub.gateway.oauth import Issuer

NOW = 1_800_000_000.0


class Keys:
    """A key set by hand."""

    def __init__(self, *keys: SigningKey) -> None:
        self.ready = True
        self.coming = False
        self.asked: list[str] = []
        self.keys = {(key.kid, algorithm): key.key.public_key() for key in keys for algorithm in _fitting(key)}

    def find(self, kid: str, algorithm: str) -> Any:
        return self.keys.get((kid, algorithm))

    def may_come(self, kid: str) -> bool:
        self.asked.append(kid)
        return self.coming


def _fitting(key: SigningKey) -> tuple[str, ...]:
    return ("ES256",) if key.algorithm == "ES256" else ("RS256", "PS256")


RSA, EC, STRANGER = new_key("rsa", "RS256"), new_key("ec", "ES256"), new_key("rsa", "RS256")
ALL = ("RS256", "PS256", "ES256")


@pytest.fixture(scope="module")
def mint() -> Iterator[Mint]:
    mint = Mint()
    mint.keys = [EC, RSA]
    yield mint
    mint.close()


def verifier(mint: Mint, keys: Keys | None = None, **knobs: Any) -> Issuer:
    keys = Keys(RSA, EC) if keys is None else keys
    return Issuer("idp", mint.issuer, "gateway", keys, **{"algorithms": ALL, **knobs})


def test_a_good_token(mint: Mint) -> None:
    grant = Grant("visits-api", "oauth", "idp/visits-api", issuer="idp", expires=NOW + 310)
    assert verifier(mint).verify(mint.token(now=NOW), NOW) == Verified(grant, NOW + 300)


@pytest.mark.parametrize(("by", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")])
def test_algorithms(mint: Mint, by: SigningKey, algorithm: str) -> None:
    token = mint.token(now=NOW, by=by, header={"alg": algorithm}, algorithm=algorithm)
    assert verifier(mint).verify(token, NOW)
    assert verifier(mint, algorithms=[algorithm]).verify(token, NOW)
    others = [other for other in ALL if other != algorithm]
    refused_blindly(lambda: verifier(mint, algorithms=others).verify(token, NOW), token)


def test_as_pyjwt_makes_them(mint: Mint) -> None:
    payload = {"iss": mint.issuer, "aud": ["x", "gateway"], "exp": int(NOW) + 5, "sub": "visits"}
    for key, algorithm in ((RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")):
        token = pyjwt.encode(payload, key.key, algorithm, headers={"kid": key.kid}).encode()  # type: ignore[arg-type]
        assert verifier(mint).verify(token, NOW).grant.name == "visits"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", ABSENT])
def test_types(mint: Mint, typ: Any) -> None:
    assert verifier(mint).verify(mint.token(now=NOW, header={"typ": typ}), NOW)


@pytest.mark.parametrize("audience", ["gateway", ["gateway"], ["a", "gateway"]])
def test_audiences(mint: Mint, audience: Any) -> None:
    assert verifier(mint).verify(mint.token(audience=audience, now=NOW), NOW)


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ({"client_id": "a", "azp": "b", "sub": "c"}, "a"),
        ({"client_id": ABSENT, "azp": "b", "sub": "c"}, "b"),
        ({"client_id": ABSENT, "sub": "c"}, "c"),
    ],
)
def test_who_it_is(mint: Mint, payload: dict[str, Any], name: str) -> None:
    assert verifier(mint).verify(mint.token(now=NOW, payload=payload), NOW).grant.name == name
    assert verifier(mint, caller_claims=["sub"]).verify(mint.token(now=NOW), NOW).grant.name == "visits-api"


def edited(text: bytes) -> bytes:
    header, payload, signature = text.split(b".")
    return b".".join((header, tokens.b64(tokens.unb64(payload).replace(b"visits-api", b"money-api!")), signature))


BLIND: dict[str, Callable[[Mint], bytes]] = {
    "another issuer": lambda mint: mint.token(now=NOW, payload={"iss": "http://evil.example/"}),
    "no issuer": lambda mint: mint.token(now=NOW, payload={"iss": ABSENT}),
    "issuers": lambda mint: mint.token(now=NOW, payload={"iss": [mint.issuer]}),
    "issuer without its slash": lambda mint: mint.token(now=NOW, payload={"iss": mint.issuer[:-1]}),
    "a stranger's key": lambda mint: mint.token(now=NOW, by=STRANGER),
    "edited": lambda mint: edited(mint.token(now=NOW)),
    "truncated": lambda mint: mint.token(now=NOW)[:-4],
    "no signature": lambda mint: mint.token(now=NOW).rpartition(b".")[0] + b".",
    "alg none": lambda mint: mint.token(now=NOW, header={"alg": "none"}, algorithm="none"),
    "alg none, signed": lambda mint: mint.token(now=NOW, header={"alg": "none"}),
    "alg absent": lambda mint: mint.token(now=NOW, header={"alg": ABSENT}),
    "alg null": lambda mint: mint.token(now=NOW, header={"alg": None}),
    "alg a list": lambda mint: mint.token(now=NOW, header={"alg": ["RS256"]}),
    "alg RS512": lambda mint: mint.token(now=NOW, header={"alg": "RS512"}),
    "alg EdDSA": lambda mint: mint.token(now=NOW, header={"alg": "EdDSA"}),
    "alg of the other kind": lambda mint: mint.token(now=NOW, header={"alg": "ES256"}),
    "PS256 said, RS256 done": lambda mint: mint.token(now=NOW, header={"alg": "PS256"}),
    "RS256 said, PS256 done": lambda mint: mint.token(now=NOW, algorithm="PS256"),
    "HS256 with the public key": lambda mint: mint.token(
        now=NOW, header={"alg": "HS256"}, key=tokens.public_pem(RSA.key).encode(), algorithm="HS256"
    ),
    "RS256 said, HS256 done": lambda mint: mint.token(
        now=NOW, key=tokens.public_pem(RSA.key).encode(), algorithm="HS256"
    ),
    "kid of another key": lambda mint: mint.token(now=NOW, header={"kid": "ec"}),
    "kid unknown": lambda mint: mint.token(now=NOW, header={"kid": "none"}),
    "kid absent": lambda mint: mint.token(now=NOW, header={"kid": ABSENT}),
    "kid null": lambda mint: mint.token(now=NOW, header={"kid": None}),
    "kid a number": lambda mint: mint.token(now=NOW, header={"kid": 0}),
    "kid a list": lambda mint: mint.token(now=NOW, header={"kid": ["rsa"]}),
    "kid a path": lambda mint: mint.token(now=NOW, header={"kid": "../../../dev/null"}),
    "kid long": lambda mint: mint.token(now=NOW, header={"kid": "x" * 257}),
    "typ of another use": lambda mint: mint.token(now=NOW, header={"typ": "dpop+jwt"}),
    "typ a logout": lambda mint: mint.token(now=NOW, header={"typ": "logout+jwt"}),
    "typ a number": lambda mint: mint.token(now=NOW, header={"typ": 1}),
    "crit": lambda mint: mint.token(now=NOW, header={"crit": ["exp"]}),
    "a key in the header": lambda mint: mint.token(
        now=NOW, by=STRANGER, header={"jwk": STRANGER.jwk, "jku": "http://evil.example/", "x5c": ["AA"]}
    ),
    "member twice": lambda mint: tokens.jwt(
        b'{"alg":"RS256","kid":"rsa"}', b'{"iss":"%s","iss":"x"}' % mint.issuer.encode(), RSA.key, "RS256"
    ),
}


@pytest.mark.parametrize("name", BLIND)
def test_what_does_not_hold_is_told_nothing(mint: Mint, name: str) -> None:
    token = BLIND[name](mint)
    refused_blindly(lambda: verifier(mint).verify(token, NOW), token)


CLEAR: list[tuple[dict[str, Any], str]] = [
    ({"exp": ABSENT}, "has no exp"),
    ({"exp": None}, "exp, nbf and iat must be numbers"),
    ({"exp": True}, "exp, nbf and iat must be numbers"),
    ({"exp": str(NOW + 300)}, "exp, nbf and iat must be numbers"),
    ({"exp": 10**400}, "exp, nbf and iat must be numbers"),
    ({"nbf": None}, "exp, nbf and iat must be numbers"),
    ({"nbf": "0"}, "exp, nbf and iat must be numbers"),
    ({"iat": False}, "exp, nbf and iat must be numbers"),
    ({"exp": NOW - 10}, "has expired"),
    ({"exp": 0}, "has expired"),
    ({"exp": -1e300}, "has expired"),
    ({"nbf": NOW + 11}, "does not hold yet"),
    ({"iat": NOW + 11}, "iat is in the future"),
    ({"aud": ABSENT}, "for another audience"),
    ({"aud": None}, "for another audience"),
    ({"aud": ""}, "for another audience"),
    ({"aud": "gateway2"}, "for another audience"),
    ({"aud": "GATEWAY"}, "for another audience"),
    ({"aud": []}, "for another audience"),
    ({"aud": ["a", "gateway "]}, "for another audience"),
    ({"aud": [["gateway"]]}, "for another audience"),
    ({"aud": {"gateway": 1}}, "for another audience"),
    ({"client_id": ""}, "client_id must be a name"),
    ({"client_id": None}, "client_id must be a name"),
    ({"client_id": "a\nb"}, "client_id must be a name"),
    ({"client_id": ["a"]}, "client_id must be a name"),
    ({"client_id": ABSENT, "sub": 7}, "sub must be a name"),
    ({"client_id": ABSENT, "sub": ABSENT}, "names no caller: it needs one of client_id, azp, sub"),
]


@pytest.mark.parametrize(("payload", "said"), CLEAR)
def test_whoever_has_the_issuers_word_is_told_why(mint: Mint, payload: dict[str, Any], said: str) -> None:
    token = mint.token(now=NOW, payload=payload)
    error = refused(lambda: verifier(mint).verify(token, NOW), token)
    assert said in error.reason
    assert error.cause == f"issuer idp: {error.reason}"
    forged = mint.token(now=NOW, payload=payload, by=STRANGER)
    refused_blindly(lambda: verifier(mint).verify(forged, NOW), forged)


@given(off=st.floats(-60, 60), skew=st.sampled_from([0.0, 10.0]), claim=st.sampled_from(["exp", "nbf", "iat"]))
@settings(max_examples=60, deadline=None)
def test_the_skew_is_the_bound(mint: Mint, off: float, skew: float, claim: str) -> None:
    token = mint.token(now=NOW, by=EC, payload={claim: NOW + off})
    holds = NOW + off + skew > NOW if claim == "exp" else NOW + off <= NOW + skew
    if holds:
        grant, until = verifier(mint, skew=skew).verify(token, NOW)
        expires = NOW + (off if claim == "exp" else 300)
        assert (until, grant.expires) == (expires, expires + skew)
    else:
        refused(lambda: verifier(mint, skew=skew).verify(token, NOW), token)


def test_before_there_are_keys(mint: Mint) -> None:
    keys = Keys()
    keys.ready = False
    with pytest.raises(Unverifiable) as caught:
        verifier(mint, keys).verify(mint.token(now=NOW), NOW)
    assert caught.value.retry_after == 1
    assert keys.asked == []


def test_an_unknown_key_may_still_come(mint: Mint) -> None:
    keys = Keys(EC)
    keys.coming = True
    token = mint.token(now=NOW)
    with pytest.raises(Unverifiable) as caught:
        verifier(mint, keys).verify(token, NOW)
    assert caught.value.retry_after == 1
    assert keys.asked == ["rsa"]
    keys.coming = False
    refused_blindly(lambda: verifier(mint, keys).verify(token, NOW), token)


def test_what_is_wrong_anyway_asks_for_no_key(mint: Mint) -> None:
    keys = Keys(EC)
    for name in ("another issuer", "alg none", "alg RS512", "kid long", "typ of another use", "crit"):
        refused_blindly(lambda name=name: verifier(mint, keys).verify(BLIND[name](mint), NOW))  # type: ignore[misc]
    assert keys.asked == []
