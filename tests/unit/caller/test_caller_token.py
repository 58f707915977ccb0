from __future__ import annotations

import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.caller import Both, ClientToken, MessageSignature
from protocol.keys import KeyFileError

KEY = ec.generate_private_key(ec.SECP256R1())


def bearers(auth: httpx.Auth, count: int) -> list[str]:
    found: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        scheme, _, token = request.headers["Authorization"].partition(" ")
        assert scheme == "Bearer"
        found.append(token)
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(server), auth=auth) as client:
        for _ in range(count):
            client.get("http://hub/x")
    return found


def test_the_two_layers() -> None:
    [bearer] = bearers(ClientToken("client.token.text\n", KEY), 1)
    claims = jwt.decode(bearer, KEY.public_key(), algorithms=["ES256"])
    assert set(claims) == {"iat", "token"}
    assert claims["token"] == "client.token.text"
    assert abs(claims["iat"] - time.time()) < 60
    assert jwt.get_unverified_header(bearer)["alg"] == "ES256"


def test_a_bearer_is_sent_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    auth = ClientToken("t", KEY)
    first = bearers(auth, 2)
    now += 4.9
    assert {*first, *bearers(auth, 1)} == {first[0]}
    now += 0.2
    assert bearers(auth, 1) != first[:1]  # ECDSA: another signature of the same second is another text
    now += 0.1
    assert len(set(bearers(ClientToken("t", KEY, reuse_for=0), 2))) == 2


def test_single_use() -> None:
    found = bearers(ClientToken("t", KEY, single_use=True), 3)
    claims = [jwt.decode(bearer, KEY.public_key(), algorithms=["ES256"]) for bearer in found]
    assert len({claim["jti"] for claim in claims}) == 3


def test_the_key_is_on_p256() -> None:
    for other in (Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(KeyFileError, match="an EC key on P-256"):
            ClientToken("t", other)


def test_both_at_once() -> None:
    seen: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    auth = Both(ClientToken("t", KEY), MessageSignature(KEY, "booking"))
    with httpx.Client(transport=httpx.MockTransport(server), auth=auth) as client:
        client.post("http://hub/x", content=iter([b"a", b"b"]))
    assert {"authorization", "signature", "signature-input", "content-digest"} <= set(seen[0].headers)
    assert not Both(ClientToken("t", KEY)).requires_request_body


def test_it_shows_no_secret() -> None:
    assert repr(ClientToken("secret", KEY)) == "<ClientToken>"
