"""The table on the terminal and the JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.bench.rows import TUNNEL, Result, Unit
from tests.bench.stats import median

_COLUMNS = (TUNNEL, "nginx two-hop", "ssh -R")
_SHORT = {"nginx two-hop": "nginx", "ssh -R": "ssh", "direct": "link", TUNNEL: "without"}
_DETAILS: dict[str, tuple[str, Unit]] = {
    "p99_alone": ("p99 alone", "s"),
    "p99_loaded": ("p99 beside the downloads", "s"),
    "others_p99": ("p99 of others' requests meanwhile", "s"),
    "kernel_mib": ("kernel's socket buffers, all processes", "MiB"),
}


def number(value: float | None, unit: Unit) -> str:
    """A figure for a person: three significant digits or so, with its unit."""
    if value is None:
        return "–"
    if unit == "s":
        return f"{value * 1e6:.0f} µs" if value < 1e-3 else f"{value * 1e3:.3g} ms"
    if unit == "x":
        return f"{value:.2f} ×"
    if unit == "req/s":
        return f"{value:,.0f} /s"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"


def judged(result: Result) -> str:
    """The figure that stands beside the target."""
    value = result.judged()
    if result.row.against is None or value is None:
        return number(value, result.row.unit)
    return f"{value:.2f} × {_SHORT.get(result.row.against, result.row.against)}"


def table(results: Iterable[Result]) -> Table:
    """One line for each row; the absolutes are medians, the ratio is the median of the rounds' ratios."""
    found = Table(box=box.SIMPLE_HEAD)
    found.add_column("row", no_wrap=True)
    found.add_column("what", ratio=1)
    for name in (*_COLUMNS, "figure", "target"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_column("met?", no_wrap=True)
    verdict = {True: Text("yes", "green"), False: Text("no", "red"), None: Text("–", "yellow")}
    for result in results:
        found.add_row(
            result.row.name,
            result.row.title,
            number(result.figure(result.row.chain), result.row.unit),
            *(number(result.figure(name), result.row.unit) for name in _COLUMNS[1:]),
            Text(judged(result), "bold"),
            result.row.target_text(),
            verdict[result.met()],
        )
    return found


def print_report(console: Console, results: Iterable[Result]) -> None:
    """The table, then the details that do not fit in it."""
    results = list(results)
    console.print(table(results))
    for result in results:
        for line in details(result):
            console.print(f"  [dim]{result.row.name}:[/dim] {line}", highlight=False)


def details(result: Result) -> list[str]:
    """Figures beside the row's own, and what went wrong."""
    lines = []
    changed = result.changed()
    if changed is not None:
        better = "more" if result.row.better == "high" else "less"
        lines.append(f"against before: {changed:.3f} × ({better} is better)")
    if result.row.against == "direct":
        lines.append(f"the link alone: {number(result.figure('direct'), result.row.unit)}")
    for key, (title, unit) in _DETAILS.items():
        parts = []
        for chain in _COLUMNS:
            value = median(result.extra.get(chain, {}).get(key, []))
            if value is not None:
                parts.append(f"{chain} {number(value, unit)}")
        if parts:
            lines.append(f"{title}: {', '.join(parts)}")
    return lines + result.notes


def to_json(results: Iterable[Result], machine: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Everything a later reader needs: where, how, every raw sample."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "settings": settings,
        "rows": {result.row.name: result.to_json() for result in results},
    }


def write_json(report: dict[str, Any], folder: Path) -> Path:
    """Write the report under its time and as latest.json; return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    path = folder / f"bench-{report['when'].replace(':', '').replace('+0000', 'Z')}.json"
    path.write_text(text, encoding="utf-8")
    (folder / "latest.json").write_text(text, encoding="utf-8")
    return path


def read_json(path: Path) -> list[Result]:
    """The results of an earlier run."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Result.from_json(name, data) for name, data in rows.items()]
