"""Numbers and lists in the words of a line for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SHOWN: Final = 6
"""Items of a list that are named; the others are counted."""

_TIMES: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES: Final = ("KiB", "MiB", "GiB", "TiB")


def count(number: int, word: str) -> str:
    """As "1 session", "2 sessions"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def some(items: Sequence[str], separator: str = ", ") -> str:
    """The first items, and how many more there are."""
    more = [f"{len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return separator.join([*items[:SHOWN], *more])


def duration(seconds: float) -> str:
    """The one or two greatest units: "0.4 ms", "12 ms", "1.5 s", "3 h 12 min"."""
    if seconds < 0.9995:
        millis = max(seconds, 0.0) * 1000
        return f"{millis:.1f} ms" if millis < 9.95 else f"{millis:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    left = round(seconds)
    for at, (size, unit) in enumerate(_TIMES):
        if left >= size:
            whole, rest = divmod(left, size)
            smaller, name = _TIMES[min(at + 1, len(_TIMES) - 1)]
            more = rest // smaller if size > 1 else 0
            return f"{whole} {unit} {more} {name}" if more else f"{whole} {unit}"
    raise AssertionError


def size(number: int) -> str:
    """Bytes as "512 B", "1.5 KiB", "33 MiB"."""
    if number < 1024:
        return f"{number} B"
    value = float(number)
    for unit in _SIZES:
        value /= 1024
        if value < 1023.5 or unit == _SIZES[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"
