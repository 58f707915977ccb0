"""The picture for the README: how far each figure is from its target.

One bar for each row, on a scale where 1 is the target and further right is better, so that one line serves
all rows. Readable on light and dark pages: transparent, and in colours with contrast to both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.report import judged
from tests.bench.rows import Result

INK = "#7f8792"
MET = "#2f9e6e"
MISSED = "#d9822b"
LARGEST = 3.0
"""Bars end here; the figure beside them goes on."""


def share(result: Result) -> float | None:
    """The figure relative to its target: at least 1 when the target is met, in either direction."""
    value = result.judged()
    if value is None or value < 0:
        return None
    if result.row.better == "high":
        return value / result.row.target
    return result.row.target / value if value else LARGEST


def plot(results: Sequence[Result], path: Path) -> None:
    """Write an SVG or PNG, by the path's suffix. Rows without a figure are left out."""
    drawn = [(result, value) for result in results if (value := share(result)) is not None]
    style = {
        "font.size": 10,
        "font.family": "sans-serif",
        "svg.fonttype": "none",  # text stays text: small, and it can be selected
        "svg.hashsalt": "bench",  # the same figures give the same file
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(10, 0.42 * len(drawn) + 1.1), layout="constrained")
        axes = figure.subplots()
        places = range(len(drawn))
        axes.barh(
            places,
            [min(value, LARGEST) for _, value in drawn],
            height=0.55,
            color=[MET if result.met() else MISSED for result, _ in drawn],
        )
        axes.axvline(1.0, color=INK, linewidth=1.2, linestyle="--")
        for place, (result, _) in zip(places, drawn, strict=True):
            axes.text(LARGEST * 1.03, place, judged(result), va="center", weight="bold")
            axes.text(LARGEST * 1.50, place, f"target {result.row.target_text()}", va="center")
        axes.set_yticks(places, [result.row.title for result, _ in drawn])
        axes.invert_yaxis()
        axes.set_xlim(0, LARGEST * 1.9)
        axes.set_xticks([1, 2, 3], ["target", "2 × better", "3 × or more"])
        axes.tick_params(length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, transparent=True, dpi=160, metadata=metadata)
