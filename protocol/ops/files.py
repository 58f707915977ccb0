"""Kinds of value that name files, keys and certificates.

A relative name starts at the configuration file's folder; "credential:NAME" is a systemd credential. Files are
looked at while the configuration is read, and read again when they are needed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from protocol.binding import show
from protocol.keys import PublicKey, load_private_key, parse_public_line
from protocol.ops.values import Context, Kind, is_name, quoted, read_secret, text_of, toml_string
from protocol.signatures.keys import VerifyKey, parse_verify_line

_CREDENTIAL: Final = "credential:"
_HASH = re.compile(r"sha(224|256|384|512):([0-9A-Fa-f:]*)")


def parse_path(value: object, context: Context) -> Path:
    """A file, relative to the configuration file's folder, or "credential:NAME" of systemd."""
    text = text_of(value, "a file name")
    if not text or "\0" in text:
        raise ValueError("is empty; write the name of a file")
    if not text.startswith(_CREDENTIAL):
        return context.folder / text
    name = text.removeprefix(_CREDENTIAL)
    if not is_name(name):
        raise ValueError(
            f"{quoted(text)} does not name a credential; write it as in LoadCredential=NAME of the unit"
        )
    folder = context.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        if context.check_files:
            raise ValueError(
                f"{quoted(text)} needs $CREDENTIALS_DIRECTORY, which is not set; "
                f"add LoadCredential={name}:FILE to the systemd unit, or name a file"
            )
        folder = "/nonexistent"
    return Path(folder) / name


def parse_file(value: object, context: Context) -> Path:
    """A file that exists and may be read."""
    path = parse_path(value, context)
    if context.check_files:
        if not path.exists():
            raise ValueError(f"no such file: {path}; relative names start at the configuration file's folder")
        if not path.is_file():
            raise ValueError(f"{path} is not a file")
        if not os.access(path, os.R_OK):
            raise ValueError(f"{path} may not be read by this user; change its owner or mode")
    return path


def parse_own_file(value: object, context: Context) -> Path:
    """A file that the program itself writes."""
    if text_of(value, "a file name").startswith(_CREDENTIAL):
        raise ValueError(f"{quoted(value)} is a credential, which nobody can write to; name a file")
    return parse_path(value, context)


def parse_secret_file(value: object, context: Context) -> Path:
    """A file with one line of secret text; its content is checked, not kept."""
    path = parse_file(value, context)
    if context.check_files:
        read_secret(path)
    return path


def parse_key_file(value: object, context: Context) -> Path:
    """A private key as `keygen` makes it; loaded to check it, not kept."""
    path = parse_path(value, context)
    if context.check_files:
        load_private_key(path, context.environ.get("CREDENTIALS_DIRECTORY"))
    return path


def parse_public_key(value: object, _context: Context | None = None) -> PublicKey:
    """The line that `keygen` printed."""
    return parse_public_line(text_of(value, 'a public key such as "ed25519:BASE64"'))


def parse_verify_key(value: object, _context: Context | None = None) -> VerifyKey:
    """A signer's public key."""
    return parse_verify_line(text_of(value, 'a public key such as "ed25519:BASE64" or "es256:BASE64"'))


CertificateHashes = frozenset[bytes] | Literal["any"]
"""Hashes of the certificates that agents may have seen (`protocol.binding.certificate_hash`), or "any"."""


def parse_hashes(value: object, _context: Context | None = None) -> CertificateHashes:
    """A list of "sha256:HEX" (also sha224, sha384, sha512; colons between the bytes are fine), or "any"."""
    if value == "any":
        return "any"
    if not isinstance(value, list):
        raise ValueError(f'{quoted(value)} is neither "any" nor a list of "sha256:HEX"')  # noqa: TRY004
    hashes = set()
    for number, item in enumerate(value):
        match = _HASH.fullmatch(item) if isinstance(item, str) else None
        digits = match[2].replace(":", "") if match else ""
        if match is None or len(digits) * 4 != int(match[1]):
            raise ValueError(
                f'entry {number}, {quoted(item)}, is not "sha256:" and 64 hexadecimal digits (with a signature '
                "by SHA-384, sha384 and 96); the hub's log names the hash that an agent saw"
            )
        hashes.add(bytes.fromhex(digits))
    return frozenset(hashes)


def _show_hashes(value: CertificateHashes) -> str:
    return '"any"' if value == "any" else "[" + ", ".join(f'"{show(item)}"' for item in sorted(value)) + "]"


NewFile = Annotated[Path, Kind("file", parse_path, toml_string)]
"""A file that need not exist."""

Hashes = Annotated[CertificateHashes, Kind('list of "sha256:HEX", or "any"', parse_hashes, _show_hashes)]
File = Annotated[Path, Kind("file or credential", parse_file, toml_string)]
OwnFile = Annotated[Path, Kind("file", parse_own_file, toml_string)]
SecretFile = Annotated[Path, Kind("file or credential", parse_secret_file, toml_string)]
KeyFile = Annotated[Path, Kind("file or credential", parse_key_file, toml_string)]
PublicKeyLine = Annotated[PublicKey, Kind("public key", parse_public_key, toml_string)]
VerifyKeyLine = Annotated[VerifyKey, Kind("ed25519: or es256: key", parse_verify_key, toml_string)]
