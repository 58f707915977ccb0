"""What every answer must be: bodies and sizes are drawn from the request's own id, so that a mix-up shows."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Iterator
from functools import lru_cache

PIECE = 32 * 1024
DUPLICATE = b'{"error":{"message":"Duplicate post"}}'
HOST = "visits.internal"


def size_of(ident: bytes) -> int:
    """Bytes of the answer to `ident`; spread as the recorded calls are, with a photograph among 500."""
    drawn = zlib.crc32(ident)
    kind, rest = drawn % 1000, drawn // 1000
    if kind < 600:
        return 30 + rest % 60
    if kind < 950:
        return 90 + rest % 1_000
    if kind < 998:
        return 1_090 + rest % 10_600
    return 40_000 + rest % 110_000


def body_of(ident: bytes, size: int | None = None) -> bytes:
    """The only right body for `ident`: it repeats the id, over and over."""
    wanted = size_of(ident) if size is None else size
    unit = ident + b"|%d|" % wanted
    return (unit * (wanted // len(unit) + 1))[:wanted]


@lru_cache(maxsize=64)
def _block(seed: str) -> bytes:
    return random.Random(seed).randbytes(PIECE)


def bulk_pieces(seed: str, size: int) -> Iterator[bytes]:
    """A large body of `size` bytes, piece by piece; every piece names its place."""
    block = _block(seed)
    for number in range(-(-size // PIECE)):
        yield (b"%016x" % number + block[16:])[: size - number * PIECE]


def bulk_hash(seed: str, size: int) -> str:
    """The SHA-256 of that body."""
    found = hashlib.sha256()
    for piece in bulk_pieces(seed, size):
        found.update(piece)
    return found.hexdigest()
