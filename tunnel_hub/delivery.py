"""How a request gets to an agent: it waits for its turn, is sent, and where that is safe is sent again.

The request's side of an `Exchange`; the answer's is in exchange.py. What has come of the body is kept until the
answer begins, within bounds, so that the request can be repeated whole.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from protocol.errors import Delivered, StreamCode

from .instances import UNLIMITED
from .problems import HUB_PROBLEMS, STREAM_PROBLEMS, Problem
from .repeat import Again, again
from .service import NOBODY

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.aio.wheel import Timer
    from protocol.stream import Stream

    from .hub import Hub
    from .ingress.request import Reply, Request
    from .instances import Offer
    from .service import Service
    from .spans import Span

EXPECT_PATIENCE: Final = 1.0
"""Seconds after which the hub itself answers 100 (Continue): many old servers never do (RFC 9110, 10.1.1)."""

KEEP_MAX: Final = 64 * 1024
"""Most bytes of one body that are kept for a repetition, besides those that came with the head."""

LOOK_AGAIN: Final = 0.5
"""Seconds between two looks of a request that waits at whether there is room after all."""

PUMP_APART: Final = 0.1
"""Seconds: those who wait look often, together; one of them is enough."""

SLACK: Final = 0.05
"""Seconds: the timer wheel's two ticks."""

_NOTHING: Final[list[bytes]] = []
"""The kept body of a request that came whole with its head."""


