"""A name for a public key that vouches for callers."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def keyprint(key: EllipticCurvePublicKey | RSAPublicKey) -> str:
    """SHA-256 in hex of its SubjectPublicKeyInfo: the same for the same key, wherever it came from."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
