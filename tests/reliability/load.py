"""The load engine, in a process of its own: many callers on persistent connections, every answer checked.

Commands on stdin: `start` with a plan, `status`, `wait` until everything is answered or some time has passed,
`stop`, `next_right` (when the first request sent after a given moment is answered), `dump` to a file.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path
from typing import Any

import uvloop

from tests.reliability.caller import Caller
from tests.reliability.plan import Plan, Request, Source
from tests.reliability.tally import Tally
from tests.reliability.worker import serve

TURN = 0.001
"""Seconds between two looks at what is due; part of every time that a load with a rate measures."""


class Load:
    """One plan under way."""

    def __init__(self, plan: Plan) -> None:
        self.loop = asyncio.get_running_loop()
        self.plan = plan
        self.tally = Tally()
        self.stopped = False
        """No caller connects any more."""
        self._source = Source(plan)
        self._closing = False
        self._retries: deque[Request] = deque()
        self._due: deque[float] = deque()
        self._idle: deque[Caller] = deque()
        self._marks: list[tuple[float, asyncio.Future[float]]] = []
        self._callers = [Caller(self, plan.targets[n % len(plan.targets)]) for n in range(plan.connections)]
        self._began = time.monotonic()
        self._issued = 0
        self.finished = asyncio.Event()
        for caller in self._callers:
            caller.connect()
        self._timer = self.loop.call_later(TURN, self._turn)
        self._swept = self._began

    # -- called by the callers ------------------------------------------------------------------

    def free(self, caller: Caller) -> None:
        """`caller` can take a request."""
        if self.plan.rate is None or self._retries or self._due:
            request = self._next()
            if request is not None:
                self._send(caller, request)
                return
        caller.idle = True
        self._idle.append(caller)

    def right(self, request: Request, status: int) -> None:
        now = time.monotonic()
        self.tally.right(request, status, now)
        if self._marks:
            for since, mark in self._marks:
                if request.sent_at >= since and not mark.done():
                    mark.set_result(now)
            self._marks = [entry for entry in self._marks if not entry[1].done()]

    def refused(self, request: Request, status: int, code: str, delivered: str) -> None:
        self.tally.refused(request, status, code, delivered)
        if status >= 500:
            self._again(request)

    def failed(self, caller: Caller, kind: str, request: Request, **detail: Any) -> None:
        self.tally.failed(kind, request, caller.target, time.monotonic(), **detail)
        self._again(request)
        self.over()

    def over(self) -> None:
        """A request has ended, whatever came of it."""
        if (self._source.exhausted or self._closing) and not self._retries and not self.in_flight:
            self.finished.set()

    # -- commands -------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        return sum(caller.request is not None for caller in self._callers)

    async def stop(self, patience: float) -> int:
        """Send nothing new, wait for what runs, close; how many requests were still unanswered."""
        self._closing = True
        self._retries.clear()
        self.over()
        try:
            async with asyncio.timeout(patience):
                await self.finished.wait()
        except TimeoutError:
            pass
        left = self.in_flight
        self.stopped = True
        self._timer.cancel()
        for caller in self._callers:
            caller.idle = False
            caller.request = None
            caller.close()
        return left

    async def next_right(self, since: float, patience: float) -> float | None:
        """When the first right answer to a request sent at or after `since` was complete; None: not in time."""
        mark: asyncio.Future[float] = self.loop.create_future()
        self._marks.append((since, mark))
        try:
            return await asyncio.wait_for(mark, patience)
        except TimeoutError:
            return None

    # -- inside ---------------------------------------------------------------------------------

    def _again(self, request: Request) -> None:
        if not self._closing and (another := self._source.again(request)) is not None:
            self._retries.append(another)

    def _next(self) -> Request | None:
        if self._retries:
            return self._retries.popleft()
        if self._closing or self._source.exhausted:
            return None
        request = self._source.next()
        if self._due:
            request.due = self._due.popleft()
        return request

    def _send(self, caller: Caller, request: Request) -> None:
        if caller.usable():
            caller.send(request)
            return
        # the hub has closed this connection: the request goes by another, none of its bytes were sent
        self._waiting_back(request)
        caller.idle = True
        caller.close()

    def _waiting_back(self, request: Request) -> None:
        self._retries.appendleft(request)

    def _turn(self) -> None:
        now = time.monotonic()
        if self.plan.rate is not None and not self._closing:
            wanted = int((now - self._began) * self.plan.rate)
            while self._issued < wanted and not (self.plan.count is not None and self._issued >= self.plan.count):
                self._issued += 1
                self._due.append(self._began + self._issued / self.plan.rate)
        while self._idle and (self._retries or self._due or (self.plan.rate is None and self._open)):
            caller = self._idle.popleft()
            if not caller.idle:
                continue
            request = self._next()
            if request is None:
                self._idle.appendleft(caller)
                break
            self._send(caller, request)
        if now - self._swept >= 0.2:
            self._swept = now
            self._sweep(now)
        self._timer = self.loop.call_later(TURN, self._turn)

    @property
    def _open(self) -> bool:
        return not self._closing and not self._source.exhausted

    def _sweep(self, now: float) -> None:
        for caller in self._callers:
            if caller.request is not None and now - caller.request.sent_at > self.plan.timeout:
                caller.give_up()


class Control:
    """The worker's commands."""

    def __init__(self) -> None:
        self._load: Load | None = None
        self.handlers = {
            name: getattr(self, name) for name in ("start", "status", "wait", "stop", "next_right", "dump")
        }

    @property
    def load(self) -> Load:
        assert self._load is not None, "no load was started"
        return self._load

    async def start(self, plan: dict[str, Any]) -> None:
        self._load = Load(Plan(**plan))

    async def status(self) -> dict[str, Any]:
        return {**self.load.tally.summary(), "in_flight": self.load.in_flight}

    async def wait(self, seconds: float) -> bool:
        """Whether everything was answered within `seconds`."""
        try:
            await asyncio.wait_for(self.load.finished.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def stop(self, patience: float = 45.0) -> dict[str, Any]:
        unanswered = await self.load.stop(patience)
        return {**self.load.tally.summary(), "unanswered": unanswered}

    async def next_right(self, since: float, patience: float) -> float | None:
        return await self.load.next_right(since, patience)

    async def dump(self, file: str) -> None:
        self.load.tally.dump(Path(file))


if __name__ == "__main__":
    uvloop.run(serve(Control().handlers, {}))
