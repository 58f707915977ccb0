"""For tests of what goes to the programs' own log."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import structlog

from protocol.ops import log


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Whatever happens to the log inside, afterwards it is as before."""
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.configure(**configured)


class Logged:
    """Everything that is logged from now on, within `kept`."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        log.setup("json", "debug", self._stream)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    @property
    def texts(self) -> list[str]:
        return [event["event"] for event in self.events]
