"""Query keys of allow rules: which keys a query may hold. Values play no part, and nothing is decoded.

A query is pieces joined by `&`, and a piece's key is what stands before its first `=`. Servers disagree about
keys that are encoded or empty, about `;` between pieces, and about which of two values with one key counts: under
a rule with keys such queries are refused, so that the boundary and the upstream see the same keys.
"""

from __future__ import annotations

import re
from typing import Final

NO_KEYS: Final[frozenset[bytes]] = frozenset()

NAMES_MAX: Final = 16
"""Keys of one query that a log may name."""

_is_name = re.compile(rb"[A-Za-z][A-Za-z_.-]{0,47}(?:\[\])?").fullmatch
_is_key = re.compile(r"[A-Za-z0-9._~!$'(),:@/\[\]-]+").fullmatch


class BadQuery(ValueError):
    """A query that no rule with keys allows. The message says why and does not quote it."""


def keys_of(target: bytes) -> frozenset[bytes]:
    """The keys of a target's query, none when there is no query.

    Raises:
        BadQuery: they are not the same for everyone who reads them.
    """
    _, mark, query = target.partition(b"?")
    if not mark:
        return NO_KEYS
    if b";" in query:
        raise BadQuery("holds a semicolon")
    keys = [piece.partition(b"=")[0] for piece in query.split(b"&")]
    found = frozenset(keys)
    if b"" in found:
        raise BadQuery("holds an empty key")
    if any(b"%" in key or b"+" in key for key in found):
        raise BadQuery("holds an encoded key")
    if len(found) != len(keys):
        raise BadQuery("holds a key twice")
    return found


def names_of(target: bytes) -> list[str]:
    """The query's keys for logs: those that look like names, which an identifier in a key's place does not."""
    pieces = target.partition(b"?")[2].split(b"&", NAMES_MAX)[:NAMES_MAX]
    keys = dict.fromkeys(piece.partition(b"=")[0] for piece in pieces)
    return [key.decode("ascii") if _is_name(key) else "*" for key in keys]


def rule_keys(text: str) -> frozenset[bytes]:
    """The keys that a rule names behind its question mark: `a&b`, or nothing.

    Raises:
        ValueError: half a sentence that says what to write instead.
    """
    if not text:
        return NO_KEYS
    keys = text.split("&")
    for key in keys:
        if "=" in key:
            raise ValueError(f"has a value behind the query key '{key.partition('=')[0]}': leave the value out")
        if not _is_key(key):
            raise ValueError(
                f"has the query key '{key}': write names as callers send them, joined by &, without wildcards, "
                "percent signs and plus signs"
            )
        if keys.count(key) > 1:
            raise ValueError(f"names the query key '{key}' twice: once is enough")
    return frozenset(key.encode("ascii") for key in keys)
