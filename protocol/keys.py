"""Ed25519 keys: the agent's and the hub's identity, as files and as the lines that configurations hold.

A private key is a PKCS #8 PEM file that only its owner may read. A public key is a line `ed25519:BASE64`, the
32 bytes of RFC 8032 in standard base64. Nothing here shows key material in a repr, a message or an exception.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PREFIX: Final = "ed25519:"
SIGNATURE_BYTES: Final = 64
KEY_BYTES: Final = 32
_FILE_BYTES_MAX: Final = 16 * 1024

_FIELD_PRIME: Final = 2**255 - 19
_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
# The y coordinates of the points whose order divides 8 (RFC 8032 section 5.1). Anyone can make a signature
# that verifies under such a "key", and all zeros is a likely placeholder in somebody's configuration.
_SMALL_ORDER: Final = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8, _FIELD_PRIME - _ORDER_8})


class KeyFileError(ValueError):
    """A key that cannot be used: one sentence with what is wrong and what to do, without key material."""


class PublicKey:
    """The public half. Equal keys compare equal; `str()` of one is its line."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        """`raw` is the 32 bytes of RFC 8032; ValueError for anything that is not a usable key."""
        if len(raw) != KEY_BYTES:
            raise ValueError("An Ed25519 public key has 32 bytes")
        y = int.from_bytes(raw, "little") & (2**255 - 1)
        if y >= _FIELD_PRIME or y in _SMALL_ORDER:
            raise ValueError("These 32 bytes are not the public key of any Ed25519 key pair")
        self.raw = raw
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @property
    def line(self) -> str:
        """The key as configurations hold it, `ed25519:BASE64`."""
        return PREFIX + base64.b64encode(self.raw).decode()

    @property
    def fingerprint(self) -> str:
        """A short name for logs: 16 hexadecimal digits of the key's SHA-256. Not for comparing keys."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's signature of `data`."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __str__(self) -> str:
        return self.line

    def __repr__(self) -> str:
        return f"<PublicKey {self.fingerprint}>"


class PrivateKey:
    """The private half. Its repr names the public half only; it does not pickle or compare."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """The key of 32 secret random bytes (RFC 8032 section 5.1.5)."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature; the same data always gives the same signature (RFC 8032)."""
        return self._key.sign(data)

    def _pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return f"<PrivateKey of {self.public.fingerprint}>"


def generate() -> PrivateKey:
    """A new key from the operating system's random numbers."""
    return PrivateKey(Ed25519PrivateKey.generate())


def public_line(key: PrivateKey | PublicKey) -> str:
    """The line `ed25519:BASE64` that the other side's configuration needs."""
    return (key.public if isinstance(key, PrivateKey) else key).line


def parse_public_line(line: str) -> PublicKey:
    """Reads a line `ed25519:BASE64`; white space around it does not matter.

    Raises:
        KeyFileError: it is anything else.
    """
    text = line.strip()
    remedy = "copy the whole line that keygen printed"
    if "PRIVATE KEY" in text:
        raise KeyFileError(f"This is a private key where a public key belongs: {remedy}.")
    if not text.startswith(PREFIX):
        raise KeyFileError(f"A public key must be a line 'ed25519:BASE64': {remedy}.")
    key: PublicKey | None
    try:
        key = PublicKey(base64.b64decode(text.removeprefix(PREFIX), validate=True))
    except (ValueError, binascii.Error):
        key = None
    if key is None or key.line != text:  # base64 has several spellings of the same bytes; one is enough
        raise KeyFileError(f"The text after 'ed25519:' is not an Ed25519 public key: {remedy}.")
    return key


def load_private_key(
    path: str | os.PathLike[str], credentials_directory: str | os.PathLike[str] | None = None
) -> PrivateKey:
    """Reads a key that `save_private_key` or `openssl genpkey -algorithm ed25519` wrote.

    A file that its group or others may read is refused, unless it lies directly in `credentials_directory`,
    which the caller takes from $CREDENTIALS_DIRECTORY: systemd guards that by other means.

    Raises:
        KeyFileError: the file is missing, unreadable, too open, or holds anything but an Ed25519 private key.
    """
    data = _read(Path(path), Path(credentials_directory) if credentials_directory is not None else None)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise KeyFileError(
            f"The key file {path} is protected by a passphrase, which a service cannot type: "
            "make a new key with keygen."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"The key file {path} {_what(data)}: make one with keygen --out FILE.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(
            f"The key file {path} holds a key of another kind than Ed25519: make one with keygen --out FILE."
        )
    return PrivateKey(key)


def _what(data: bytes) -> str:
    if b"-----BEGIN CERTIFICATE-----" in data:
        return "holds a certificate, not a private key"
    if b"-----BEGIN PUBLIC KEY-----" in data or data.startswith(PREFIX.encode()):
        return "holds a public key, not a private key"
    return "does not hold a private key in PEM form"


def _read(path: Path, credentials_directory: Path | None) -> bytes:
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"The key path {path} is not a file: name the file that keygen wrote.")
            if status.st_mode & 0o077 and path.absolute().parent != credentials_directory:
                raise KeyFileError(
                    f"The key file {path} can be read by others than its owner: run 'chmod 600 {path}'."
                )
            data = os.read(descriptor, _FILE_BYTES_MAX + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise KeyFileError(f"The key file {path} does not exist: make one with keygen --out {path}.") from None
    except PermissionError:
        raise KeyFileError(
            f"The key file {path} may not be read by this user: let the user that runs the program own it."
        ) from None
    except OSError as error:
        raise KeyFileError(
            f"The key file {path} cannot be read ({error.strerror}): check the path and the disk."
        ) from None
    if len(data) > _FILE_BYTES_MAX:
        raise KeyFileError(f"The key file {path} is too large to be a key: name the file that keygen wrote.")
    return data


def save_private_key(key: PrivateKey, path: str | os.PathLike[str]) -> None:
    """Writes the key to a new file that only its owner may read, from its first moment, and syncs it to disk.

    Raises:
        KeyFileError: the file exists already, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise KeyFileError(
            f"The file {path} exists already and is not overwritten: move it away, or choose another name."
        ) from None
    except OSError as error:
        raise KeyFileError(
            f"The key file {path} cannot be made ({error.strerror}): check that its directory exists and is yours."
        ) from None
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
            file.write(key._pem())
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise KeyFileError(
            f"The key file {path} cannot be written ({error.strerror}): check the space on its disk."
        ) from None
