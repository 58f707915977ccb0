from __future__ import annotations

import itertools

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support import tokens
from tunnel_hub.gateway import es256

KEY = tokens.p256()
PUBLIC = KEY.public_key()
SIGNATURE = tokens.sign("ES256", KEY, b"text")


def test_a_signature() -> None:
    assert es256.verify(PUBLIC, b"text", SIGNATURE)
    assert not es256.verify(PUBLIC, b"Text", SIGNATURE)
    assert not es256.verify(tokens.p256().public_key(), b"text", SIGNATURE)


def test_signatures_of_pyjwt() -> None:
    signed, _, signature = jwt.encode({"a": 1}, KEY, "ES256").encode().rpartition(b".")
    assert es256.verify(PUBLIC, signed, tokens.unb64(signature))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        bytes(32) + SIGNATURE[32:],
        SIGNATURE[:32] + bytes(32),
        SIGNATURE[:-1],
        SIGNATURE + b"\0",
        b"\0" + SIGNATURE,
        SIGNATURE[32:] + SIGNATURE[:32],
        b"\xff" * 64,
        tokens.ORDER.to_bytes(32) * 2,
        SIGNATURE[:32] + ((int.from_bytes(SIGNATURE[32:]) + tokens.ORDER) % 2**256).to_bytes(32),
        KEY.sign(b"text", ec.ECDSA(es256._ALGORITHM.algorithm)),  # type: ignore[arg-type]  # DER
    ],
    ids=itertools.count(),
)
def test_a_bad_signature(signature: bytes) -> None:
    assert not es256.verify(PUBLIC, b"text", signature)


def test_every_signature_has_a_twin() -> None:
    other = es256.twin(SIGNATURE)
    assert other != SIGNATURE
    assert es256.verify(PUBLIC, b"text", other)
    assert es256.twin(other) == SIGNATURE


def test_keys() -> None:
    for data in (tokens.public_der(KEY), tokens.public_pem(KEY).encode()):
        assert es256.public_key(data) == PUBLIC


def _spki(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a public key in"),
        (b"x", "not a public key in"),
        (tokens.public_der(KEY)[:-1], "not a public key in"),
        (tokens.public_der(KEY) + b"x", "not a public key in"),
        (tokens.private_pem(KEY).encode(), "not a public key in"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key in"),
        (_spki(ec.generate_private_key(ec.SECP384R1()).public_key()), "not one of the curve P-256"),
        (_spki(ec.generate_private_key(ec.SECP256K1()).public_key()), "not one of the curve P-256"),
        (_spki(rsa.generate_private_key(65537, 2048).public_key()), "not one of the curve P-256"),
        (_spki(ed25519.Ed25519PrivateKey.generate().public_key()), "not one of the curve P-256"),
        (tokens.public_der(KEY)[:-64] + b"\x01" * 64, "not a public key in"),  # not on the curve
    ],
    ids=itertools.count(),
)
def test_other_keys(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        es256.public_key(data)
    assert "PRIVATE" not in str(caught.value)
