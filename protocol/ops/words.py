"""Numbers and lists in the words of a line for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SHOWN: Final = 6
"""Items of a list that are named; the others are counted."""


def count(number: int, word: str) -> str:
    """As "1 session", "2 sessions"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def first(items: Sequence[str]) -> list[str]:
    """The first items, and then how many more there are."""
    more = [f"{len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [*items[:SHOWN], *more]


def some(items: Sequence[str], separator: str = ", ") -> str:
    """The same in one text."""
    return separator.join(first(items))
