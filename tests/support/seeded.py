"""Secrets that tests hand to programs; no log, metric, audit file or command line may hold one of them."""

from __future__ import annotations

SEEDED: list[str] = []


def seed(secret: str) -> str:
    """Record the secret and return it."""
    SEEDED.append(secret)
    return secret
