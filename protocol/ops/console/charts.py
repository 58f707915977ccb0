"""Small charts as SVG paths, made on the server: no script draws, and no style is inline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

WIDTH: Final = 120
HEIGHT: Final = 28


class Spark(NamedTuple):
    """One line, the area below it, and the largest value."""

    line: str
    area: str
    top: float


def spark(values: Sequence[float | None], points: int, top: float = 0.0) -> Spark:
    """A chart of the latest `points` values, the last at the right. None leaves a gap in the line's place at zero.

    top: what the whole height stands for at least.
    """
    shown = [value or 0.0 for value in values[-points:]]
    highest = max([top, *shown])
    if len(shown) < 2 or highest <= 0:
        return Spark("", "", highest)
    step = WIDTH / (points - 1)
    left = WIDTH - step * (len(shown) - 1)
    marks = [
        f"{left + step * index:.1f} {HEIGHT - 1 - (HEIGHT - 2) * value / highest:.1f}"
        for index, value in enumerate(shown)
    ]
    line = "M" + "L".join(marks)
    return Spark(line, f"{line}L{WIDTH} {HEIGHT}L{left:.1f} {HEIGHT}Z", highest)
