"""API keys: random, given to a caller once, and known here by their SHA-256 only.

A plain hash does, because there are 256 random bits to guess. A key is looked up by its digest, so how long that
takes says nothing about any key: constant time by construction.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from tunnel_hub.gateway.grant import NEVER, Grant, Unauthenticated, Verified

PREFIX: Final = "tk_"
HASH_PREFIX: Final = "sha256:"
_RANDOM_BYTES: Final = 32
_KEY: Final = re.compile(rb"tk_[A-Za-z0-9_-]{43}")
_HASH: Final = re.compile(HASH_PREFIX + "[0-9a-fA-F]{64}")


def make() -> tuple[str, str]:
    """A new key, for the caller alone, and its hash line, for the configuration."""
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return key, HASH_PREFIX + sha256(key.encode()).hexdigest()


def looks_like(credential: bytes) -> bool:
    """Whether it is an API key by its form."""
    return _KEY.fullmatch(credential) is not None


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
            digest: Grant(owner, "api_key", digest)
            for digest, owner in ((read_hash(line), owner) for line, owner in owners.items())
        }

    def has(self, credential: str) -> bool:
        """Whether a key with this digest (`Grant.credential`) is still in the configuration."""
        return credential in self._grants

    def verify(self, key: bytes, now: float) -> Verified:
        """Whose key it is. Raises Unauthenticated."""
        del now  # a key holds until it leaves the configuration
        grant = self._grants.get(sha256(key).hexdigest()) if looks_like(key) else None
        if grant is None:
            raise Unauthenticated("The API key is not valid.", "the API key is not in the configuration")
        return Verified(grant, NEVER)
