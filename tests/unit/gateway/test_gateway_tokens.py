from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import tokens
from tests.support.tokens import ABSENT, Client, Provisioner
from tests.unit.gateway.refusals import refused, refused_blindly
from tunnel_hub.gateway import es256
from tunnel_hub.gateway.grant import Unverifiable
from tunnel_hub.gateway.replay import Replay
from tunnel_hub.gateway.tokens import TwoLayerTokens

NOW = 1_800_000_000.0
PROVISIONER, OTHER = Provisioner(), Provisioner()
STRANGER = tokens.p256()
OWN = tokens.p256()
CLIENT = PROVISIONER.client("visits", ["^/nomisapi/health$", "^/b/"], now=NOW - 1000, own=OWN)
EXPIRES = NOW - 1000 + 365 * 86_400
P384, RSA = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)


def verifier(revoked: set[str] | None = None, **knobs: Any) -> TwoLayerTokens:
    keys = [OTHER.key.public_key(), PROVISIONER.key.public_key()]
    return TwoLayerTokens(
        keys, is_revoked=(set() if revoked is None else revoked).__contains__, **{"replay": Replay(), **knobs}
    )


def bearer(iat: Any = NOW, **knobs: Any) -> bytes:
    return CLIENT.bearer(iat, **knobs)


def client(**knobs: Any) -> Client:
    return PROVISIONER.client(**{"now": NOW - 1000, "own": OWN, **knobs})


def refuse(text: bytes, at: float = NOW, tokens_: TwoLayerTokens | None = None) -> str:
    return refused(lambda: (tokens_ or verifier()).verify(text, at), text, CLIENT.token).reason


def test_a_grant_rests_on_the_key_that_signed_the_client_token() -> None:
    grant = verifier().verify(bearer(), NOW).grant
    for keys, still in (([PROVISIONER, OTHER], True), ([PROVISIONER], True), ([OTHER], False), ([], False)):
        after = TwoLayerTokens(
            [each.key.public_key() for each in keys], is_revoked=lambda _: False, replay=Replay()
        )
        assert after.has(grant) is still


def test_a_good_bearer() -> None:
    grant, until = verifier().verify(bearer(), NOW + 1)
    assert (grant.name, grant.means, grant.issuer) == ("visits", "token", "")
    assert grant.credential == CLIENT.fingerprint
    assert grant.expires == EXPIRES
    assert until == NOW + 10
    assert grant.access is not None
    assert grant.access.allows(b"/nomisapi/health?x")
    assert not grant.access.allows(b"/nomisapi/healthy")


def test_as_pyjwt_makes_them() -> None:
    usual = {"iat": int(NOW), "token": CLIENT.token.decode()}
    assert verifier().verify(pyjwt.encode(usual, OWN, "ES256").encode(), NOW)


@pytest.mark.parametrize("provisioner", [PROVISIONER, OTHER])
def test_any_of_the_provisioning_keys(provisioner: Provisioner) -> None:
    own = provisioner.client("money", now=NOW)
    assert verifier().verify(own.bearer(NOW), NOW).grant.name == "money"


def test_what_a_header_says_besides_alg_plays_no_part() -> None:
    jwk = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
    header = {
        "kid": "../../etc/passwd",
        "jwk": jwk,
        "x5c": ["AA"],
        "jku": "http://127.0.0.1:9/",
        "x5u": "http://x/",
    }
    assert verifier().verify(client(header=header).bearer(NOW, header=header), NOW)
    assert verifier().verify(bearer(header={"typ": ABSENT}), NOW)


# -- What does not hold: one sentence for all of it --------------------------------------------------------


def lying_key_bearer() -> bytes:
    """Signed by a stranger whose key stands in the header."""
    public = STRANGER.public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": tokens.b64(public.x.to_bytes(32)).decode(),
        "y": tokens.b64(public.y.to_bytes(32)).decode(),
    }
    return bearer(header={"jwk": jwk}, key=STRANGER)


def edited(text: bytes, part: int, old: bytes, new: bytes) -> bytes:
    """The JWT with something else in a part, and the signature as it was."""
    parts = text.split(b".")
    parts[part] = tokens.b64(tokens.unb64(parts[part]).replace(old, new))
    assert b".".join(parts) != text
    return b".".join(parts)


def inside(token: bytes | str, **knobs: Any) -> bytes:
    """A bearer properly signed around another client token."""
    text = token.decode("latin-1") if isinstance(token, bytes) else token
    return bearer(payload={"token": text}, **knobs)


