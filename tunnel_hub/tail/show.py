"""Lines of the tail for people: what an operator looks for stands first, and nothing moves the terminal. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Style = Callable[[str, str], str]
"""Text in a colour: "red", "yellow", "green", "cyan" or "bright_black"."""

_KIND: Final = {1: "cyan", 2: "green", 3: "cyan", 4: "yellow", 5: "red"}


def plain(text: str, _colour: str) -> str:
    """No colour."""
    return text


def shown(line: Mapping[str, Any], style: Style = plain) -> str:
    """One request: time status method path service caller agent milliseconds, then what went wrong, and the id."""
    status = int(line.get("status", 0))
    origin = str(line.get("origin", "-"))
    path = safe(str(line.get("path", "-")))
    if line.get("query") is not None:
        path += "?" + safe(str(line["query"]))
    parts = [
        style(_time(str(line.get("time", ""))), "bright_black"),
        style(str(status), _KIND.get(status // 100, "red")),
        safe(f"{line.get('method', '-'):<4}"),
        path,
        safe(str(line.get("service") or "-")),
        f"from {safe(str(line.get('caller') or line.get('peer') or '-'))}",
        f"by {safe(str(line.get('agent') or 'nobody'))}",
        f"{float(line.get('duration_ms', 0)):.1f}ms",
    ]
    if line.get("code"):
        failed = f"{safe(str(line['code']))} at {safe(origin)}, delivered {safe(str(line.get('delivered', '-')))}"
        parts.append(style(failed, "red"))
    if line.get("repeats"):
        parts.append(f"repeated {line['repeats']}")
    parts.append(style(f"id={safe(str(line.get('request_id', '-')))}", "bright_black"))
    return " ".join(parts)


def lost(lines: int) -> str:
    """What is said of lines that this reader did not get."""
    return f"{lines} line{'' if lines == 1 else 's'} dropped: too many to show; narrow the filter"


def safe(text: str) -> str:
    """Text that cannot steer a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _time(text: str) -> str:
    """The time of the day, in UTC as everywhere."""
    return safe(text.partition("T")[2] or text)
