"""The keys that client tokens are signed with."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key


class ProvisioningKeyError(ValueError):
    """A provisioning key cannot be used; one sentence with the fix."""


def load_provisioning_key(file: Path) -> EllipticCurvePublicKey:
    """A PEM public key for ES256. Raises ProvisioningKeyError."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except OSError as error:
        raise ProvisioningKeyError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ProvisioningKeyError(
            f"{file} holds no PEM public key; make it from the key pair with openssl ec -pubout"
        ) from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ProvisioningKeyError(f"{file} holds a key of another kind than P-256, which ES256 needs")
    return key
