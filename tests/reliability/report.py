"""What a run found: figures with their bounds, counts, and what broke; for the terminal and as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

SHOWN = 12


@dataclass
class Figure:
    """One measured value; `bound` is the promise in words, `kept` None where there is none."""

    label: str
    value: float
    unit: str = ""
    bound: str = ""
    kept: bool | None = None


@dataclass
class Report:
    """Collects what one run finds."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What must not have happened, one sentence each."""

    @property
    def ok(self) -> bool:
        return not self.problems and all(figure.kept is not False for figure in self.figures)

    @property
    def broken(self) -> str:
        """Every promise that was not kept, for the message of a failing test."""
        lines = [
            f"{figure.label}: {figure.value:g} {figure.unit}, promised {figure.bound}"
            for figure in self.figures
            if figure.kept is False
        ]
        return "\n".join([*lines, *self.problems, *(f"{label}: {count}" for label, count in self.counts.items())])

    def note(self, label: str, value: float, unit: str = "") -> None:
        """A figure without a promise."""
        self.figures.append(Figure(label, value, unit))

    def at_most(self, label: str, value: float, bound: float, unit: str = "") -> None:
        self.figures.append(Figure(label, value, unit, f"≤ {bound:g} {unit}".strip(), value <= bound))

    def at_least(self, label: str, value: float, bound: float, unit: str = "") -> None:
        self.figures.append(Figure(label, value, unit, f"≥ {bound:g} {unit}".strip(), value >= bound))

    def none(self, label: str, found: Sequence[Any] | Mapping[Any, Any] | int) -> None:
        """Promise that there is none of these; the first few are shown."""
        number = found if isinstance(found, int) else len(found)
        self.figures.append(Figure(label, number, "", "0", number == 0))
        if not isinstance(found, int):
            shown = list(found.items()) if isinstance(found, Mapping) else list(found)
            self.problems += [f"{label}: {entry}" for entry in shown[:SHOWN]]

    def show(self, console: Console) -> None:
        table = Table(box=box.SIMPLE_HEAD, title=f"{self.name} at {commit()}", title_justify="left")
        for name in ("what", "found", "promised", "kept?"):
            table.add_column(name, justify="left" if name == "what" else "right")
        words = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}
        for figure in self.figures:
            value = f"{figure.value:,.0f}" if float(figure.value).is_integer() else f"{figure.value:,.4g}"
            table.add_row(figure.label, f"{value} {figure.unit}".strip(), figure.bound, words[figure.kept])
        console.print(table)
        for label, count in self.counts.items():
            console.print(f"  {label}: {count}", highlight=False, markup=False)
        for problem in self.problems:
            console.print(f"  ! {problem}", highlight=False, markup=False)

    def write(self, folder: Path) -> Path:
        """Write the report as JSON, under its name and time."""
        folder.mkdir(parents=True, exist_ok=True)
        when = datetime.now(UTC)
        whole = {"when": when.isoformat(timespec="seconds"), "commit": commit(), "ok": self.ok, **asdict(self)}
        path = folder / f"{self.name}-{when:%Y%m%dT%H%M%SZ}.json"
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        return path


def commit() -> str:
    """The revision under test, with + when files differ from it."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "?"


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie, by the nearest rank; NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 10_000) * len(ordered) // 10_000) - 1))]