PUBLIC_SECRETS = [
    tokens.public_pem(OWN).encode(),
    tokens.public_der(OWN),
    tokens.public_pem(PROVISIONER.key).encode(),
    b"",
]

BLIND: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no JWT": lambda: b"tk_aaaa",
    "the client token alone": lambda: CLIENT.token,
    "alg none": lambda: bearer(header={"alg": "none"}, algorithm="none"),
    "alg none, signed": lambda: bearer(header={"alg": "none"}),
    "alg None": lambda: bearer(header={"alg": None}),
    "alg nOnE": lambda: bearer(header={"alg": "nOnE"}, algorithm="none"),
    "alg absent": lambda: bearer(header={"alg": ABSENT}),
    "alg in lower case": lambda: bearer(header={"alg": "es256"}),
    "alg with a blank": lambda: bearer(header={"alg": "ES256 "}),
    "alg ES384": lambda: bearer(header={"alg": "ES384"}),
    "alg ES256K": lambda: bearer(header={"alg": "ES256K"}),
    "alg RS256, an RSA signature": lambda: bearer(header={"alg": "RS256"}, key=RSA, algorithm="RS256"),
    "alg a list": lambda: bearer(header={"alg": ["ES256"]}),
    "alg a number": lambda: bearer(header={"alg": 256}),
    "ES256 said, an RSA signature": lambda: bearer(key=RSA, algorithm="RS256"),
    "ES256 said, HMAC done": lambda: bearer(key=PUBLIC_SECRETS[0], algorithm="HS256"),
    "crit": lambda: bearer(header={"crit": ["iat"]}),
    "b64": lambda: bearer(header={"b64": True}),
    "another's key": lambda: bearer(key=STRANGER),
    "another's key in the header": lying_key_bearer,
    "the provisioning key": lambda: bearer(key=PROVISIONER.key),
    "another curve": lambda: bearer(key=P384, algorithm="ES384"),
    "no signature": lambda: bearer().rpartition(b".")[0] + b".",
    "no third part": lambda: bearer().rpartition(b".")[0],
    "truncated by one": lambda: bearer()[:-1],
    "truncated by a group": lambda: bearer()[:-4],
    "truncated by half": lambda: bearer()[: len(bearer()) // 2],
    "an extra part": lambda: bearer() + b".AAAA",
    "two in one": lambda: bearer() + b"," + bearer(),
    "padded": lambda: bearer() + b"==",
    "another iat": lambda: edited(bearer(), 1, b"18000", b"18001"),
    "another alg": lambda: edited(bearer(), 0, b"ES256", b"HS256"),
    "another typ": lambda: edited(bearer(), 0, b"JWT", b"jwt"),
    "a signature of zeros": lambda: bearer().rpartition(b".")[0] + b"." + tokens.b64(bytes(64)),
    "a DER signature": lambda: bearer(algorithm="DER"),
    "token absent": lambda: bearer(payload={"token": ABSENT}),
    "token null": lambda: bearer(payload={"token": None}),
    "token an object": lambda: bearer(payload={"token": {"client": "visits"}}),
    "token empty": lambda: inside(""),
    "token not ASCII": lambda: inside("caf\u00e9"),
    "token a surrogate": lambda: inside("\ud800"),
    "token no JWT": lambda: inside("visits"),
    "token truncated": lambda: inside(CLIENT.token[:-1]),
    "token with a line end": lambda: inside(CLIENT.token + b"\n"),
    "token padded": lambda: inside(CLIENT.token + b"=="),
    "token of a stranger": lambda: inside(client(key=STRANGER).token),
    "token signed by the client": lambda: inside(client(key=OWN).token),
    "token a bearer": lambda: inside(bearer()),
    "token alg none": lambda: inside(client(header={"alg": "none"}, algorithm="none").token),
    "token alg none, signed": lambda: inside(client(header={"alg": "none"}).token),
    "token alg absent": lambda: inside(client(header={"alg": ABSENT}).token),
    "token alg RS256": lambda: inside(client(header={"alg": "RS256"}, key=RSA, algorithm="RS256").token),
    "token crit": lambda: inside(client(header={"crit": ["exp"]}).token),
    "token edited": lambda: inside(edited(CLIENT.token, 1, b"visits", b"money!")),
    "token with a member twice": lambda: inside(
        tokens.jwt(b'{"alg":"ES256"}', b'{"client":"a","client":"b"}', PROVISIONER.key)
    ),
    "key absent": lambda: inside(client(payload={"key": ABSENT}).token),
    "key null": lambda: inside(client(payload={"key": None}).token),
    "key not base64": lambda: inside(client(payload={"key": "?" * 120}).token),
    "key not ASCII": lambda: inside(client(payload={"key": "\u00e9" * 120}).token),
    "key not DER": lambda: inside(client(payload={"key": "AAAA"}).token),
    "key on P-384": lambda: inside(client(payload={"key": _key(P384)}).token),
    "key RSA": lambda: inside(client(payload={"key": _key(RSA)}).token),
    "key another's": lambda: inside(client(payload={"key": _key(STRANGER)}).token),
    "too long": lambda: bearer(payload={"more": "x" * 9000}),
    **{
        f"HS256 with a public key {number}{', said to be ES256' if alg == 'ES256' else ''}": (
            lambda secret=secret, alg=alg: bearer(header={"alg": alg}, key=secret, algorithm="HS256")  # type: ignore[misc]
        )
        for number, secret in enumerate(PUBLIC_SECRETS)
        for alg in ("HS256", "ES256")
    },
}