class Delivery:
    """The request's side of an exchange. `dispatch` and `give_way` are called by the service's queue."""

    __slots__ = (
        "_avoid",
        "_begun",
        "_body_done",
        "_body_paused",
        "_deadline_at",
        "_done",
        "_fields",
        "_hub",
        "_kept",
        "_kept_size",
        "_patience",
        "_perhaps",
        "_stream",
        "_trailers",
        "_upgrade",
        "_waits_since",
        "bytes_in",
        "caller",
        "link",
        "offer",
        "repeats",
        "reply",
        "request",
        "request_id",
        "sent_at",
        "service",
        "span",
    )

    def __init__(self, hub: Hub, request: Request, reply: Reply) -> None:
        self._hub = hub
        self.request = request
        self.reply = reply
        self.caller = reply.peer
        self.service: Service | None = None
        self.offer: Offer | None = None
        """Whose capacity it takes; None while it waits, and once it is over."""
        self.link: Link | None = None
        """Where it was sent last."""
        self.request_id = b""
        self.sent_at = 0.0
        """When it was sent last, by time.monotonic(); 0.0: not yet."""
        self.span: Span | None = None
        """Where the request is recorded in its trace."""
        self.repeats = 0
        self.bytes_in = len(request.body)
        self._stream: Stream | None = None  # None: held
        self._fields: list[bytes] = []
        self._upgrade: bytes | None = None
        self._trailers: list[bytes] = request.trailers
        self._deadline_at = 0.0
        self._patience: Timer | None = None
        self._waits_since = 0.0
        self._avoid = NOBODY
        self._perhaps = False  # a former attempt may have reached an upstream
        self._begun = False  # the caller has seen something of an answer
        self._body_done = request.complete
        self._body_paused = False
        self._kept: list[bytes] | None = _NOTHING if request.complete else []
        self._kept_size = 0  # bytes of it that are taken from the hub's budget
        self._done = False

    def refuse(self, kind: Problem, detail: str = "", retry_after: int | None = None) -> None:
        """Answer by the hub itself, or abort the caller's connection if an answer has begun.

        retry_after: whole seconds, where more is known than `problems.RETRY_AFTER`.
        """
        raise NotImplementedError

    # -- Waiting --------------------------------------------------------------------------------------

    def _deliver(self, service: Service) -> None:
        chosen = service.admit(self.caller)
        if chosen is not None:
            self.dispatch(*chosen)
        else:
            self._wait(service)

    def _wait(self, service: Service, *, first: bool = False) -> None:
        """Wait for a session or for its turn, within bounds in time, number and bytes."""
        settings = service.settings
        if service.queue.lane(self.caller) >= settings.caller_queue:
            self.refuse(HUB_PROBLEMS["caller_overloaded"])
            return
        up = service.up
        if not up and settings.hold <= 0:
            self.refuse(HUB_PROBLEMS["no_session"])
            return
        kept = self._kept or _NOTHING
        if not service.wait(self, len(self.request.body) + sum(map(len, kept)), first=first):
            self.refuse(HUB_PROBLEMS["service_overloaded" if up else "hold_full"])
            return
        service.holds += 1
        self._waits_since = self._hub.loop.time()
        if not self._body_done:
            self._pause_body()
        self._look_again(settings.queue_timeout if up else settings.hold)

    def _look_again(self, left: float) -> None:
        self._patience = self._hub.wheel.after(min(left, LOOK_AGAIN), self._on_waited)

    def _on_waited(self) -> None:
        """Some time has passed: is there room, or is it enough?"""
        self._patience = None
        service = self.service
        assert service is not None
        now = self._hub.loop.time()
        if now - service.pumped_at >= PUMP_APART:
            service.pumped_at = now
            service.pump()
            if self._done or self._stream is not None:
                return
        up = service.up
        allowed = service.settings.queue_timeout if up else service.settings.hold
        left = self._waits_since + allowed - now
        if left > SLACK:
            self._look_again(left)
            return
        self._leave_queue()
        if not up:
            self.refuse(HUB_PROBLEMS["no_session"])
        elif self._hub.callers.may_run(self.caller):
            self.refuse(HUB_PROBLEMS["service_overloaded"])
        else:
            self.refuse(HUB_PROBLEMS["caller_overloaded"])

    def give_way(self) -> None:
        self._cancel_patience()
        assert self.service is not None
        self.refuse(HUB_PROBLEMS["service_overloaded" if self.service.settings.enabled else "switched_off"])

    def _leave_queue(self) -> None:
        if self._stream is None and self.service is not None:
            self.service.queue.remove(self.caller, self)

    def _cancel_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    # -- Sending --------------------------------------------------------------------------------------

    def dispatch(self, offer: Offer, link: Link) -> None:
        """Open a stream on `link` and send what has arrived."""
        request = self.request
        service = self.service
        assert service is not None
        if self._patience is not None:
            self._cancel_patience()
        self.offer = offer
        offer.outstanding += 1
        offer.instance.outstanding += 1
        service.running += 1
        if self._hub.callers.limited:
            self._hub.callers.began(self.caller)
        self.link = link
        now = link.loop.time()
        self.sent_at = monotonic()
        fields = self._fields
        if self.span is not None:
            fields = self.span.send(fields, link.label, self.sent_at)
        upgrading = self._upgrade is not None
        kept = self._kept
        assert kept is not None
        end = request.complete and not upgrading and not self._trailers
        self._stream = stream = link.session.open(
            self,
            now,
            service=service.name,
            request_id=self.request_id,
            method=request.method,
            authority=request.authority,
            target=request.target,
            fields=fields,
            length=request.length,
            chunked=request.chunked,
            expect=request.expect_continue and not kept and not self._body_done,
            upgrade=self._upgrade,
            deadline_ms=max(int((self._deadline_at - now) * 1000), 1),
            body=request.body,
            end=end,
        )
        flowing = True
        for data in kept:
            flowing = link.session.send(stream, data)
        if kept:
            self._keep(sum(map(len, kept)) - self._kept_size)  # what came while it waited
        if self._body_done:
            if not end and not upgrading:
                link.session.end(stream, self._trailers)
        elif not flowing:
            self._pause_body()
        elif self._body_paused:
            self._resume_body()
        if request.expect_continue and not self._body_done:
            self._patience = self._hub.wheel.after(EXPECT_PATIENCE, self._on_expect_patience)
        link.wake()

    def _release(self, *, pump: bool = True) -> None:
        """Give the capacity back, to whoever waits for it. Idempotent."""
        offer, service = self.offer, self.service
        if offer is None or service is None:
            return
        self.offer = None
        offer.outstanding -= 1
        offer.instance.outstanding -= 1
        service.running -= 1
        callers = self._hub.callers
        if callers.limited:
            callers.ended(self.caller)
        if pump and (service.queue.size or callers.limited or offer.instance.limit < UNLIMITED):
            self._pump(service, offer)

    def _pump(self, service: Service, offer: Offer) -> None:
        """Give what has become free to those who wait; other services first, where it is theirs as well."""
        if self._hub.callers.limited or offer.instance.limit < UNLIMITED:
            self._hub.pump(behind=service)
        else:
            service.pump()

    def _on_expect_patience(self) -> None:
        self._patience = None
        if not self._begun and not self._done:
            self.reply.interim(100, [])

    # -- The body -------------------------------------------------------------------------------------

    def _on_body(self, data: bytes) -> None:
        """More of the body, or pipe bytes after a 101."""
        stream, link = self._stream, self.link
        kept = self._kept
        if stream is None or link is None:
            if kept is not None and self.service is not None:
                kept.append(data)
                self.service.queue.grow(self.caller, self, len(data))
            return
        if kept is not None and self._keep(len(data)):
            kept.append(data)
        if not link.session.send(stream, data):
            self._pause_body()
        link.wake()

    def _keep(self, size: int) -> bool:
        """Whether `size` bytes more may be kept; if not, nothing is, and the request cannot be repeated."""
        if self._kept_size + size <= KEEP_MAX and self._upgrade is None and self._hub.kept.take(size):
            self._kept_size += size
            return True
        self._forget_body()
        return False

    def _forget_body(self) -> None:
        """The request will not be repeated any more."""
        if self._kept_size:
            self._hub.kept.give(self._kept_size)
            self._kept_size = 0
        self._kept = None

    def _pause_body(self) -> None:
        if not self._body_paused:
            self._body_paused = True
            self.reply.pause_body()

    def _resume_body(self) -> None:
        self._body_paused = False
        self.reply.resume_body()

    # -- Repeating ------------------------------------------------------------------------------------

    def _failed(self, code: StreamCode, detail: str, *, unsent: bool = False) -> None:
        """The attempt failed before any answer: repeat the request where that is safe, else say so."""
        verdict = again(
            code,
            self.request.method,
            unsent=unsent,
            answered=self._begun,
            body_held=self._kept is not None,
            repeats=self.repeats,
        )
        service, offer, link = self.service, self.offer, self.link
        assert service is not None
        if self.span is not None:
            self.span.failed(code.name.lower(), monotonic())
        if verdict is Again.NO or offer is None or link is None:
            kind = STREAM_PROBLEMS[code]
            if unsent:
                kind = HUB_PROBLEMS["no_session"]
            self.refuse(kind, detail)
            return
        if verdict is Again.ANYWHERE and not unsent:
            self._perhaps = True
        if not service.settings.enabled:
            self.refuse(HUB_PROBLEMS["switched_off"])
            return
        self._release(pump=False)  # first: the place that it had may be the only one
        if verdict is Again.ANYWHERE:
            chosen = service.choose()
        elif code is StreamCode.NOT_DISPATCHED and link.session.peer_draining:
            chosen = service.choose(self._avoid)  # only that session says no; its agent's next one may come soon
        else:
            self._avoid |= {offer}
            chosen = service.choose(self._avoid)
            if chosen is None and not service.others(self._avoid):
                self.refuse(STREAM_PROBLEMS[code], detail)
                self._pump(service, offer)
                return
        self.repeats += 1
        service.repeats[code.name.lower()] += 1
        self._stream = None
        self._cancel_patience()
        if chosen is not None:
            self.dispatch(*chosen)
            return
        self._wait(service, first=True)
        self._pump(service, offer)

    def _truthful(self, kind: Problem) -> Problem:
        """`kind` as it is to be said when a former attempt may have reached an upstream."""
        if not self._perhaps or kind.delivered != Delivered.NO:
            return kind
        if kind.status == 503:
            return STREAM_PROBLEMS[StreamCode.SESSION_LOST]
        return kind._replace(delivered=Delivered.UNKNOWN)
