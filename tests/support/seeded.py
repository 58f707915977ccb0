"""Every secret that the tests' own mints make, so that a later search can show that none is in a log."""

from __future__ import annotations

SEEDED: list[str] = []


def seed(secret: str) -> str:
    """Records `secret` and returns it."""
    SEEDED.append(secret)
    return secret
