"""When the certificates that a configuration names end, and who says so while there is time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography import x509

from . import log
from .console.words import moment
from .words import count

DAY: Final = 86400.0

SOON: Final = 30 * DAY
"""Seconds before an end from which on it is told."""

_log = log.get("expiry")


def ends(files: Mapping[str, Path | None]) -> dict[str, float]:
    """By the same names, when the first of each PEM file's certificates ends, as time.time() has it.

    Files that are None, or hold no certificate that can be read, are left out: others say what is wrong with them.
    """
    found: dict[str, float] = {}
    for what, file in files.items():
        if file is None:
            continue
        try:
            certificates = x509.load_pem_x509_certificates(file.read_bytes())
        except (OSError, ValueError):
            continue
        found[what] = min(each.not_valid_after_utc.timestamp() for each in certificates)
    return found


def soon(found: Mapping[str, float], now: float) -> list[tuple[str, float]]:
    """What has ended or does so within SOON, by its name, the next one first. now: as time.time()."""
    return sorted(((what, end) for what, end in found.items() if end < now + SOON), key=lambda each: each[1])


def in_words(what: str, end: float, now: float) -> str:
    """As "listen.callers_tls.certificate ends in 12 days": it changes once a day."""
    days = int((end - now) // DAY)
    if end <= now:
        return f"{what} has ended"
    return f"{what} ends in {count(days, 'day')}" if days else f"{what} ends within a day"


class Reminder:
    """Says in the log what ends soon: at `start`, which may come again, and each day after. `stop` it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, found: Callable[[], Mapping[str, float]]) -> None:
        """found: when each thing ends, asked each time."""
        self._loop = loop
        self._found = found
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.stop()
        now = time.time()
        for what, end in soon(self._found(), now):
            _log.warning("ends soon" if end > now else "has ended", what=what, at=moment(end))
        self._timer = self._loop.call_later(DAY, self.start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
