"""Mints of the gateway's credentials, with knobs to make them wrong.

    provisioner = Provisioner()                       # its public half goes into the hub's configuration
    client = provisioner.client("visits", ["^/nomisapi/"])
    bearer = client.bearer()                          # made now; jti=..., iat=..., header={...}, payload={...}

What `header` and `payload` say replaces the usual member; ABSENT takes it out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support.seeded import seed

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Object = Mapping[str, Any]

ABSENT: Final = object()
NONE: Final[Object] = MappingProxyType({})
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unb64(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def p256() -> ec.EllipticCurvePrivateKey:
    """A new key, its PEM seeded."""
    key = ec.generate_private_key(ec.SECP256R1())
    seed(private_pem(key))
    return key


def private_pem(key: PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_pem(key: PrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def public_der(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def sign(algorithm: str, key: Any, data: bytes) -> bytes:
    """The JWS signature; for HS256 `key` is bytes, for "none" anything."""
    signature: bytes
    match algorithm:
        case "ES256":
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32) + s.to_bytes(32)
        case "RS256":
            signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        case "PS256":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
            signature = key.sign(data, pss, hashes.SHA256())
        case "HS256":
            signature = hmac.digest(key, data, hashlib.sha256)
        case _:
            signature = b""
    return signature


def jwt(header: Object | bytes, payload: Object | bytes, key: Any, algorithm: str = "ES256") -> bytes:
    """A JWT of what is given, as JSON or as the very bytes; the header may lie about the algorithm."""
    parts = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload))
    signed = b".".join(map(b64, parts))
    whole = signed + b"." + b64(sign(algorithm, key, signed))
    seed(whole.decode())
    return whole


def changed(usual: Object, knobs: Object) -> dict[str, Any]:
    return {name: value for name, value in {**usual, **knobs}.items() if value is not ABSENT}


def twin(token: bytes) -> bytes:
    """The same ES256 token in another text: with the other signature that holds, made without any key."""
    signed, _, signature = token.rpartition(b".")
    raw = unb64(signature)
    other = (ORDER - int.from_bytes(raw[32:])).to_bytes(32)
    return signed + b"." + b64(raw[:32] + other)


class Client:
    """One client with its own key and client token."""

    def __init__(self, name: str, token: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        self.name = name
        self.token = token
        self.key = key

    @property
    def fingerprint(self) -> str:
        """What the revocation feed lists."""
        return sha256(self.token).hexdigest()

    def bearer(
        self,
        iat: Any = None,
        *,
        jti: Any = ABSENT,
        header: Object = NONE,
        payload: Object = NONE,
        key: Any = None,
        algorithm: str = "ES256",
    ) -> bytes:
        """A bearer made at `iat`, by default now. key, algorithm: what really signs it."""
        usual = {"iat": time.time() if iat is None else iat, "token": self.token.decode(), "jti": jti}
        return jwt(
            changed({"alg": "ES256", "typ": "JWT"}, header),
            changed(usual, payload),
            self.key if key is None else key,
            algorithm,
        )


class Provisioner:
    """An environment's provisioning key."""

    def __init__(self) -> None:
        self.key = p256()

    @property
    def public_pem(self) -> str:
        return public_pem(self.key)

    def client(
        self,
        name: Any = "visits",
        access: Sequence[str] | Any = ("^/nomisapi/.*$",),
        *,
        lifetime: float = 365 * 86_400,
        now: float | None = None,
        header: Object = NONE,
        payload: Object = NONE,
        key: Any = None,
        algorithm: str = "ES256",
        own: ec.EllipticCurvePrivateKey | None = None,
    ) -> Client:
        """A client with a new token. key, algorithm: what really signs the token; own: the client's key."""
        made = time.time() if now is None else now
        own = own or p256()
        usual = {
            "iat": int(made),
            "exp": int(made + lifetime),
            "client": name,
            "key": base64.b64encode(public_der(own)).decode(),
            "access": list(access) if isinstance(access, tuple) else access,
        }
        token = jwt(
            changed({"alg": "ES256", "typ": "JWT"}, header),
            changed(usual, payload),
            self.key if key is None else key,
            algorithm,
        )
        return Client(name, token, own)