def _key(key: Any) -> str:
    import base64

    return base64.b64encode(tokens.public_der(key)).decode()


@pytest.mark.parametrize("known", [False, True], ids=["fresh", "known client"])
@pytest.mark.parametrize("name", BLIND)
def test_what_does_not_hold_is_told_nothing(name: str, known: bool) -> None:
    verify = verifier()
    if known:
        verify.verify(bearer(), NOW)
    text = BLIND[name]()
    refused_blindly(lambda: verify.verify(text, NOW), text, CLIENT.token)
    # and nobody learns from it how long a token lasts or whether it is revoked
    refused_blindly(lambda: verify.verify(text, NOW + 1e9), text)


# -- What holds, but not now or not here: a sentence each --------------------------------------------------

CLEAR: list[tuple[str, Callable[[], bytes], str]] = [
    ("iat absent", lambda: bearer(payload={"iat": ABSENT}), "The bearer's iat must be a number"),
    ("iat null", lambda: bearer(payload={"iat": None}), "The bearer's iat must be a number"),
    ("iat true", lambda: bearer(True), "The bearer's iat must be a number"),
    ("iat text", lambda: bearer(str(NOW)), "The bearer's iat must be a number"),
    ("iat a list", lambda: bearer([NOW]), "The bearer's iat must be a number"),
    ("iat huge", lambda: bearer(10**400), "The bearer's iat must be a number"),
    ("iat 1e999", lambda: _raw(b'{"iat":1e999,"token":"%s"}'), "The bearer's iat must be a number"),
    ("iat 0", lambda: bearer(0), "iat skew too large"),
    ("iat -1", lambda: bearer(-NOW), "iat skew too large"),
    ("iat in milliseconds", lambda: bearer(NOW * 1000), "iat skew too large"),
    ("iat 1e308", lambda: bearer(1e308), "iat skew too large"),
    ("iat behind", lambda: bearer(NOW - 11), "is 11.0 s behind the gateway's clock and 10 s are allowed"),
    ("iat ahead", lambda: bearer(NOW + 11), "is 11.0 s ahead of the gateway's clock and 10 s are allowed"),
    ("jti null", lambda: bearer(jti=None), "jti must be text of 1 to 128 characters"),
    ("jti a number", lambda: bearer(jti=1), "jti must be text of 1 to 128 characters"),
    ("jti empty", lambda: bearer(jti=""), "jti must be text of 1 to 128 characters"),
    ("jti long", lambda: bearer(jti="x" * 129), "jti must be text of 1 to 128 characters"),
    ("expired", lambda: client(lifetime=1000).bearer(NOW), "The client token has expired"),
    ("expired long ago", lambda: client(payload={"exp": -1}).bearer(NOW), "The client token has expired"),
    (
        "of the future",
        lambda: client(payload={"iat": NOW + 11}).bearer(NOW),
        "client token's iat is in the future",
    ),
    ("no exp", lambda: client(payload={"exp": ABSENT}).bearer(NOW), "iat and exp must be numbers"),
    ("exp true", lambda: client(payload={"exp": True}).bearer(NOW), "iat and exp must be numbers"),
    ("exp huge", lambda: client(payload={"exp": 10**400}).bearer(NOW), "iat and exp must be numbers"),
    ("exp text", lambda: client(payload={"exp": "2099"}).bearer(NOW), "iat and exp must be numbers"),
    ("no client iat", lambda: client(payload={"iat": ABSENT}).bearer(NOW), "iat and exp must be numbers"),
    ("no client", lambda: client(payload={"client": ABSENT}).bearer(NOW), "client must be a name"),
    ("client empty", lambda: client(name="").bearer(NOW), "client must be a name"),
    ("client a number", lambda: client(name=1).bearer(NOW), "client must be a name"),
    ("client with a line end", lambda: client(name="a\r\nX: y").bearer(NOW), "client must be a name"),
    ("client padded", lambda: client(name="visits ").bearer(NOW), "client must be a name"),
    ("client not ASCII", lambda: client(name="caf\u00e9").bearer(NOW), "client must be a name"),
    ("client long", lambda: client(name="x" * 129).bearer(NOW), "client must be a name"),
    ("no access", lambda: client(payload={"access": ABSENT}).bearer(NOW), "access must be a list"),
    ("access text", lambda: client(access="^/").bearer(NOW), "access must be a list"),
    ("access of numbers", lambda: client(access=["^/", 1]).bearer(NOW), "access must be a list"),
    ("access nested", lambda: client(access=[["^/"]]).bearer(NOW), "access must be a list"),
    (
        "access broken",
        lambda: client(access=["^/", "^/(a"]).bearer(NOW),
        "pattern '^/(a' cannot be used: missing )",
    ),
    ("access backreference", lambda: client(access=[r"(a)\1"]).bearer(NOW), "invalid escape sequence"),
    ("access too long", lambda: client(access=["^/"] * 65).bearer(NOW), "There are 65 path patterns"),
]


