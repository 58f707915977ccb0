"""Bounded waiting: tests poll for what they need and fail by name, they never sleep and hope."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("TUNNEL_TEST_PATIENCE", "1"))
"""Factor on every limit of the harness, for machines under load."""


def wait_until(
    condition: Callable[[], T],
    what: str,
    timeout: float = 10.0,
    every: float = 0.02,
) -> T:
    """Return the first truthy value of `condition()`; fail with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout * PATIENCE:g} s in vain: {what} (last value: {value!r})")
        time.sleep(every)


def stays(condition: Callable[[], object], what: str, seconds: float, every: float = 0.02) -> None:
    """Fail with `what` if `condition()` becomes falsy within `seconds`: for things that must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), what
        time.sleep(every)


class Gate:
    """An event that the test's thread opens and a script in the background loop waits for, or the reverse."""

    def __init__(self, name: str = "gate") -> None:
        self.name = name
        self._event = threading.Event()

    def open(self) -> None:
        self._event.set()

    @property
    def is_open(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float = 10.0) -> None:
        """Wait in the test's thread."""
        if not self._event.wait(timeout * PATIENCE):
            raise AssertionError(f"waited {timeout * PATIENCE:g} s in vain for: {self.name}")

    async def passed(self) -> None:
        """Wait in a script of the background loop, 30 s at most."""
        import asyncio

        deadline = time.monotonic() + 30 * PATIENCE
        while not self._event.is_set():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} was not opened")
            await asyncio.sleep(0.005)
