"""Channel binding: what the agent saw of TLS must be what the hub shows (RFC 5929, `tls-server-end-point`).

The agent puts the hash of the certificate into HELLO, both sides sign it, and the hub compares. A proxy that
terminates TLS on the way shows another certificate, and cannot change the hash without breaking a signature.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from enum import Enum
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

_FUNCTIONS: Final = frozenset({"sha224", "sha256", "sha384", "sha512"})


class AnyCertificate(Enum):
    """See `ANY_CERTIFICATE`."""

    ANY = "any"


ANY_CERTIFICATE: Final = AnyCertificate.ANY
"""A binding that accepts whatever the agent saw, TLS or not. Whoever sets it should log `certificate_hash`."""

Binding = Collection[bytes] | Literal[AnyCertificate.ANY] | None
"""What agents must have seen: one of these certificate hashes; anything; None: no TLS at all."""


def certificate_hash(der: bytes) -> bytes:
    """The `tls-server-end-point` of a server certificate in DER form (RFC 5929 section 4.1).

    The hash function is that of the certificate's signature, with SHA-256 in the place of MD5 and SHA-1. Where
    there is no such function (Ed25519, Ed448, a certificate that cannot be parsed), RFC 5929 defines nothing; here
    it is SHA-256, as for functions outside SHA-2. Agent and hub both call this, so they agree in any case.
    """
    try:
        algorithm = x509.load_der_x509_certificate(der).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        algorithm = None
    name = algorithm.name if algorithm is not None else "sha256"
    return hashlib.new(name if name in _FUNCTIONS else "sha256", der).digest()


def binding_problem(binding: Binding, seen: bytes | None) -> str:
    """Why the agent must not be let in, or the empty string."""
    if binding is ANY_CERTIFICATE:
        return ""
    if binding is None:
        if seen is None:
            return ""
        return (
            f"The agent sees the TLS certificate {show(seen)}, but this hub serves agents without TLS: if a load "
            "balancer in front of it terminates TLS, add that hash to agents_certificates under [listen] in the "
            "hub's configuration; if none does, something intercepts the connection."
        )
    if seen is None:
        return (
            "The agent is connected without TLS, but the hub's agents come over TLS: use a wss:// URL for the hub "
            "in the agent's configuration."
        )
    # Every hash is compared, each in constant time.
    matches = [hmac.compare_digest(seen, expected) for expected in binding]
    if any(matches):
        return ""
    return (
        f"The agent sees the TLS certificate {show(seen)}, which is not the hub's: a proxy between them "
        "intercepts TLS. Exempt the hub's host from interception, or, if the proxy is meant to be there, add "
        "that hash to agents_certificates under [listen] in the hub's configuration."
    )


def show(certificate_hash: bytes) -> str:
    """The hash as a configuration holds it: `sha256:HEX`, the function known by the hash's size."""
    return f"sha{len(certificate_hash) * 8}:{certificate_hash.hex()}"