def _raw(payload: bytes) -> bytes:
    return tokens.jwt({"alg": "ES256"}, payload % CLIENT.token, OWN)


@pytest.mark.parametrize(("text", "said"), [row[1:] for row in CLEAR], ids=[row[0] for row in CLEAR])
def test_whoever_has_the_clients_key_is_told_why(text: Callable[[], bytes], said: str) -> None:
    made = text()
    assert said in refuse(made)
    # without the key the same says nothing
    parts = json.loads(tokens.unb64(made.split(b".")[1]))
    forged = tokens.jwt({"alg": "ES256"}, parts, STRANGER)
    refused_blindly(lambda: verifier().verify(forged, NOW), forged)


def test_the_hubs_log_gets_the_proven_name() -> None:
    text = bearer(NOW - 60)
    error = refused(lambda: verifier().verify(text, NOW), text)
    assert error.cause.startswith("client visits: iat skew too large")


def test_an_empty_access_list_is_a_list() -> None:
    grant = verifier().verify(client(access=[]).bearer(NOW), NOW).grant
    assert grant.access is not None
    assert not grant.access.allows(b"/")


# -- Time --------------------------------------------------------------------------------------------------


@given(
    off=st.floats(-100, 100) | st.integers(-100, 100),
    skew=st.sampled_from([0.0, 0.5, 10.0, 30.0]),
)
@example(off=10, skew=10.0)
@example(off=-10, skew=10.0)
@example(off=math.nextafter(10, 11) + 1e-6, skew=10.0)
@example(off=0, skew=0.0)
@settings(max_examples=60, deadline=None)
def test_the_skew_is_the_bound(off: float, skew: float) -> None:
    iat = NOW + off
    verify = verifier(skew=skew)
    if abs(iat - NOW) <= skew:
        until = verify.verify(bearer(iat), NOW).until
        assert until == iat + skew
        if skew:
            assert verify.verify(bearer(iat), until - 0.001)
            refuse(bearer(iat), until + 0.001, verify)
    else:
        assert "iat skew too large" in refuse(bearer(iat), NOW, verify)


def test_no_bearer_outlives_its_client_token() -> None:
    short = client(lifetime=1005)
    verify = verifier()
    assert verify.verify(short.bearer(NOW), NOW).until == NOW + 5
    assert verify.verify(short.bearer(NOW), NOW + 4.9)
    assert "has expired" in refuse(short.bearer(NOW), NOW + 5, verify)


def test_the_client_tokens_iat_may_be_ahead_within_the_skew() -> None:
    ahead = client(payload={"iat": NOW + 10})
    verify = verifier()
    assert verify.verify(ahead.bearer(NOW), NOW)
    assert "in the future" in refuse(ahead.bearer(NOW - 1), NOW - 1, verify)


# -- Revocation --------------------------------------------------------------------------------------------


def test_revocation_is_asked_of_known_clients_too() -> None:
    revoked: set[str] = {"0" * 64}
    verify = verifier(revoked)
    verify.verify(bearer(), NOW)
    revoked.add(CLIENT.fingerprint)
    assert "The client token is revoked" in refuse(bearer(), NOW, verify)
    assert "The client token is revoked" in refuse(bearer(), NOW, verifier(revoked))
    revoked.discard(CLIENT.fingerprint)
    assert verify.verify(bearer(), NOW)


