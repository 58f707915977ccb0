"""One caller's request from its arrival to the end of its answer: one object, no task.

Callbacks come from the caller's connection (`on_body`, `on_caller_gone` ...) and, by way of the stream's owner,
from the session (`on_answered` ...). Each is a decision followed by its effects on the reply and the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.errors import Delivered, StreamCode
from protocol.stream import Stream

from .problems import HUB_PROBLEMS, STREAM_PROBLEMS, Problem, answer

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.aio.wheel import Timer
    from protocol.events import (
        Answered,
        DataReceived,
        InterimAnswered,
        StreamReset,
        StreamWritable,
        TrailersReceived,
    )

    from .hub import Hub
    from .ingress.request import Reply, Request
    from .service import Service

EXPECT_PATIENCE: Final = 1.0
"""Seconds after which the hub itself answers 100 (Continue): many old servers never do (RFC 9110, 10.1.1)."""

CALLER_GONE: Final = 499
"""Status in the access log of a request whose caller went away first."""


class Exchange:
    """Life of one request. Made by `Hub.start_exchange`."""

    __slots__ = (
        "_body_done",
        "_body_paused",
        "_deadline",
        "_deadline_at",
        "_done",
        "_early",
        "_early_trailers",
        "_fields",
        "_head_sent",
        "_hub",
        "_patience",
        "_pipe_ended",
        "_stream",
        "_unconsumed",
        "_upgrade",
        "bytes_in",
        "link",
        "reply",
        "request",
        "request_id",
        "service",
        "status",
    )

    def __init__(self, hub: Hub, request: Request, reply: Reply) -> None:
        self._hub = hub
        self.request = request
        self.reply = reply
        self.service: Service | None = None
        self.link: Link | None = None
        self._stream: Stream | None = None
        self._deadline: Timer | None = None
        self._patience: Timer | None = None
        self._deadline_at = 0.0
        self._fields: list[bytes] = []
        self._early: list[bytes] | None = None
        self._early_trailers: list[bytes] = []
        self._upgrade: bytes | None = None
        self._body_done = request.complete
        self._body_paused = False
        self._head_sent = False
        self._done = False
        self._pipe_ended = False
        self._unconsumed = 0
        self.bytes_in = len(request.body)
        self.status = 0
        self.request_id = b""

    # -- Start ----------------------------------------------------------------------------------------

    def start(self, service: Service, fields: list[bytes]) -> None:
        """Check what the service asks, arm the deadline, then dispatch or hold."""
        self.service = service
        self._fields = fields
        service.in_flight += 1
        request = self.request
        if not service.enabled:
            self.refuse(HUB_PROBLEMS["switched_off"])
            return
        if service.max_body is not None and max(request.length or 0, len(request.body)) > service.max_body:
            self.refuse(HUB_PROBLEMS["content_too_large"])
            return
        if request.upgrade is not None and request.upgrade.lower() in service.upgrades:
            self._upgrade = request.upgrade
            self._body_done = False  # what follows a 101 is the request's half of the pipe
        self._deadline_at = request.received + service.deadline
        self._deadline = self._hub.wheel.after(service.deadline, self._on_deadline)
        link = service.choose()
        if link is not None:
            self.dispatch(link)
        elif service.up:
            self.refuse(HUB_PROBLEMS["hub_overloaded"])
        else:
            self._hold(service)

    def refuse(self, kind: Problem, detail: str = "") -> None:
        """Answer by the hub itself, or abort the caller's connection if an answer has begun."""
        if self._done:
            return
        if self._head_sent:
            self.reply.abort()
        else:
            fields, body = answer(
                kind, hub_id=self._hub.id, request_id=self.request_id.decode("ascii"), detail=detail
            )
            self._head_sent = True
            if not self._body_done:
                self.reply.close_after()
            self.reply.head(kind.status, b"", fields, len(body), body, end=True)
            self.status = kind.status
        self._finish(kind.origin, kind.code, kind.delivered)

    def _hold(self, service: Service) -> None:
        """Wait for a session within the grace and the deadline, in order, bounded in number."""
        if len(service.waiting) >= service.hold_limit:
            self.refuse(HUB_PROBLEMS["hold_full"])
            return
        if service.hold <= 0:
            self.refuse(HUB_PROBLEMS["no_session"])
            return
        service.holds += 1
        service.waiting.append(self)
        self._early = []
        if not self._body_done:
            self._pause_body()
        self._patience = self._hub.wheel.after(service.hold, self._on_hold_over)

    def _on_hold_over(self) -> None:
        self._leave_waiting()
        self.refuse(HUB_PROBLEMS["no_session"])

    def _leave_waiting(self) -> None:
        if self._early is not None and self._stream is None and self.service is not None:
            self._early = None
            self.service.waiting.remove(self)

    def dispatch(self, link: Link) -> None:
        """Open the stream on `link` and send what has arrived."""
        request = self.request
        loop_time = link.loop.time()
        remaining = max(int((self._deadline_at - loop_time) * 1000), 1)
        early, self._early = self._early, None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        service = self.service
        assert service is not None
        self.link = link
        upgrading = self._upgrade is not None
        trailers = self._early_trailers or request.trailers
        end = request.complete and not upgrading and not trailers
        self._stream = stream = link.session.open(
            self,
            loop_time,
            service=service.name,
            request_id=self.request_id,
            method=request.method,
            authority=request.authority,
            target=request.target,
            fields=self._fields,
            length=request.length,
            chunked=request.chunked,
            expect=request.expect_continue,
            upgrade=self._upgrade,
            deadline_ms=remaining,
            body=request.body,
            end=end,
        )
        for data in early or ():
            link.session.send(stream, data)
        if self._body_done and not end and not upgrading:
            link.session.end(stream, trailers)
        if self._body_paused and not self._body_done:
            self._resume_body()
        if request.expect_continue and not request.complete:
            self._patience = self._hub.wheel.after(EXPECT_PATIENCE, self._on_patience_over)
        link.wake()

    def _on_patience_over(self) -> None:
        self._patience = None
        if not self._head_sent and not self._done:
            self.reply.interim(100, [])

    # -- From the caller ------------------------------------------------------------------------------

    def on_body(self, data: bytes) -> None:
        """Body bytes, or pipe bytes after a 101."""
        if self._done:
            return
        self.bytes_in += len(data)
        limit = self.service.max_body if self.service is not None else None
        if limit is not None and self._upgrade is None and self.bytes_in > limit:
            delivered = Delivered.NO if self._stream is None else Delivered.UNKNOWN
            self._leave_waiting()
            self._abandon(StreamCode.CANCELLED)
            self.refuse(HUB_PROBLEMS["content_too_large"]._replace(delivered=delivered))
            return
        if self._stream is None or self.link is None:
            if self._early is not None:
                self._early.append(data)
            return
        if not self.link.session.send(self._stream, data):
            self._pause_body()
        self.link.wake()

    def on_body_end(self, trailers: list[bytes]) -> None:
        """The request is complete; after a 101, the caller half-closed."""
        self._body_done = True
        if self._done:
            return
        if self._stream is None or self.link is None:
            self._early_trailers = trailers
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
        self._leave_waiting()
        delivered = Delivered.NO if self._stream is None else Delivered.UNKNOWN
        self._abandon(StreamCode.CANCELLED)
        if self.status == 101:
            self._finish("-", "", Delivered.YES)
            return
        self.status = CALLER_GONE
        self._finish("caller", "caller_gone", delivered)

    # -- From the session -----------------------------------------------------------------------------

    def on_answered(self, event: Answered) -> None:
        if self._done:
            return
        self._head_sent = True
        status = self.status = event.status
        self._cancel_timers()
        hub = self._hub
        body = event.body
        if status != 101 and self._upgrade is not None:
            self._upgrade = None
            self._body_done = True
            self._end_request_half()
        size = len(body)
        flowing = self.reply.head(
            status, event.reason, hub.forwarder.answer(event.fields), event.length, body, event.end
        )
        if event.end:
            self._finish("-", "", Delivered.YES)
        elif size:
            self._took(size, flowing)

    def on_interim(self, event: InterimAnswered) -> None:
        if not self._done and not self._head_sent:
            if event.status == 100 and self._patience is not None:
                self._patience.cancel()
                self._patience = None
            self.reply.interim(event.status, event.fields)

    def on_data(self, event: DataReceived) -> None:
        if self._done:
            return
        body = event.body
        if body:
            self._took(len(body), self.reply.body(body))
        if event.end and not self._done:
            self._end_answer([])

    def on_trailers(self, event: TrailersReceived) -> None:
        if not self._done:
            self._end_answer(event.fields)

    def on_reset(self, event: StreamReset) -> None:
        """The agent ended the stream: pass the failure on, truthfully."""
        if self._done:
            return
        try:
            kind = STREAM_PROBLEMS[StreamCode(event.code)]
        except ValueError:
            kind = STREAM_PROBLEMS[StreamCode.INTERNAL]
        self.refuse(kind, event.detail)

    def on_writable(self, _event: StreamWritable) -> None:
        if self._body_paused:
            self._resume_body()

    def on_session_lost(self) -> None:
        """The session died with this stream on it."""
        self.refuse(STREAM_PROBLEMS[StreamCode.SESSION_LOST])

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
        loop_time = self._hub.loop.time()
        if not self._body_done and not self._body_paused and self._stream is not None and self.service is not None:
            # A long upload is bounded by its own idle limits; the answer's time starts when it has arrived.
            self._deadline = self._hub.wheel.after(self.service.deadline, self._on_deadline)
            self._deadline_at = loop_time + self.service.deadline
            return
        held = self._stream is None
        self._leave_waiting()
        self._abandon(StreamCode.DEADLINE)
        self.refuse(HUB_PROBLEMS["deadline_while_held"] if held else STREAM_PROBLEMS[StreamCode.DEADLINE])

    def _abandon(self, code: StreamCode) -> None:
        """Cancel the stream, if there is one."""
        if self._stream is not None and self.link is not None:
            self.link.session.reset(self._stream, code, self.link.loop.time())
            self.link.wake()

    def _pause_body(self) -> None:
        if not self._body_paused:
            self._body_paused = True
            self.reply.pause_body()

    def _resume_body(self) -> None:
        self._body_paused = False
        self.reply.resume_body()

    def _cancel_timers(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _finish(self, origin: str, code: str, delivered: str) -> None:
        """The answer is complete, refused or given up: stop timers, count, log."""
        if self._done:
            return
        self._done = True
        self._cancel_timers()
        if not self._body_done:
            self._abandon(StreamCode.NO_ERROR)  # nobody reads the rest of the request any more
        stream = self._stream
        if stream is not None and stream.closed:
            if stream.receive_window is not None:
                stream.receive_window.release()  # nobody reports what the caller's transport still holds
            stream.owner = self._stream = None  # no cycle is left for the garbage collector
        self._hub.record(self, origin, code, delivered)
