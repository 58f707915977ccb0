"""The connections to one upstream and the calls that wait for one: what `slots` decides is done here."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from protocol.errors import StreamCode

from .connection import Connection
from .dial import DialFailed, Dialler
from .request import InvalidRequest
from .slots import Slots
from .timeouts import Limits, Timeouts

if TYPE_CHECKING:
    from protocol.aio.wheel import Wheel

    from .call import Call

_STOPPING = "the agent stops using this upstream"


class Pool:
    """Owner of the connections (`wire.Owner`) and carrier of the calls that wait (`call.Carrier`)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: Wheel,
        dialler: Dialler,
        timeouts: Timeouts,
        limits: Limits,
    ) -> None:
        self._loop = loop
        self._wheel = wheel
        self._dialler = dialler
        self._timeouts = timeouts
        self._limits = limits
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._all_lost: asyncio.Future[None] | None = None
        self.slots: Slots[Connection, Call] = Slots(limits.connections, limits.waiting)
        self.connects = 0
        self.connect_failures = 0
        self.reuse = 0

    def start(self, call: Call) -> None:
        """Begin a prepared call now, or as soon as there is a connection for it."""
        now = self._loop.time()
        if self._closed:
            call.fail_soon(self._loop, StreamCode.NOT_DISPATCHED, _STOPPING)
            return
        if call.deadline_at <= now:
            call.fail_soon(self._loop, StreamCode.NOT_DISPATCHED, "the deadline had passed already")
            return
        timeouts = self._timeouts
        trusted_for = timeouts.keep_idle if call.repeatable else timeouts.fresh_for
        while (connection := self.slots.take(now - trusted_for)) is not None:
            if connection.usable:
                self.reuse += 1
                connection.begin(call)
                return
            connection.close()
        if not self.slots.wait(call):
            call.fail_soon(self._loop, StreamCode.OVERLOADED, "too many requests wait for this upstream")
            return
        self._queued(call, now)

    async def close(self, patience: float) -> None:
        """Fail what waits and runs, close everything; returns when it is done, or `patience` seconds later."""
        self._closed = True
        await asyncio.sleep(0)  # what was refused in this turn is told first
        for task in self._tasks:
            task.cancel()
        for call in list(self.slots.waiting):
            self.slots.withdraw(call)
            self._fail_waiting(call, StreamCode.NOT_DISPATCHED, _STOPPING)
        for connection in list(self._connections):
            connection.fail(StreamCode.CANCELLED, _STOPPING)
        pending: set[asyncio.Future[None]] = set(self._tasks)
        if self._connections:
            self._all_lost = self._loop.create_future()
            pending.add(self._all_lost)
        if pending:
            await asyncio.wait(pending, timeout=patience)

    # -- wire.Owner ---------------------------------------------------------------------------------

    def released(self, connection: Connection) -> None:
        call = self.slots.released(connection, self._loop.time())
        if call is None:
            connection.rest()
        else:
            self.reuse += 1
            self._serve(call, connection)

    def discarded(self, connection: Connection) -> None:
        self.slots.discarded(connection)

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self.slots.gone()
        self._advance()
        if self._all_lost is not None and not self._connections and not self._all_lost.done():
            self._all_lost.set_result(None)

    def repeat(self, call: Call) -> None:
        if self._closed:
            self._fail_waiting(call, StreamCode.CANCELLED, _STOPPING)
            return
        call.again = True
        self.slots.wait_again(call)
        self._queued(call, self._loop.time())

    # -- call.Carrier, of calls that wait -----------------------------------------------------------

    def send(self, call: Call, data: bytes) -> bool:
        try:
            data = call.frame(data)
        except InvalidRequest as error:
            self._refuse(call, str(error))
            return True
        if data:
            call.wire.append(data)
        return False

    def finish(self, call: Call, trailers: list[bytes]) -> None:
        if call.framing is not None:
            try:
                data = call.framing.finish(trailers)
            except InvalidRequest as error:
                self._refuse(call, str(error))
                return
            if data:
                call.wire.append(data)

    def pause(self) -> None:
        """Nothing to read yet; `Call.paused` is looked at when there is."""

    def resume(self) -> None:
        """See `pause`."""

    def drop(self, call: Call) -> None:
        self.slots.withdraw(call)
        self._settled(call)

    # -- the waiting list ---------------------------------------------------------------------------

    def _queued(self, call: Call, now: float) -> None:
        call.carrier = self
        until = min(now + self._timeouts.wait, call.deadline_at, call.total_at)
        call.timer = self._wheel.after(until - now, partial(self._waited_out, call))
        self._advance()

    def _settled(self, call: Call) -> None:
        """The call waits no more."""
        call.carrier = None
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

    def _serve(self, call: Call, connection: Connection) -> None:
        """Give the connection to a call that waited."""
        self._settled(call)
        connection.begin(call)
        connection.prompt(call)

    def _waited_out(self, call: Call) -> None:
        opening = self.slots.opening >= len(self.slots.waiting)
        self.slots.withdraw(call)
        if opening:
            self._fail_waiting(call, StreamCode.CONNECT_TIMEOUT, "no connection in time")
        else:
            self._fail_waiting(call, StreamCode.OVERLOADED, "no connection became free in time")

    def _refuse(self, call: Call, detail: str) -> None:
        self.drop(call)
        call.fail_soon(self._loop, StreamCode.INVALID_REQUEST, detail)

    def _fail_waiting(self, call: Call, code: StreamCode, detail: str) -> None:
        self._settled(call)
        if call.dispatched:  # it waited for its second attempt; the first may have been acted on
            code, detail = StreamCode.UPSTREAM_CLOSED, "the upstream closed the connection without an answer"
        call.receiver.on_failure(code, detail)

    # -- opening connections ------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._closed:
            return
        opening, evicted = self.slots.advance()
        for connection in evicted:
            connection.close()
        for _ in range(opening):
            task = self._loop.create_task(self._open())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        failure: DialFailed
        began = monotonic()
        try:
            connection = await self._dialler.connect(self._new_connection)
        except DialFailed as error:
            failure = error
        except Exception as error:
            self._loop.call_exception_handler({"message": "connecting failed", "exception": error})
            failure = DialFailed(StreamCode.CONNECT_FAILED, "connection failed")
        else:
            if connection.usable:
                self._opened(connection, began)
                return
            failure = DialFailed(StreamCode.CONNECT_FAILED, "connection reset")
        self.connect_failures += 1
        call = self.slots.open_failed()
        if call is not None:
            self._connected(call, began)
            self._fail_waiting(call, failure.code, failure.detail)
        self._advance()

    def _new_connection(self) -> Connection:
        return Connection(self, self._loop, self._wheel, self._timeouts, self._limits)

    def _connected(self, call: Call, began: float) -> None:
        """An attempt to connect that began then is over, and the call has waited for it."""
        call.connecting = monotonic() - max(began, call.queued_at)

    def _opened(self, connection: Connection, began: float) -> None:
        self.connects += 1
        connection.adopted = True
        self._connections.add(connection)
        call = self.slots.opened(connection, self._loop.time())
        if call is None:
            connection.rest()
        else:
            self._connected(call, began)
            self._serve(call, connection)
