"""The inspector of one hub: for which services it records, for how long, and what it holds.

    inspector.on("visits", Wanted(seconds=600, number=50), "anna")
    inspector.of("visits").seen        # the latest, oldest first
    inspector.off("visits", "anna")

Off by default. While it is off for a service, `service.inspector` is None, which is all that a request looks at.
It ends by itself; what was recorded can be read for GRACE more, and is dropped then. Switched off by hand, or when
its operator or its service leaves the configuration, everything is dropped at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.ops.access import Formatter
from protocol.ops.values import show_duration
from tunnel_hub.tail.filters import Filter

from .seen import Seen, effort, see, weight
from .tape import Notes, Tape

if TYPE_CHECKING:
    from protocol.ops.access import AccessRecord
    from tunnel_hub.exchange import Exchange
    from tunnel_hub.hub import Hub
    from tunnel_hub.service import Service

SECONDS_MAX: Final = 3600.0
NUMBER_MAX: Final = 200
"""Exchanges kept for one service."""

SERVICES_MAX: Final = 4
"""Services inspected at once."""

BYTES_MAX: Final = 4 * 1024 * 1024
"""All that is held, of all services, with what runs."""

GRACE: Final = 300.0
"""Seconds for which what was recorded can be read after the end."""

A_SECOND: Final = 100
"""Exchanges kept in one second, of all services; more are counted only."""

MASKED_A_SECOND: Final = 256 * 1024
"""Characters of bodies that are looked at in one second: to mask what is secret in 64 KiB takes some 10 ms."""


class InspectorError(ValueError):
    """What was asked for cannot be had; one sentence."""


class Wanted(NamedTuple):
    """What an operator asks for."""

    seconds: float = 600.0
    number: int = 50
    paths: bool = False
    headers: bool = False
    bodies: bool = False
    filter: Filter = Filter()
    chosen: str = ""
    """The filter in words."""

    @property
    def parts(self) -> list[str]:
        """What is recorded, in words."""
        chosen = {"header fields": self.headers, "bodies": self.bodies}
        return ["paths" if self.paths else "shapes of paths", *(name for name, on in chosen.items() if on)]


class Recorder:
    """One service's recording. Made by `Inspector.on`."""

    def __init__(self, inspector: Inspector, service: Service, wanted: Wanted, operator: str, ends: float) -> None:
        self._inspector = inspector
        self.service = service
        self.wanted = wanted
        self.operator = operator
        self.ends = ends
        """time.time() at which it ends."""
        self.recording = True
        self.seen: deque[Seen] = deque()
        self.recorded = 0
        """Exchanges recorded so far; the latest of them are kept."""
        self.skipped = 0
        """Exchanges that were wanted, but came too fast."""
        self._notes = Notes(self._finished)

    def attach(self, exchange: Exchange) -> None:
        """A request for the service begins."""
        wanted = self.wanted
        if not (wanted.headers or wanted.bodies) or self._inspector.full:
            exchange.tape = self._notes
        else:
            take = self._inspector.take if wanted.bodies else None
            exchange.tape = Tape(exchange, take, self._finished)

    def find(self, number: int) -> Seen | None:
        return next((seen for seen in self.seen if seen.number == number), None)

    def _finished(self, tape: Tape | None, exchange: Exchange, record: AccessRecord) -> None:
        if tape is not None:
            self._inspector.give(tape.held)
        if self.recording and self.wanted.filter.matches(record):
            self._inspector.keep(self, tape, exchange, record)


