"""What the service manager is told: ready, reloading, stopping, how the program stands, and that all is well.

The protocol is sd_notify(3): datagrams of NAME=VALUE lines to the socket that $NOTIFY_SOCKET names. Without that,
as in a terminal, nothing is sent. Nothing here blocks or raises.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final

from protocol.ops import log

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at how the program stands; fewer where the watchdog is tighter."""

CLOSING: Final = 20.0
"""Seconds for all that follows the drain; every step of it is bounded, and together they take less."""

STATUS_MAX: Final = 500
"""Characters of a status line."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")

_log = log.get("process")


class Notifier:
    """The way to the service manager. Call `close` at the end."""

    def __init__(self, place: str = "", watchdog: float = 0.0) -> None:
        """place: what $NOTIFY_SOCKET says; "" sends nothing."""
        self.watchdog: Final = watchdog
        """Seconds within which a sign of life must follow the one before; 0: nobody waits for any."""
        self._place = "\0" + place[1:] if place.startswith("@") else place
        self._socket: socket.socket | None = None
        if place.startswith(("@", "/")):
            try:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            except OSError as error:
                _log.warning("the service manager cannot be told anything", reason=error.strerror)

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """Take the manager's variables out of `environment`, so that no child speaks in this process's name."""
        place = environment.pop("NOTIFY_SOCKET", "")
        interval = environment.pop("WATCHDOG_USEC", "")
        owner = environment.pop("WATCHDOG_PID", str(os.getpid()))
        ours = owner == str(os.getpid()) and interval.isascii() and interval.isdigit()
        return cls(place, int(interval) / 1e6 if ours else 0.0)

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def send(self, *lines: str) -> bool:
        """Send NAME=VALUE lines in one datagram. False: it could not be sent now."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._place)
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Reporter:
    """Tells the manager how the program stands, and gives signs of life while nothing is wrong.

    `start` once the program is of use, `reloading` and `reloaded`, `stopping`; `close` at the end. The signs come
    from the event loop's own timer: a loop that does not turn gives none.
    """

    def __init__(self, notifier: Notifier, loop: asyncio.AbstractEventLoop) -> None:
        self._notifier = notifier
        self._loop = loop
        half = notifier.watchdog / 2
        self._every = min(LOOK_EVERY, half or LOOK_EVERY)
        self._feed_every = half
        self._feed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._status: Callable[[], str] = str
        self._fault: Callable[[], str] = str
        self._said = ""
        self._wrong = ""
        self._stopping = False
        self._ready_owed = False

    def start(self, status: Callable[[], str], fault: Callable[[], str]) -> None:
        """Say READY, and from now on look every few seconds.

        status: one line for the operator. fault: what is so wrong that only a restart can help, or "". Both are
        called in the event loop, so neither may block.
        """
        if not self._notifier.active:
            return
        self._status, self._fault = status, fault
        self._ready_owed = True
        self._look()

    def reloading(self) -> None:
        """The configuration is being read again; `reloaded` must follow."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def reloaded(self) -> None:
        self._ready_owed = not self._notifier.send("READY=1")

    def stopping(self, patience: float) -> None:
        """The program ends, in at most `patience` seconds and what follows the drain. Signs of life go on."""
        self._stopping = True
        self._ready_owed = False
        extension = int((patience + CLOSING) * 1e6)
        self._notifier.send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={extension}", "STATUS=draining")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._notifier.close()

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._every, self._look)
        now = self._loop.time()
        if self._ready_owed:
            self._ready_owed = not self._notifier.send("READY=1")
        wrong = "" if self._stopping else self._fault()
        if wrong and wrong != self._wrong:
            _log.error("this process is of no use; the service manager gets no sign of life", reason=wrong)
        self._wrong = wrong
        if self._feed_every and not wrong and now >= self._feed_at and self._notifier.send("WATCHDOG=1"):
            self._feed_at = now + self._feed_every - self._every / 2  # a timer that is a little early still counts
        self._say(wrong)

    def _say(self, wrong: str) -> None:
        status = self._status()
        if wrong:
            status = f"{wrong}; {status}"
        elif self._stopping:
            status = f"draining; {status}"
        status = _CONTROLS.sub(" ", status)[:STATUS_MAX]
        if status != self._said and self._notifier.send(f"STATUS={status}"):
            self._said = status
