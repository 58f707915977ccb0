"""One connection to an upstream: writes requests, passes answers on, one exchange after the other.

Receivers are called only after the parser has returned and the books are in order, so that whatever a receiver
does (cancel, start another call, raise) finds a consistent state.
"""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import TYPE_CHECKING

from protocol.errors import StreamCode

from .answer import AnswerReader, InvalidAnswer
from .dial import refused_by_upstream
from .request import InvalidRequest
from .timeouts import DETAILS, NEVER, Limits, Timeouts
from .wire import Owner, Wire

if TYPE_CHECKING:
    import asyncio

    from protocol.aio.wheel import Wheel

    from .call import Call


class Connection(Wire):
    """Carries one call at a time. The owner sets `adopted` once it counts the connection as its own."""

    __slots__ = (
        "_call",
        "_limits",
        "_owed",
        "_owner",
        "_reader",
        "_used",
        "adopted",
    )

    def __init__(
        self, owner: Owner, loop: asyncio.AbstractEventLoop, wheel: Wheel, timeouts: Timeouts, limits: Limits
    ) -> None:
        super().__init__(loop, wheel, timeouts)
        self._owner = owner
        self._limits = limits
        self._call: Call | None = None
        self._reader: AnswerReader | None = None
        self._owed = False  # on_upstream_writable is due when the transport takes more
        self._used = False  # has carried an exchange to its end
        self.adopted = False

    # -- the owner's side ---------------------------------------------------------------------------

    def begin(self, call: Call) -> None:
        """Write the call's request. Only on a usable connection without a call."""
        assert self._transport is not None
        request, timeouts = call.request, self._timeouts
        self._call = call
        self._reader = AnswerReader(request.method, request.upgrade, self._limits)
        self._sending = sending = call.sending
        self._answered = self._pipe = self._owed = False
        self._buffered = 0
        self._moved = self._since = now = self._loop.time()
        call.begun_at = call.sent_at = monotonic()
        call.carrier = self
        call.dispatched = True
        call.receiver.on_dispatch()
        wire = call.wire
        self._transport.write(wire[0] if len(wire) == 1 else b"".join(wire))
        if not (call.repeatable and self._used):
            call.wire = []
        if call.paused:
            self.pause()
        wait = timeouts.idle if sending else timeouts.first_byte
        self._timer.by(min(now + wait, call.deadline_at, call.total_at))

    def prompt(self, call: Call) -> None:
        """Tell the receiver, once the transport takes more, that its call has a connection now."""
        if self._call is call and self._sending:
            self._owed = self._stuck
            if not self._owed:
                call.receiver.on_upstream_writable()

    def rest(self) -> None:
        """Nothing to do for now: close after `keep_idle`."""
        self._moved = now = self._loop.time()
        self._timer.by(now + self._timeouts.keep_idle)

    def close(self, *, abort: bool = True) -> None:
        """Close. The owner hears `discarded` now and `lost` when it is done; a call on it hears nothing."""
        call, self._call = self._call, None
        self._reader = None
        if call is not None:
            call.carrier = None
        if not self.closing:
            self._shut(abort)
            if self.adopted:
                self._owner.discarded(self)

    def fail(self, code: StreamCode, detail: str) -> None:
        """Close, and tell the receiver of the call on it, if any, why."""
        call = self._call
        # Only a pipe's answer can be over while its call goes on: the other direction still runs.
        over = self._pipe and self._reader is not None and self._reader.ended
        self.close()
        if call is None:
            return
        if over:
            call.receiver.on_request_body_unwanted()
        else:
            call.receiver.on_failure(code, detail)

    # -- the call's side (call.Carrier; pause and resume are the wire's) ----------------------------

    def send(self, call: Call, data: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        if not self._pipe:
            try:
                data = call.frame(data)
            except InvalidRequest as error:
                self._refuse(call, str(error))
                return True
            self._sending = call.sending
        elif not self._sending:
            return True
        if data:
            self._moved = self._loop.time()
            transport.write(data)
            if not self._sending:
                self._request_written(call)
        self._owed = self._stuck
        return not self._stuck

    def finish(self, call: Call, trailers: list[bytes]) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or not self._sending:
            return
        if self._pipe:
            self._sending = False
            if self._reader is not None and self._reader.ended:
                self._release(call, reusable=False)
            elif transport.can_write_eof():  # TLS cannot close one direction
                transport.write_eof()
            return
        assert call.framing is not None
        try:
            data = call.framing.finish(trailers)
        except InvalidRequest as error:
            self._refuse(call, str(error))
            return
        self._sending = False
        if data:
            transport.write(data)
        self._request_written(call)

    def drop(self, call: Call) -> None:
        if self._call is call:
            self.close()

    # -- the loop's side (asyncio.Protocol) ---------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        call, reader = self._call, self._reader
        if call is None or reader is None:
            self.close()  # nothing was asked
            return
        self._moved = self._loop.time()
        try:
            reader.feed(data)
            self._deliver(call, reader)
        except InvalidAnswer as error:
            self.fail(StreamCode.UPSTREAM_INVALID, str(error))
        except Exception as error:
            self._loop.call_exception_handler({"message": "receiver of an answer failed", "exception": error})
            if self._call is call:
                with contextlib.suppress(Exception):
                    self.fail(StreamCode.INTERNAL, "the agent failed while it passed the answer on")

    def eof_received(self) -> bool:
        call, reader = self._call, self._reader
        if call is None or reader is None:
            self.close()
        elif not reader.begun:
            self._broken(None)
        elif self._cut_off() or not reader.eof():
            self.fail(StreamCode.UPSTREAM_TRUNCATED, "the upstream closed the connection inside its answer")
        elif self._pipe and self._sending and self._ssl is None:
            call.receiver.on_answer_end([])
            return not self.closing
        else:
            self._end(call, False, [])
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.closing:
            self._broken(exc)
        if self.adopted:
            self._owner.lost(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._owed and self._call is not None:
            self._owed = False
            self._call.receiver.on_upstream_writable()

    # -- an exchange's course -----------------------------------------------------------------------

    def _deliver(self, call: Call, reader: AnswerReader) -> None:
        receiver = call.receiver
        if reader.interims:
            call.repeatable = False
            self._since = self._moved
            for status, fields in reader.interims:
                receiver.on_interim(status, fields)
                if self._call is not call:
                    return
        if not reader.new_head:
            if reader.body:
                receiver.on_answer_body(reader.body)
            if reader.ended and self._call is call:
                self._end(call, reader.reusable, reader.trailers)
            return
        ended, unwanted = reader.ended, self._sending
        call.head_at = monotonic()
        if ended:
            self._release(call, reader.reusable)
        else:
            self._answered = True
            idle = self._timeouts.idle
            if reader.status == 101:
                self._pipe = self._sending = True
                idle = self._timeouts.pipe_idle
            self._timer.by(self._moved + idle)
        receiver.on_answer(
            reader.status,
            reader.reason,
            reader.fields,
            reader.length,
            reader.body,
            ended,
            reader.trailers if ended else [],
        )
        if ended and unwanted and not call.cancelled:
            receiver.on_request_body_unwanted()

    def _end(self, call: Call, reusable: bool, trailers: list[bytes]) -> None:
        unwanted = self._sending
        self._release(call, reusable)
        call.receiver.on_answer_end(trailers)
        if unwanted and not call.cancelled:
            call.receiver.on_request_body_unwanted()

    def _release(self, call: Call, reusable: bool) -> None:
        """Part from a call whose answer is complete."""
        transport = self._transport
        if (
            not reusable
            or self._sending
            or (call.framing is not None and call.framing.trailed)
            or transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size()  # the upstream has not taken all of the request
        ):
            self.close()
            return
        self._call = self._reader = None
        call.carrier = None
        self._used = True
        self.resume()
        self._owner.released(self)

    def _broken(self, error: Exception | None) -> None:
        """The connection ended by itself and the call on it, if any, has no complete answer."""
        call, reader = self._call, self._reader
        if call is None or reader is None or reader.begun:
            self.fail(StreamCode.UPSTREAM_TRUNCATED, "the connection to the upstream broke inside its answer")
            return
        refused = None if self._used or call.again else refused_by_upstream(error)
        if refused is not None:
            self.fail(StreamCode.UPSTREAM_TLS, refused)
        elif call.repeatable and self._used:
            self.close()
            call.repeatable = False
            self._owner.repeat(call)
        else:
            self.fail(StreamCode.UPSTREAM_CLOSED, "the upstream closed the connection without an answer")

    def _refuse(self, call: Call, detail: str) -> None:
        # Something of it is at the upstream, which may act on it: INVALID_REQUEST would say that nothing is.
        self.close()
        call.fail_soon(self._loop, StreamCode.CANCELLED, detail)

    def _request_written(self, call: Call) -> None:
        self._since = now = self._loop.time()
        if not call.head_at:
            call.sent_at = monotonic()
        self._timer.by(now + self._timeouts.first_byte)

    # -- timeouts -----------------------------------------------------------------------------------

    def _check(self, now: float) -> float:
        call = self._call
        if call is None:
            due = self._moved + self._timeouts.keep_idle
            if now < due:
                return due
            self.close(abort=False)
            return NEVER
        due, code = self._next_due(call, now)
        if now < due:
            return due
        self.fail(code, DETAILS[code])
        return NEVER
