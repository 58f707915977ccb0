"""Deterministic damage to the corpus."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzz.target import join

CORPUS = {file.name: file.read_bytes() for file in sorted((Path(__file__).parent / "corpus").iterdir())}


def mutate(rng: random.Random, pool: list[list[bytes]]) -> bytes:
    """Some messages of the corpus, put together and damaged."""
    messages = [
        b"".join(rng.choice(rng.choice(pool)) for _ in range(rng.choice([1, 1, 2, 4])))
        for _ in range(rng.choice([1, 1, 2, 3]))
    ]
    damaged = bytearray(rng.choice(messages))
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        at = rng.randrange(len(damaged)) if damaged else 0
        kind = rng.randrange(5)
        if kind == 0 and damaged:
            damaged[at] = rng.randrange(256)
        elif kind == 1 and damaged:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            damaged[at:at] = rng.choice(
                [b"\xc0", b"\xff", b"\x00", b"\x90", b"\xcf" + b"\xff" * 8, rng.randbytes(3)]
            )
        elif kind == 3:
            del damaged[at : at + rng.randrange(1, 4)]
        else:
            damaged = damaged[: at + 1]
    return join(rng.randrange(8), [*messages, bytes(damaged), rng.choice(messages)])
