from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from protocol.keys import KeyFileError
from protocol.signatures.keys import ED25519, ES256, SigningKey, VerifyKey, parse_verify_line
from tests.unit.signatures.signing import EC, ED, OTHER

P256 = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf"
    "w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ=="
)


@pytest.mark.parametrize(("key", "algorithm"), [(ED, ED25519), (EC, ES256)])
def test_both_kinds_sign_and_verify(key: SigningKey, algorithm: str) -> None:
    signature = key.sign(b"data")
    assert (key.algorithm, len(signature)) == (algorithm, 64)
    again = parse_verify_line(f"  {key.public.line}\n")
    assert again == key.public
    assert hash(again) == hash(key.public)
    assert again != OTHER.public
    assert str(again) == key.public.line
    assert again.verify(signature, b"data")
    assert not again.verify(signature, b"date")
    assert not OTHER.public.verify(signature, b"data")
    for wrong in (b"", signature[:-1], signature + b"x", bytes(64), b"\xff" * 64):
        assert not again.verify(wrong, b"data")
    assert len(again.fingerprint) == 16
    assert repr(key) == f"<SigningKey of {again.fingerprint}>"
    assert repr(again) == f"<VerifyKey {algorithm} {again.fingerprint}>"


def test_the_vector_of_rfc_9421_for_ecdsa_p256_sha256() -> None:
    """Appendix B.2.4 with the key of B.1.3."""
    base = (
        b'"@status": 200\n'
        b'"content-type": application/json\n'
        b'"content-digest": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJua'
        b"hq4l5aGgfLQ==:\n"
        b'"content-length": 23\n'
        b'"@signature-params": ("@status" "content-type" "content-digest" "content-length");created=1618884473;'
        b'keyid="test-key-ecc-p256"'
    )
    signature = base64.b64decode(
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw=="
    )
    key = parse_verify_line("es256:" + P256)
    assert key.verify(signature, base)
    assert not key.verify(signature, base + b" ")


def _der(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "not written so"),
        (P256, "not written so"),
        ("-----BEGIN PRIVATE KEY-----", "private key where a public key"),
        ("ed25519:" + P256, "not an Ed25519 public key"),
        ("es256:", "not a public key on the curve P-256"),
        ("es256:" + P256[:-4], "not a public key on the curve P-256"),
        ("es256:" + P256[:60] + "\n" + P256[60:], "not a public key on the curve P-256"),
        ("es256:" + _der(ec.derive_private_key(7, ec.SECP384R1()).public_key()), "not a public key on the curve"),
        ("es256:" + _der(rsa.generate_private_key(65537, 1024).public_key()), "not a public key on the curve"),
    ],
)
def test_what_is_no_public_key(line: str, why: str) -> None:
    with pytest.raises(KeyFileError, match=why):
        parse_verify_line(line)


def test_other_kinds_of_key() -> None:
    other = ec.derive_private_key(7, ec.SECP384R1())
    with pytest.raises(ValueError, match="P-256"):
        VerifyKey(other.public_key())
    with pytest.raises(ValueError, match="P-256"):
        SigningKey(other)
    with pytest.raises(ValueError, match="Ed25519"):
        SigningKey(rsa.generate_private_key(65537, 1024))  # type: ignore[arg-type]
