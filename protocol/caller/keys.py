"""Private keys of callers: a PEM file, or a key that the caller's program has already."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.keys import KeyFileError
from protocol.signatures.keys import SigningKey

Key = str | os.PathLike[str] | Ed25519PrivateKey | EllipticCurvePrivateKey
"""The name of an unencrypted PEM file, such as `keygen` writes, or a key of `cryptography`."""


def load_key(key: Key) -> Ed25519PrivateKey | EllipticCurvePrivateKey:
    """The key itself.

    Raises:
        KeyFileError: the file cannot be read, or holds no key of these two kinds.
    """
    if not isinstance(key, (str, os.PathLike)):
        return key
    try:
        loaded = serialization.load_pem_private_key(Path(key).read_bytes(), password=None)
    except OSError as error:
        raise KeyFileError(f"The key file {key} cannot be read ({error.strerror}): check the path.") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(f"The key file {key} holds no private key in PEM form without passphrase.") from None
    if not isinstance(loaded, (Ed25519PrivateKey, EllipticCurvePrivateKey)):
        raise KeyFileError(f"The key file {key} holds a key of another kind than Ed25519 or EC.")
    return loaded


def load_signing_key(key: Key) -> SigningKey:
    """The key as it signs requests.

    Raises:
        KeyFileError: as for `load_key`, or it is on another curve than P-256.
    """
    try:
        return SigningKey(load_key(key))
    except KeyFileError:
        raise
    except ValueError as error:
        raise KeyFileError(f"This key cannot sign requests: {error}.") from None