@pytest.mark.parametrize("first", [False, True], ids=["fresh", "known client"])
def test_a_revoked_token_does_not_come_back_in_another_text(first: bool) -> None:
    """Anybody can turn an ECDSA signature into its twin: the same token with another fingerprint."""
    other = Client("visits", tokens.twin(CLIENT.token), OWN)
    assert other.fingerprint != CLIENT.fingerprint
    revoked: set[str] = set()
    verify = verifier(revoked)
    if first:
        assert verify.verify(other.bearer(NOW), NOW).grant.credential == other.fingerprint
    revoked.add(CLIENT.fingerprint)
    assert "The client token is revoked" in refuse(other.bearer(NOW), NOW, verify)
    assert "The client token is revoked" in refuse(bearer(), NOW, verify)


# -- Replay ------------------------------------------------------------------------------------------------


def test_an_id_is_used_once() -> None:
    verify = verifier()
    text = bearer(jti="a")
    assert verify.verify(text, NOW).until == 0
    for at in (NOW, NOW + 5, NOW + 10):
        assert "was replayed" in refuse(text, at, verify)
    assert "was replayed" in refuse(bearer(NOW + 1, jti="a"), NOW + 2, verify), "another bearer with the same id"
    assert "was replayed" in refuse(tokens.twin(text), NOW, verify)
    assert "iat skew too large" in refuse(text, NOW + 10.5, verify)
    assert verify.verify(bearer(jti="b"), NOW)
    assert verify.verify(client(name="money").bearer(NOW, jti="a"), NOW), "another client's"
    assert verify.verify(bearer(NOW + 30, jti="a"), NOW + 30), "after the window"


def test_an_id_is_used_once_whatever_the_text_of_the_client_token() -> None:
    verify = verifier()
    verify.verify(bearer(jti="a"), NOW)
    other = Client("visits", tokens.twin(CLIENT.token), OWN)
    assert "was replayed" in refuse(other.bearer(NOW, jti="a"), NOW, verify)


def test_what_is_refused_uses_no_id() -> None:
    replay = Replay()
    verify = verifier({CLIENT.fingerprint}, replay=replay)
    refuse(bearer(jti="a"), NOW, verify)
    refused_blindly(lambda: verify.verify(bearer(jti="a", key=STRANGER), NOW))
    assert replay.held == 0


def test_without_room_for_ids() -> None:
    verify = verifier(replay=Replay(1))
    verify.verify(bearer(jti="a"), NOW)
    with pytest.raises(Unverifiable) as caught:
        verify.verify(bearer(jti="b"), NOW)
    assert caught.value.retry_after == 1
    assert verify.verify(bearer(), NOW), "who sends no id goes on"


@given(st.floats(-10, 10), st.floats(0, 30))
@settings(max_examples=40, deadline=None)
def test_no_bearer_with_an_id_is_taken_twice(off: float, later: float) -> None:
    verify = verifier()
    text = bearer(NOW + off, jti="a")
    verify.verify(text, NOW)
    refuse(text, NOW + later, verify)


# -- The clients that are kept -----------------------------------------------------------------------------

CLIENTS = [client(name=f"c{number}") for number in range(6)]


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_the_least_recently_used_client_goes_first(uses: list[int], limit: int) -> None:
    verify = verifier(clients=limit)
    recent: list[int] = []
    for number in uses:
        assert verify.verify(CLIENTS[number].bearer(NOW), NOW).grant.name == f"c{number}"
        recent = [*(other for other in recent if other != number), number][-limit:]
        assert list(verify._clients) == [CLIENTS[other].fingerprint for other in recent]
        assert verify.known == len(recent)


def test_a_known_client_costs_one_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[bytes] = []
    real = es256.verify
    monkeypatch.setattr(es256, "verify", lambda *args: checks.append(args[1]) or real(*args))  # type: ignore[func-returns-value]
    verify = verifier()
    verify.verify(bearer(), NOW)
    assert len(checks) == 3, "one by the other provisioning key"
    checks.clear()
    verify.verify(bearer(), NOW)
    assert len(checks) == 1


def test_forged_client_tokens_are_not_kept() -> None:
    verify = verifier()
    refused_blindly(lambda: verify.verify(BLIND["token of a stranger"](), NOW))
    refused_blindly(lambda: verify.verify(BLIND["key RSA"](), NOW))
    assert verify.known == 0
