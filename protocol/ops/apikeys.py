"""Keys that programs show: random, given out once, and known to the configuration by their SHA-256 only.

Callers' API keys and operators' keys are of this form. A plain hash does, because there are 256 random bits to
guess.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import Annotated, Final

from protocol.ops.values import Context, Kind, quoted, text_of

PREFIX: Final = "tk_"
HASH_PREFIX: Final = "sha256:"
_RANDOM_BYTES: Final = 32
_KEY: Final = re.compile(rb"tk_[A-Za-z0-9_-]{43}")
_HASH: Final = re.compile(HASH_PREFIX + "[0-9a-f]{64}")


def make() -> tuple[str, str]:
    """A new key, for its owner alone, and its hash line, for the configuration."""
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return key, HASH_PREFIX + digest(key.encode())


def looks_like(credential: bytes) -> bool:
    """Whether it is such a key by its form."""
    return _KEY.fullmatch(credential) is not None


def digest(key: bytes) -> str:
    """What a hash line says of this key: 64 hex digits, in lower case."""
    return sha256(key).hexdigest()


def parse_key_hash(value: object, _context: Context | None = None) -> str:
    """The line that `tunnel-hub api-key` printed for the configuration."""
    text = text_of(value, 'a hash such as "sha256:HEX"')
    if text.startswith(PREFIX):
        raise ValueError("is an API key itself; write the line with its hash that `tunnel-hub api-key` printed")
    if not _HASH.fullmatch(text):
        raise ValueError(f'{quoted(text)} is not "sha256:" and 64 hexadecimal digits in lower case')
    return text


KeyHash = Annotated[str, Kind("key hash", parse_key_hash, lambda line: f'"{line}"')]
