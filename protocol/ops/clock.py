"""How far apart two machines' clocks are, by the Date that one of them sent."""

from __future__ import annotations

import math
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

HARMLESS: Final = 60.0
"""Seconds of difference that do no harm to anybody, but for a `signature_window` that is narrower still."""


def date(now: float) -> str:
    """`now`, of time.time(), as a Date field says it."""
    return formatdate(now, usegmt=True)


def behind(text: str, now: float) -> float | None:
    """By how many seconds `now`, this machine's time.time(), is behind a Date field that came just now.

    None for what is no date. Exact to the second and the time that the field was on its way.
    """
    try:
        found = parsedate_to_datetime(text).timestamp() + 0.5 - now  # Date is cut down to the second
    except (ValueError, OverflowError, OSError):
        return None
    return found if math.isfinite(found) else None
