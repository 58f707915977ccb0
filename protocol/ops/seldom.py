"""A bound on log lines that a stranger can cause: so many a second of each kind, and how many were left out."""

from __future__ import annotations

from typing import Final

KINDS_MAX: Final = 64


class Seldom:
    """`leftover` is asked before each line."""

    __slots__ = ("_most", "_seconds")

    def __init__(self, most: int = 10) -> None:
        """most: lines of one kind in one second."""
        self._most = most
        self._seconds: dict[str, tuple[int, int, int]] = {}  # kind -> second, lines in it, lines left out since

    def leftover(self, kind: str, now: float) -> int | None:
        """None: write no line now; else how many of this kind were left out before. now: any clock's seconds."""
        second = int(now)
        began, lines, left_out = self._seconds.get(kind, (second, 0, 0))
        if began != second:
            lines = 0
        if lines >= self._most:
            self._seconds[kind] = (began, lines, left_out + 1)
            return None
        if kind not in self._seconds and len(self._seconds) >= KINDS_MAX:
            self._seconds.clear()
        self._seconds[kind] = (second, lines + 1, 0)
        return left_out
