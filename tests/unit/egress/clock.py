"""A loop's clock and a timer wheel that the test moves by hand."""

from __future__ import annotations

from collections.abc import Callable


class Pending:
    """A timer of `Clock`."""

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at, self.callback, self.live = at, callback, True

    def cancel(self) -> None:
        self.live = False


class Clock:
    """Loop and wheel in one; keeps every timer that was asked for."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pending: list[Pending] = []

    def time(self) -> float:
        return self.now

    def after(self, delay: float, callback: Callable[[], object]) -> Pending:
        self.pending.append(Pending(self.now + delay, callback))
        return self.pending[-1]

    def move(self, to: float) -> None:
        """Let time pass until `to`, firing what is due in order."""
        while due := [timer for timer in self.pending if timer.live and timer.at <= to]:
            timer = min(due, key=lambda each: each.at)
            self.now, timer.live = max(self.now, timer.at), False
            timer.callback()
        self.now = to

    @property
    def live(self) -> list[float]:
        return [timer.at for timer in self.pending if timer.live]
