"""One caller's connection: requests in order, one exchange at a time, bounded in time and memory.

Bytes of later requests that arrive early are held unparsed until the current answer is complete, so pipelined
requests are answered in order. Reading goes on meanwhile, within a bound: it is how a caller's end is noticed.

A caller that closes its direction while it waits for an answer is taken to be gone: a closed and a half-closed
socket look alike, and a request that nobody waits for must be cancelled. Only an upgraded connection can be
half-closed.
"""

from __future__ import annotations

import asyncio

from protocol.errors import Delivered
from protocol.http.fields import BadMessage
from tunnel_hub.problems import HUB_PROBLEMS, Problem

from .context import IngressContext
from .intake import Intake
from .own import ALLOW, is_for_the_hub, problem_answer, problem_of
from .reply import CallerReply
from .request import Exchange, Request
from .state import State
from .watch import Watch
from .wire import Wire

_HEAD, _BODY, _EARLY, _PIPE, _LINGER, _ = State


class CallerConnection(Wire):
    """Made for each accepted connection; keeps itself in `context.connections` until it is lost."""

    __slots__ = (
        "_awaits_continue",
        "_body_paused",
        "_early",
        "_exchange",
        "_intake",
        "_looping",
        "_our_side_ended",
        "_reply",
        "_watch",
        "received_bytes",
        "refuse_all",
    )

    def __init__(self, context: IngressContext) -> None:
        super().__init__(context)
        self.received_bytes = 0
        """Of all bodies so far, framing included."""
        self.refuse_all = False
        """The connection is one too many: its first request is answered 503."""
        self._intake = Intake(context.limits, context.memo)
        self._watch = Watch(self)
        self._early = b""
        self._reply: CallerReply | None = None
        self._exchange: Exchange | None = None
        self._looping = False
        self._body_paused = False
        self._awaits_continue = False
        self._our_side_ended = False

    # -- transport callbacks ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.attach(transport)
        context = self.context
        most = context.limits.connections
        excess = len(context.connections) - most
        context.connections.add(self)
        context.empty.clear()
        if excess >= max(16, most // 8):
            self.reset()
            return
        self.refuse_all = excess >= 0
        self._watch.start()

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state is _HEAD:
            self._start_requests(data)
        elif state is _BODY:
            self._read_body(data)
        elif state is _PIPE:
            if self._early:
                self._empty_early_into_pipe()
            if self._exchange is not None:
                self._exchange.on_body(data)
        elif state is _EARLY:
            self._hold(data)
        elif state is _LINGER:
            self.discard(data)

    def eof_received(self) -> bool:
        self._caller_ended = True
        if self.state is _PIPE:
            if self._early:
                self._empty_early_into_pipe()
            if self._exchange is not None:
                self._exchange.on_body_end([])
            if self._our_side_ended:
                self._reply = self._exchange = None
                return False
            return self._transport.can_write_eof()
        self._early = b""
        if self._reply is not None and self._reply.begun:
            self.give_up()
        else:
            self._leave_exchange()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.detach()
        self._watch.stop()
        self.context.forget(self)
        self._leave_exchange()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._exchange is not None:
            self._exchange.on_caller_writable()
        elif self.state is _HEAD:
            self._next()

    # -- requests ---------------------------------------------------------------------------------------------

    def _start_requests(self, data: bytes) -> None:
        """Start the requests in `data`, as far as their turn has come."""
        if self.refuse_all:
            self.refuse(HUB_PROBLEMS["too_many_connections"])
            return
        if self.write_paused or self._early:
            self._hold(data)
            return
        intake = self._intake
        now = self.context.loop.time()
        if not intake.partial:
            self.since = now
        self._looping = True
        while data:
            try:
                request = intake.head(data, now)
            except BadMessage as refused:
                head_only = (intake.partial or data).startswith(b"HEAD ")
                self.refuse(problem_of(refused), refused.title, head_only=head_only)
                break
            if request is None:
                break
            self.since = now
            self.state = _EARLY if request.complete else _BODY
            self._begin(request)
            data = intake.rest
            if data and (self.state is not _HEAD or self.write_paused):
                self.data_received(data)
                break
        self._looping = False

    def _begin(self, request: Request) -> None:
        self._awaits_continue = request.expect_continue and not request.body
        reply = self._reply = CallerReply(self, request)
        if request.method == b"OPTIONS" and is_for_the_hub(request):
            reply.head(204, b"No Content", [b"Allow", ALLOW], None, b"", True)
            return
        try:
            exchange = self.context.start(request, reply)
        except Exception as error:  # a fault of one exchange must not end the others
            self.context.loop.call_exception_handler({"message": "exchange did not start", "exception": error})
            if self._reply is reply:
                self.fail_request(HUB_PROBLEMS["internal_error"])
            return
        if self._reply is reply:
            self._exchange = exchange

    def _read_body(self, data: bytes) -> None:
        self.since = self.context.loop.time()
        self.received_bytes += len(data)
        self._awaits_continue = False
        exchange, intake = self._exchange, self._intake
        if exchange is None:
            return
        try:
            payload, ended = intake.body(data)
        except BadMessage as broken:
            self.fail_request(problem_of(broken), broken.title)
            return
        if not ended:
            if payload:
                exchange.on_body(payload)
            return
        self.state = _EARLY
        if payload:
            exchange.on_body(payload)
        if self._exchange is exchange:
            exchange.on_body_end(intake.trailers)
        self._set_reading()
        if intake.rest:
            self.data_received(intake.rest)

    def _hold(self, data: bytes) -> None:
        self._early += data
        self._set_reading()

    def _next(self) -> None:
        """The turn of what was held has come."""
        data = self._early
        if data and self.state is _HEAD and not self.write_paused:
            self._early = b""
            self._start_requests(data)
        self._set_reading()

    def pause_body(self) -> None:
        self._body_paused = True
        self._set_reading()

    def resume_body(self) -> None:
        if self._body_paused:
            self._body_paused = False
            self.since = self.context.loop.time()
            self._set_reading()

    def _set_reading(self) -> None:
        state = self.state
        if state is _BODY or state is _PIPE:
            self.set_reading(not self._body_paused)
        else:
            self.set_reading(len(self._early) <= self.context.limits.early)

    # -- what the reply needs ---------------------------------------------------------------------------------

    def may_continue(self) -> bool:
        """Whether the connection can serve another request after the answer that begins now."""
        return self.state is _EARLY and not self.context.closing

    def continue_sent(self) -> None:
        """100 (Continue) went out: from now on the caller is expected to send."""
        self._awaits_continue = False
        self.since = self.context.loop.time()

    def answered(self, reply: CallerReply) -> None:
        """The last byte of the answer was handed to the transport."""
        self._reply = self._exchange = None
        self._body_paused = False
        if self.state is not _EARLY or reply.closing:
            self._close_gently()
            return
        self.state = _HEAD
        if not self._looping:
            self.since = self.context.loop.time()
            if self._early:
                # Not from here: the exchange that ends now is still inside its own call.
                self.context.loop.call_soon(self._next)

    def answer_spoilt(self, *, end: bool) -> None:
        """The exchange gave a head that cannot be sent. `end`: its answer was complete, nothing is to be told."""
        if self._reply is not None:
            self._reply.detach()
        self.refuse(HUB_PROBLEMS["invalid_answer"])
        if end:
            self._reply = self._exchange = None
        else:
            self.context.loop.call_soon(self._leave_exchange)

    def become_pipe(self) -> None:
        """101 was written; early bytes belong to the pipe."""
        self.state = _PIPE
        if self._early:
            self.context.loop.call_soon(self._empty_early_into_pipe)

    def pipe_ended(self) -> None:
        """The exchange has closed our direction of the pipe."""
        self._our_side_ended = True
        if self._caller_ended:
            self._reply = self._exchange = None
        if self._caller_ended or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()

    def _empty_early_into_pipe(self) -> None:
        data = self._early
        if data and self.state is _PIPE and self._exchange is not None:
            self._early = b""
            self._exchange.on_body(data)
        self._set_reading()

    # -- ends -------------------------------------------------------------------------------------------------

    def refuse(self, kind: Problem, detail: str = "", *, head_only: bool = False) -> None:
        """Answer without an exchange, then close."""
        self.write(problem_answer(self.context, self.peer, kind, detail, head_only=head_only))
        self._close_gently()

    def fail_request(self, kind: Problem, detail: str = "") -> None:
        """The caller's own fault ends the request: answer if nothing was answered yet, else reset.

        The head and the beginning of the body may be at the upstream by then.
        """
        begun = self._reply is not None and self._reply.begun
        if self._exchange is not None:
            kind = kind._replace(delivered=Delivered.UNKNOWN)
        self._leave_exchange()
        if begun:
            self.reset()
        else:
            self.refuse(kind, detail)

    def give_up(self) -> None:
        """The caller is gone, or as good as gone."""
        self._leave_exchange()
        self.reset()

    def close_if_idle(self) -> None:
        """Close unless a request has begun to arrive or an answer is not complete."""
        if self.state is _HEAD and not self._early and not self._intake.partial:
            self._transport.close()

    def reset(self) -> None:
        """End the connection at once; the exchange, which may have asked for it, is told nothing."""
        reply = self._reply
        self._reply = self._exchange = None
        if reply is not None:
            reply.detach()
        self.cut()

    def _close_gently(self) -> None:
        self._early = b""
        self.close_gently()

    def _leave_exchange(self) -> None:
        reply, exchange = self._reply, self._exchange
        self._reply = self._exchange = None
        if reply is not None:
            reply.detach()
        if exchange is not None:
            exchange.on_caller_gone()

    # -- what the watch asks ----------------------------------------------------------------------------------

    def answered_bytes(self) -> int:
        return 0 if self._reply is None else self._reply.bytes_sent

    def wants_body(self) -> bool:
        """Whether it is the caller's turn to send more of a body."""
        return not self._body_paused and not self._awaits_continue

    def has_partial_head(self) -> bool:
        return bool(self._intake.partial)
