"""The two kinds of key that sign requests: Ed25519 and ECDSA on P-256 (RFC 9421 sections 3.3.4 and 3.3.6)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from protocol.keys import PREFIX as ED25519_PREFIX
from protocol.keys import KeyFileError, PublicKey, parse_public_line

ED25519: Final = "ed25519"
ES256: Final = "ecdsa-p256-sha256"
"""Names of RFC 9421's registry, as they stand in the parameter `alg`."""

ES256_PREFIX: Final = "es256:"

_SIGNATURE_BYTES: Final = 64
"""Of both kinds: Ed25519's, and r and s of 32 bytes each."""

_REMEDY: Final = (
    "write 'ed25519:BASE64' as keygen prints it, or 'es256:' and the text between the first and the last line of "
    "a PEM public key on P-256, in one line"
)


class VerifyKey:
    """A public key as an agent's file holds it. Equal keys compare equal; `str()` of one is its line."""

    __slots__ = ("_key", "algorithm", "fingerprint", "line")

    def __init__(self, key: PublicKey | ec.EllipticCurvePublicKey) -> None:
        """ValueError for a key on another curve than P-256."""
        if isinstance(key, PublicKey):
            self.algorithm, self.line, self.fingerprint = ED25519, key.line, key.fingerprint
        else:
            if not isinstance(key.curve, ec.SECP256R1):
                raise ValueError("An es256 key is one on the curve P-256")  # noqa: TRY004
            der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            self.algorithm = ES256
            self.line = ES256_PREFIX + base64.b64encode(der).decode()
            self.fingerprint = hashlib.sha256(der).hexdigest()[:16]
        self._key = key

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's signature of `data`."""
        if len(signature) != _SIGNATURE_BYTES:
            return False
        if isinstance(self._key, PublicKey):
            return self._key.verify(signature, data)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self._key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self.line == other.line

    def __hash__(self) -> int:
        return hash(self.line)

    def __str__(self) -> str:
        return self.line

    def __repr__(self) -> str:
        return f"<VerifyKey {self.algorithm} {self.fingerprint}>"


class SigningKey:
    """The private half. Its repr names the public half only; it does not compare."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        """ValueError for a key of another kind."""
        if isinstance(key, Ed25519PrivateKey):
            self.public = VerifyKey(PublicKey(key.public_key().public_bytes_raw()))
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            self.public = VerifyKey(key.public_key())
        else:
            raise ValueError("Requests are signed with an Ed25519 key or an EC key on P-256")  # noqa: TRY004
        self._key = key

    @property
    def algorithm(self) -> str:
        return self.public.algorithm

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(data)
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"<SigningKey of {self.public.fingerprint}>"


def parse_verify_line(line: str) -> VerifyKey:
    """Reads `ed25519:BASE64` or `es256:BASE64`, the latter a DER public key; white space around does not matter.

    Raises:
        KeyFileError: it is anything else.
    """
    text = line.strip()
    if text.startswith(ED25519_PREFIX):
        return VerifyKey(parse_public_line(text))
    if "PRIVATE KEY" in text:
        raise KeyFileError(f"This is a private key where a public key belongs: {_REMEDY}.")
    if not text.startswith(ES256_PREFIX):
        raise KeyFileError(f"A signer's public key is not written so: {_REMEDY}.")
    try:
        key = serialization.load_der_public_key(base64.b64decode(text.removeprefix(ES256_PREFIX), validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileError(f"The text after 'es256:' is not a public key on the curve P-256: {_REMEDY}.")
    return VerifyKey(key)