class Inspector:
    """All recordings. All methods belong to the event loop's thread; `close` at the end."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._recorders: dict[str, Recorder] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._clock = hub.loop.time
        self._line = Formatter().line
        self._number = 0
        self._second = 0
        self._this_second = 0
        self._masked_this_second = 0
        self.held = 0
        """Bytes held now."""

    # -- On and off -----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Recorder]:
        return iter(list(self._recorders.values()))

    def of(self, name: str) -> Recorder | None:
        """The recording of a service, also one that has ended and can still be read."""
        return self._recorders.get(name)

    def on(self, name: str, wanted: Wanted, operator: str, reason: str = "") -> Recorder:
        """Record this service from now on. Raises InspectorError."""
        service = self._hub.services.get(name)
        if service is None:
            raise InspectorError(f'no service is called "{name[:64]}"')
        if not 1 <= wanted.seconds <= SECONDS_MAX:
            raise InspectorError(f"it can be on for 1 s to {show_duration(SECONDS_MAX)}")
        if not 1 <= wanted.number <= NUMBER_MAX:
            raise InspectorError(f"it can keep 1 to {NUMBER_MAX} exchanges")
        before = self._recorders.get(name)
        if before is not None and before.recording:
            raise InspectorError(f"it is on for {name} already, by {before.operator}; switch it off first")
        if before is None and len(self._recorders) >= SERVICES_MAX:
            raise InspectorError(f"it is on for {SERVICES_MAX} services already; switch one off first")
        self._drop(name)
        recorder = Recorder(self, service, wanted, operator, time.time() + wanted.seconds)
        self._recorders[name] = recorder
        self._timers[name] = self._hub.loop.call_at(self._clock() + wanted.seconds, partial(self._expired, name))
        service.inspector = recorder
        self._hub.audit.write(
            "inspector on",
            operator=operator,
            service=name,
            seconds=wanted.seconds,
            number=wanted.number,
            paths=wanted.paths,
            headers=wanted.headers,
            bodies=wanted.bodies,
            chosen=wanted.chosen,
            reason=reason,
        )
        return recorder

    def off(self, name: str, operator: str = "", why: str = "switched off") -> bool:
        """End it and drop what was recorded. False: it was not on."""
        recorder = self._recorders.get(name)
        if recorder is None:
            return False
        self._end(recorder, why, operator)
        self._drop(name)
        return True

    def look_again(self, operators: Collection[str]) -> None:
        """The configuration has changed: end what its operator or its service no longer stands behind."""
        for name, recorder in list(self._recorders.items()):
            if self._hub.services.get(name) is not recorder.service:
                self.off(name, why="the service has left the configuration")
            elif recorder.operator not in operators:
                self.off(name, why="the operator has left the configuration")

    def close(self) -> None:
        for name in list(self._recorders):
            self.off(name, why="the hub stops")

    def _expired(self, name: str) -> None:
        recorder = self._recorders[name]
        self._end(recorder, "its time is over")
        self._timers[name] = self._hub.loop.call_at(self._clock() + GRACE, partial(self._drop, name))

    def _end(self, recorder: Recorder, why: str, operator: str = "") -> None:
        if not recorder.recording:
            return
        recorder.recording = False
        recorder.service.inspector = None
        self._hub.audit.write(
            "inspector off",
            operator=operator or recorder.operator,
            service=recorder.service.name,
            why=why,
            recorded=recorder.recorded,
        )

    def _drop(self, name: str) -> None:
        recorder = self._recorders.pop(name, None)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if recorder is not None:
            while recorder.seen:
                self._forget(recorder)

    # -- What is held ---------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether so many were kept in this second that no more will be."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._this_second = self._masked_this_second = 0
        return self._this_second >= A_SECOND

    def take(self, size: int) -> bool:
        """Room for so many bytes; the oldest that are over make way."""
        while self.held + size > BYTES_MAX:
            holders = [recorder for recorder in self._recorders.values() if recorder.seen]
            if not holders:
                return False
            self._forget(min(holders, key=lambda each: each.seen[0].number))
        self.held += size
        return True

    def give(self, size: int) -> None:
        self.held -= size

    def keep(self, recorder: Recorder, tape: Tape | None, exchange: Exchange, record: AccessRecord) -> None:
        """An exchange is over and wanted."""
        if self.full:
            recorder.skipped += 1
            return
        self._this_second += 1
        wanted = recorder.wanted
        with_bodies = wanted.bodies and self._masked_this_second < MASKED_A_SECOND
        self._number += 1
        recorder.recorded += 1
        seen = see(
            self._number,
            self._line(self._hub.access.query_strings, *record),
            record,
            tape,
            exchange.arrived_at,
            exchange.answered_at if tape is None else tape.head_at,
            paths=wanted.paths,
            headers=wanted.headers,
            with_bodies=with_bodies,
            secret_fields=recorder.service.settings.onward.credentials,
        )
        seen.service = recorder.service.name  # a path that is refused has none in the access log
        if tape is not None and any(body and body.text for body in (seen.request_body, seen.response_body)):
            self._masked_this_second += effort(tape)  # not what is left of it: masked, it may be short
        while len(recorder.seen) >= wanted.number:
            self._forget(recorder)
        if self.take(weight(seen)):
            recorder.seen.append(seen)

    def _forget(self, recorder: Recorder) -> None:
        """Drop the oldest exchange of a recording."""
        self.held -= weight(recorder.seen.popleft())
