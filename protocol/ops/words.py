"""Numbers and lists in the words of a line for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

SHOWN: Final = 6
"""Items of a list that are named; the others are counted."""


def count(number: int, word: str) -> str:
    """As "1 session", "2 sessions"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def safe(text: str) -> str:
    """Text that others wrote, on one line and unable to steer a terminal: what is not printable is escaped."""
    if text.isprintable():
        return text
    # The narrow space between thousands does no harm.
    return "".join(c if c.isprintable() or c == "\u202f" else c.encode("unicode_escape").decode() for c in text)


def safe_json(text: str) -> str:
    """The same of JSON text, which means what it meant: encoders leave DEL, C1 and the like as they are."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def first(items: Sequence[str]) -> list[str]:
    """The first items, and then how many more there are."""
    more = [f"{len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [*items[:SHOWN], *more]


def some(items: Sequence[str], separator: str = ", ") -> str:
    """The same in one text."""
    return separator.join(first(items))
