"""ES256 (RFC 7518 section 3.4): ECDSA on the curve P-256 with SHA-256.

By `cryptography` itself, because `jwt.decode` takes twice as long for each bearer as the signature alone.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

SIGNATURE_BYTES: Final = 64
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ALGORITHM: Final = ec.ECDSA(hashes.SHA256())


def verify(key: ec.EllipticCurvePublicKey, signed: bytes, signature: bytes) -> bool:
    """Whether `signature` (r and s, 32 bytes each) is that of `signed` by the owner of `key`."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    try:
        key.verify(encode_dss_signature(r, s), signed, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def twin(signature: bytes) -> bytes:
    """The other signature that holds wherever this valid one does: anybody can make it, without the key."""
    return signature[:32] + (_ORDER - int.from_bytes(signature[32:])).to_bytes(32)


def public_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """A P-256 public key from SubjectPublicKeyInfo, DER or PEM.

    Raises:
        ValueError: it is something else; a sentence for the person who provided it, without its text.
    """
    load = serialization.load_pem_public_key if data.startswith(b"-----") else serialization.load_der_public_key
    try:
        key = load(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if key is None:
        raise ValueError("It is not a public key in PEM or DER (SubjectPublicKeyInfo).")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("It is a public key, but not one of the curve P-256, which ES256 needs.")  # noqa: TRY004
    return key
