"""The few statistics the benchmark needs, over plain lists of floats."""

from __future__ import annotations

import math
from collections.abc import Sequence

Samples = Sequence["float | None"]
"""One figure for each round; None where that round could not be measured."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` per cent of `values` do not exceed (nearest rank).

    No interpolation: the answer is always a latency that some request really had.
    Raises ValueError when there are no values or `percent` is outside (0, 100].
    """
    if not values:
        raise ValueError("percentile of no values")
    if not 0 < percent <= 100:
        raise ValueError(f"percentile must be in (0, 100], not {percent}")
    ordered = sorted(values)
    # The product is rounded first: 0.07 * 100 is 7.000000000000001 in floats and would skip a rank.
    rank = math.ceil(round(percent * len(ordered) / 100, 9))
    return ordered[max(rank, 1) - 1]


def median(samples: Samples) -> float | None:
    """The middle of the measured samples; None when no round was measured."""
    values = sorted(value for value in samples if value is not None)
    if not values:
        return None
    middle = len(values) // 2
    if len(values) % 2:
        return values[middle]
    return (values[middle - 1] + values[middle]) / 2


def paired_ratios(ours: Samples, theirs: Samples) -> list[float | None]:
    """Ours divided by theirs, round by round.

    Pairing by round is what cancels a slow minute of a shared machine: both sides of one ratio ran in
    the same few seconds. A round that lacks either side, or whose divisor is zero, gives None.
    """
    ratios: list[float | None] = []
    for mine, other in zip(ours, theirs, strict=False):
        ratios.append(mine / other if mine is not None and other else None)
    return ratios


def spread(samples: Samples) -> tuple[float, float] | None:
    """Lowest and highest measured sample; None when no round was measured."""
    values = [value for value in samples if value is not None]
    return (min(values), max(values)) if values else None
