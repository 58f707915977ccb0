"""Numbers in words that people read, for pages and terminals. None is "–"."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

NOTHING: Final = "–"


def duration(seconds: float | None) -> str:
    """As "3 d 4 h", "12 min 5 s", "4.2 s"."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    for size, name, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name} {rest} {small}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def latency(seconds: float | None) -> str:
    """As "0.8 ms", "43 ms", "1.25 s"; 0 is what the clock could not tell from it."""
    if seconds is None:
        return NOTHING
    if seconds <= 0:
        return "<1 ms"
    ms = seconds * 1000
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{seconds:.2f} s"


def size(count: float | None) -> str:
    """Bytes as "512 B", "1.4 MiB"."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def number(count: float | None) -> str:
    """Whole numbers with thin spaces between thousands."""
    return NOTHING if count is None else f"{count:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def rate(per_second: float | None) -> str:
    """As "0", "0.2", "12.4", "1 250"."""
    if per_second is None:
        return NOTHING
    if per_second == 0 or per_second >= 100:
        return number(per_second)
    return "<0.1" if per_second < 0.05 else f"{per_second:.1f}"


def percent(ratio: float | None) -> str:
    """As "0 %", "0.02 %", "12 %"."""
    if ratio is None:
        return NOTHING
    value = ratio * 100
    if value == 0 or value >= 10:
        return f"{value:.0f} %"
    return "<0.01 %" if value < 0.01 else f"{value:.2g} %"


def clock(at: float) -> str:
    """A time of day in UTC, as "14:03:07"."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def moment(at: float) -> str:
    """Date and time in UTC, for `<time datetime>`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    function.__name__: function for function in (duration, latency, size, number, rate, percent, clock, moment)
}
