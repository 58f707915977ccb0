"""Callers' API keys (`protocol.ops.apikeys`): whose it is.

A key is looked up by its digest, so how long that takes says nothing about any key: constant time by construction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from protocol.ops.apikeys import HASH_PREFIX, digest, looks_like
from tunnel_hub.gateway.grant import NEVER, Grant, Unauthenticated, Verified

_HASH: Final = re.compile(HASH_PREFIX + "[0-9a-fA-F]{64}")


def read_hash(line: str) -> str:
    """A hash line's 64 hex digits, in lower case.

    Raises:
        ValueError: it is no hash line; a sentence that does not repeat it, for it may be a key.
    """
    if _HASH.fullmatch(line) is None:
        raise ValueError("This is not the hash of an API key: write sha256: and 64 hex digits.")
    return line.removeprefix(HASH_PREFIX).lower()


class ApiKeys:
    """Verifies API keys."""

    def __init__(self, owners: Mapping[str, str]) -> None:
        """owners: by hash line, who has the key. Raises ValueError as `read_hash` does."""
        self._grants = {
            hashed: Grant(owner, "api_key", hashed)
            for hashed, owner in ((read_hash(line), owner) for line, owner in owners.items())
        }

    def has(self, credential: str) -> bool:
        """Whether a key with this digest (`Grant.credential`) is still in the configuration."""
        return credential in self._grants

    def verify(self, key: bytes, now: float) -> Verified:
        """Whose key it is. Raises Unauthenticated."""
        del now  # a key holds until it leaves the configuration
        grant = self._grants.get(digest(key)) if looks_like(key) else None
        if grant is None:
            raise Unauthenticated("The API key is not valid.", "the API key is not in the configuration")
        return Verified(grant, NEVER)
