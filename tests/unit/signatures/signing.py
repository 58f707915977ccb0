"""Signed requests for tests: right ones, and ones with any part wrong."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.signatures.base import Signable, signature_base
from protocol.signatures.keys import SigningKey

NOW = 1_700_000_000.0
WINDOW = 300.0
ED = SigningKey(Ed25519PrivateKey.from_private_bytes(b"e" * 32))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(b"o" * 32))
EC = SigningKey(ec.derive_private_key(0xEC, ec.SECP256R1()))
SIGNERS = {"booking": (OTHER.public, ED.public, EC.public), "money": (OTHER.public,)}

GET = ("@method", "@path", "@query")
POST = (*GET, "content-digest")
PARAMETERS = f';created={NOW:.0f};nonce="0123456789";keyid="booking";tag="tunnel"'


def digest(body: bytes, name: str = "sha-256") -> bytes:
    value = base64.b64encode(hashlib.new(name.replace("-", ""), body).digest())
    return f"{name}=:{value.decode()}:".encode()


def signed(
    components: Sequence[str] = GET,
    parameters: str = PARAMETERS,
    *,
    method: bytes = b"GET",
    target: bytes = b"/visits?a=1",
    fields: Sequence[bytes] = (),
    key: SigningKey = ED,
    label: str = "tunnel",
    authority: bytes = b"hub",
) -> Signable:
    """A request with its signature, over the components and with the parameters as they are written here."""
    described = "(" + " ".join(f'"{name}"' for name in components) + ")" + parameters
    bare = Signable(method, target, list(fields), authority)
    signature = base64.b64encode(key.sign(signature_base(bare, components, described))).decode()
    return bare._replace(
        fields=[
            *fields,
            *(b"Signature-Input", f"{label}={described}".encode()),
            *(b"Signature", f"{label}=:{signature}:".encode()),
        ]
    )
