"""One caller's request from its arrival to the end of its answer: one object, no task.

Callbacks come from the caller's connection (`on_body`, `on_caller_gone` ...) and, by way of the stream's owner,
from the session (`on_answered` ...). Each is a decision followed by its effects on the reply and the stream. How
the request gets to an agent, and again to another, is in delivery.py.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from protocol.errors import Delivered, StreamCode, is_not_dispatched
from protocol.http.head import REASONS
from protocol.phases import server_timing

from .delivery import SLACK, Delivery
from .farewell import Farewell
from .forward import not_ours
from .phases import take
from .problems import HUB_PROBLEMS, STREAM_PROBLEMS, Problem, answer

if TYPE_CHECKING:
    from protocol.aio.wheel import Timer
    from protocol.events import (
        Answered,
        DataReceived,
        InterimAnswered,
        ResetAnswered,
        StreamReset,
        StreamWritable,
        TrailersReceived,
    )
    from protocol.phases import Phases

    from .gateway.gate import Admitted
    from .hub import Hub
    from .ingress.request import Reply, Request
    from .inspector.tape import Notes
    from .service import Service

CONFIRM_PATIENCE: Final = 0.05
"""Seconds that a deadline waits for the agent to say whether the request was dispatched."""

CALLER_GONE: Final = 499
"""Status in the access log of a request whose caller went away first."""


class Exchange(Delivery):
    """Life of one request. Made by `Hub.start_exchange`."""

    __slots__ = (
        "_deadline",
        "_expired",
        "_farewell",
        "_head_sent",
        "_max_body",
        "_pipe_ended",
        "_unconsumed",
        "admitted",
        "answered_at",
        "arrived_at",
        "phases",
        "status",
        "tape",
        "timed",
        "trace_id",
    )

    def __init__(self, hub: Hub, request: Request, reply: Reply) -> None:
        super().__init__(hub, request, reply)
        self._deadline: Timer | None = None
        self._expired = False  # the deadline has passed; the agent is asked whether it had dispatched
        self._farewell: Farewell | None = None  # of an upgraded websocket
        self._head_sent = False
        self._pipe_ended = False
        self._max_body: int | None = None
        self._unconsumed = 0
        self.admitted: Admitted | None = None
        """Who calls; None where callers need not authenticate."""
        self.status = 0
        self.tape: Notes | None = None
        """Notes for an operator, while the inspector is on for the service."""
        self.arrived_at = monotonic()
        """For the phases, by time.monotonic(): the loop's clock has steps of 1 ms."""
        self.answered_at = 0.0
        """When its answer's head came; 0.0: not yet."""
        self.phases: Phases | None = None
        """Where its time went, once an answer has begun."""
        self.timed = False
        """Whether the caller asks for Server-Timing; from `start` on: and gets it."""
        self.trace_id = b""
        """The W3C trace that the request is part of, 32 hexadecimal digits; b"" where it is in none."""

    # -- Start ----------------------------------------------------------------------------------------

    def start(self, service: Service, fields: list[bytes], deadline: float | None) -> None:
        """Check what the service asks, arm the deadline, then dispatch or wait.

        deadline: seconds, the wish of this request; it can only lower the service's and the caller's.
        """
        self.service = service
        self._fields = fields
        service.in_flight += 1
        request = self.request
        settings = service.settings
        if self._trailers:
            self._trailers = settings.onward.trailers(self._trailers)
        if not settings.enabled:
            self.refuse(HUB_PROBLEMS["switched_off"])
            return
        patience, max_body = settings.deadline, settings.max_body
        if self.timed or settings.server_timing:
            self.timed = settings.server_timing or (
                self.admitted is not None and self.admitted.policy.server_timing
            )
        if self.admitted is not None:
            policy = self.admitted.policy
            if policy.max_body is not None and (max_body is None or policy.max_body < max_body):
                max_body = policy.max_body
            if policy.deadline is not None and policy.deadline < patience:
                patience = policy.deadline
        self._max_body = max_body
        if max_body is not None and max(request.length or 0, len(request.body)) > max_body:
            self.refuse(HUB_PROBLEMS["content_too_large"])
            return
        if request.upgrade is not None and request.upgrade.lower() in settings.upgrades:
            self._upgrade = request.upgrade
            self._body_done = False  # what follows a 101 is the request's half of the pipe
        if deadline is not None and deadline < patience:
            patience = deadline
        self._deadline_at = request.received + patience
        self._deadline = self._hub.wheel.after(patience, self._on_deadline)
        self._deliver(service)

    def refuse(self, kind: Problem, detail: str = "", retry_after: int | None = None) -> None:
        if self._done:
            return
        kind = self._truthful(kind)
        if self._head_sent:
            self.reply.abort()
        else:
            fields, body = answer(
                kind,
                hub_id=self._hub.id,
                request_id=self.request_id.decode("ascii"),
                detail=detail,
                retry_after=retry_after,
            )
            if self.timed and self.sent_at:
                waited = int((self.sent_at - self.arrived_at) * 1e6)
                fields += (b"Server-Timing", server_timing((waited, 0, 0, 0, 0)))
            self._head_sent = True
            if not self._body_done:
                self.reply.close_after()
            self.reply.head(kind.status, REASONS[kind.status], fields, len(body), body, end=True)
            self.status = kind.status
        self._finish(kind.origin, kind.code, kind.delivered)

    # -- From the caller ------------------------------------------------------------------------------

    def on_body(self, data: bytes) -> None:
        """Body bytes, or pipe bytes after a 101."""
        if self._done or self._expired:
            return
        self.bytes_in += len(data)
        if self.tape is not None:
            self.tape.more(data)
        limit = self._max_body
        if limit is not None and self._upgrade is None and self.bytes_in > limit:
            delivered = Delivered.NO if self._stream is None else Delivered.UNKNOWN
            self._leave_queue()
            self._abandon(StreamCode.CANCELLED)
            self.refuse(HUB_PROBLEMS["content_too_large"]._replace(delivered=delivered))
            return
        self._on_body(data)

    def on_body_end(self, trailers: list[bytes]) -> None:
        """The request is complete; after a 101, the caller half-closed."""
        self._body_done = True
        if self._done or self._expired:
            return
        if trailers and self.service is not None:
            trailers = self.service.settings.onward.trailers(trailers)
        self._trailers = trailers
        if self._stream is None or self.link is None:
            return
        self.link.session.end(self._stream, trailers)
        self.link.wake()
        if self._pipe_ended:
            self._finish("-", "", Delivered.YES)

    def on_caller_writable(self) -> None:
        """The caller's transport took what it had: give the credit back."""
        size, self._unconsumed = self._unconsumed, 0
        if size and self._stream is not None and self.link is not None:
            self.link.session.consumed(self._stream, size, self.link.loop.time())
            self.link.wake()

    def on_caller_gone(self) -> None:
        """No answer can be given any more: cancel what is under way."""
        if self._done:
            return
        self._leave_queue()
        delivered = Delivered.NO if self._stream is None and not self._perhaps else Delivered.UNKNOWN
        self._abandon(StreamCode.CANCELLED)
        if self.status == 101:
            self._finish("-", "", Delivered.YES)
            return
        self.status = CALLER_GONE
        self._finish("caller", "caller_gone", delivered)

    # -- From the session -----------------------------------------------------------------------------

    def on_answered(self, event: Answered) -> None:
        if self._done or self._expired:
            return
        self._head_sent = self._begun = True
        status = self.status = event.status
        self._cancel_timers()
        hub = self._hub
        body = event.body
        if not self.request.complete:
            self._forget_body()
        if status != 101 and self._upgrade is not None:
            self._upgrade = None
            self._body_done = True
            self._end_request_half()
        size = len(body)
        if status == 101 and (self._upgrade or b"").lower() == b"websocket":
            self._farewell = Farewell()
            body = self._farewell.passing(body)
            hub.websockets.add(self)
        fields = event.fields
        now = self.answered_at = monotonic()
        phases = self.phases = take(fields, self.arrived_at, self.sent_at, now)
        fields = hub.forwarder.answer(fields)
        if self.timed:
            fields += (b"Server-Timing", server_timing(phases))
        flowing = self.reply.head(status, event.reason, fields, event.length, body, event.end)
        if event.end:
            self._finish("-", "", Delivered.YES)
        elif size:
            self._took(size, flowing)

    def on_interim(self, event: InterimAnswered) -> None:
        if not self._done and not self._head_sent:
            if event.status != 100:
                self._begun = True
            elif self._patience is not None:
                self._cancel_patience()
            self.reply.interim(event.status, not_ours(event.fields))

    def on_data(self, event: DataReceived) -> None:
        if self._done:
            return
        body = event.body
        if body:
            size = len(body)
            if self._farewell is not None:
                body = self._farewell.passing(body)
            self._took(size, self.reply.body(body))
        if event.end and not self._done:
            self._end_answer([])

    def on_trailers(self, event: TrailersReceived) -> None:
        if not self._done:
            self._end_answer(not_ours(event.fields))

    def on_reset(self, event: StreamReset) -> None:
        """The agent ended the stream: repeat the request where that is safe, else pass the failure on."""
        if self._done:
            return
        try:
            code = StreamCode(event.code)
        except ValueError:
            code = StreamCode.INTERNAL
        if self._expired:
            self._on_expiry(code)
        elif self._head_sent:
            self.refuse(STREAM_PROBLEMS[code], event.detail)
        elif STREAM_PROBLEMS[code].status == 503 and self._deadline_at - self._hub.loop.time() < SLACK:
            self._on_expiry(code)  # it waited at the agent until its deadline; nobody else can do better
        else:
            self._failed(code, event.detail)

    def on_reset_answered(self, event: ResetAnswered) -> None:
        """What the agent says of a request whose deadline has passed."""
        if not self._done:
            self._on_expiry(StreamCode.NOT_DISPATCHED if is_not_dispatched(event.code) else StreamCode.DEADLINE)

    def on_writable(self, _event: StreamWritable) -> None:
        if self._body_paused:
            self._resume_body()

    def on_session_lost(self) -> None:
        """The session died with this stream on it."""
        stream, link = self._stream, self.link
        if self._done or stream is None or link is None:
            return
        if self._expired:
            self._on_expiry(StreamCode.DEADLINE)
        elif self._head_sent:
            self.refuse(STREAM_PROBLEMS[StreamCode.SESSION_LOST])
        else:
            self._failed(StreamCode.SESSION_LOST, "", unsent=link.session.unsent(stream))

    def on_fault(self) -> None:
        """The hub itself failed at this exchange; its stream was reset."""
        self.refuse(HUB_PROBLEMS["internal_error"])

    def cut(self, kind: Problem, why: str) -> None:
        """End at once, for the caller to see.

        kind: what it is told if no agent has got it; why: what it is told in any case.
        """
        stream, link = self._stream, self.link
        if self._done or self._expired or stream is None or link is None:
            return
        unsent = link.session.unsent(stream)
        self._abandon(StreamCode.CANCELLED)
        self.refuse(kind if unsent else HUB_PROBLEMS["cut_off"], why)

    def go_away(self) -> None:
        """Hub or agent drain: tell the caller of an upgraded websocket to look for another one."""
        if self._farewell is not None and not self._done:
            farewell = self._farewell.say()
            if farewell:
                self.reply.body(farewell)

    # -- Helpers --------------------------------------------------------------------------------------

    def _took(self, size: int, flowing: bool) -> None:
        """Account for answer bytes handed to the caller's transport."""
        self._unconsumed += size
        if flowing:
            self.on_caller_writable()

    def _end_answer(self, trailers: list[bytes]) -> None:
        if self.status == 101:
            self.reply.end([])
            self._pipe_ended = True
            if self._body_done:
                self._finish("-", "", Delivered.YES)
            return
        self.reply.end(trailers)
        self._finish("-", "", Delivered.YES)

    def _end_request_half(self) -> None:
        """The upgrade was not taken: the request, which had no body, is over."""
        if self._stream is not None and self.link is not None:
            self.link.session.end(self._stream)
            self.link.wake()

    def _on_deadline(self) -> None:
        self._deadline = None
        if self._done or self._head_sent:
            return
        stream, link, service = self._stream, self.link, self.service
        if stream is None or link is None or service is None:
            self._leave_queue()
            self.refuse(HUB_PROBLEMS["deadline_while_held"])
            return
        now = self._hub.loop.time()
        self._expired = True
        self._cancel_patience()
        if link.session.unsent(stream):
            self._on_expiry(StreamCode.NOT_DISPATCHED)
            return
        link.session.reset(stream, StreamCode.DEADLINE, now, confirm=True)
        link.wake()
        self._deadline = self._hub.wheel.after(CONFIRM_PATIENCE, self._on_unconfirmed)

    def _on_unconfirmed(self) -> None:
        self._deadline = None
        self._on_expiry(StreamCode.DEADLINE)

    def _on_expiry(self, code: StreamCode) -> None:
        """The deadline has passed, and this is known of the request now."""
        kind = STREAM_PROBLEMS[StreamCode.DEADLINE]
        if STREAM_PROBLEMS[code].delivered == Delivered.NO:
            kind = kind._replace(delivered=Delivered.NO)
        self._abandon(StreamCode.DEADLINE)
        self.refuse(kind)

    def _abandon(self, code: StreamCode) -> None:
        """Cancel the stream, if there is one."""
        if self._stream is not None and self.link is not None:
            self.link.session.reset(self._stream, code, self.link.loop.time())
            self.link.wake()

    def _cancel_timers(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._patience is not None:
            self._cancel_patience()

    def _finish(self, origin: str, code: str, delivered: str) -> None:
        """The answer is complete, refused or given up: stop timers, count, log."""
        if self._done:
            return
        self._done = True
        self._cancel_timers()
        if not self._body_done:
            self._abandon(StreamCode.NO_ERROR)  # nobody reads the rest of the request any more
        if self._kept:
            self._forget_body()
        if self._farewell is not None:
            self._hub.websockets.discard(self)
        stream = self._stream
        if stream is not None and stream.closed:
            if stream.receive_window is not None:
                stream.receive_window.release()  # nobody reports what the caller's transport still holds
            stream.owner = self._stream = None  # no cycle is left for the garbage collector
        self._hub.record(self, origin, code, delivered)
        self._release()
