"""The keys that client tokens are signed with."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from . import es256


class ProvisioningKeyError(ValueError):
    """A provisioning key cannot be used; one sentence with the fix."""


def load_provisioning_key(file: Path) -> EllipticCurvePublicKey:
    """A PEM public key for ES256. Raises ProvisioningKeyError."""
    try:
        return es256.public_key(file.read_bytes())
    except OSError as error:
        raise ProvisioningKeyError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ProvisioningKeyError(
            f"{file} holds no P-256 public key in PEM; make it from the key pair with openssl ec -pubout"
        ) from None
