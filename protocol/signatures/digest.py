"""Content-Digest (RFC 9530): what a body must hash to."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import http_sf

FIELD: Final = "content-digest"

_HASHES: Final = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
FIELD_MAX: Final = 4096
"""Bytes of the structured fields that are read here."""


class BadDigest(ValueError):
    """The message is a sentence about the field or the body; it quotes neither."""


def content_digest(body: bytes) -> str:
    """The field's value for `body`, by SHA-256."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


class Digests:
    """The digests that one request states. `check` its body once that is whole."""

    __slots__ = ("_stated",)

    def __init__(self, fields: list[bytes]) -> None:
        """fields: the values of every Content-Digest line.

        Raises:
            BadDigest: malformed, or neither sha-256 nor sha-512 is among them.
        """
        try:
            stated = dictionary(fields)
        except ValueError:
            raise BadDigest("Content-Digest is not a well-formed dictionary (RFC 9530)") from None
        self._stated: dict[str, bytes] = {}
        for name, member in stated.items():
            if name in _HASHES:
                if not isinstance(member[0], bytes):
                    raise BadDigest(f"{name} of Content-Digest is not a byte sequence between colons")
                self._stated[name] = member[0]
        if not self._stated:
            raise BadDigest("Content-Digest holds neither sha-256 nor sha-512")

    def check(self, body: bytes) -> None:
        """Every digest stated must be the body's. Raises BadDigest."""
        for name, digest in self._stated.items():
            if _HASHES[name](body).digest() != digest:
                raise BadDigest(f"the body that came does not have the {name} that Content-Digest states")


def dictionary(fields: list[bytes]) -> dict[str, Any]:
    """A structured-field dictionary from all lines of a field: (value, parameters) by key.

    Raises:
        ValueError: malformed, a key occurs twice, or longer than `FIELD_MAX`.
    """
    value = b", ".join(fields)
    if len(value) > FIELD_MAX:
        raise ValueError("too long")
    parsed = http_sf.parse(value, tltype="dictionary", on_duplicate_key=_refuse_duplicate)
    assert isinstance(parsed, dict)
    return parsed


def _refuse_duplicate(_key: str, _where: str) -> None:
    raise ValueError("a key occurs twice")
