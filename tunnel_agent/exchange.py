"""One stream at the agent: boundary, upstream request, answer. No task, callbacks only.

The boundary's decision depends on nothing but this agent's own file: whatever the hub sends is checked here
again, field by field and byte by byte, before a connection to an upstream is even chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from protocol.errors import StreamCode
from protocol.http import trace
from protocol.http.names import CONNECTION_LEVEL, KINDS, Kind
from protocol.http.target import BadTarget, check_target
from protocol.phases import FIELD, encode

from .egress.call import Call, UpstreamRequest

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.events import DataReceived, Opened, StreamReset, StreamWritable, TrailersReceived
    from protocol.http.trace import TraceParent
    from protocol.phases import Own

    from .records import Records
    from .service import Service
    from .spans import Span

_REFUSED_FIELDS: Final = CONNECTION_LEVEL | Kind.OVERRIDE
READING: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""The methods that a read-only service lets in."""

SWITCHED_OFF: Final = "the service is switched off at the agent"

_LEAVES: Final = frozenset({StreamCode.NO_ERROR, StreamCode.CANCELLED})
"""How an upgraded connection ends well: its caller goes."""

REASON_MAX: Final = 256
"""Longest reason phrase that travels (SPEC.md, "Limits"); the rest of it is cut."""


OnFailed = Callable[["Exchange", UpstreamRequest, StreamCode, str], None]
"""Told of each request that passed the boundary and failed, with the reason."""


class Refusal(Exception):
    """The request does not get past the boundary. `code` travels in RESET, `detail` to the caller.

    by_query: only the keys of its query stood in the way.
    """

    def __init__(self, code: StreamCode, detail: str, *, by_query: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.by_query = by_query


def admit(service: Service | None, event: Opened) -> UpstreamRequest:
    """The upstream request for an OPEN that the boundary allows.

    Raises:
        Refusal: nothing of it may reach the upstream.
    """
    if service is None:
        raise Refusal(StreamCode.UNKNOWN_SERVICE, "this agent does not offer the service")
    if not service.enabled:
        raise Refusal(StreamCode.NOT_DISPATCHED, SWITCHED_OFF)
    if service.read_only and (event.method not in READING or event.upgrade is not None):
        raise Refusal(StreamCode.BOUNDARY_REFUSED, "the service is read-only at the agent")
    if not service.boundary.allows(event.method, event.target):
        try:
            check_target(event.target, service.path_exceptions)
        except BadTarget as error:
            raise Refusal(StreamCode.INVALID_REQUEST, str(error)) from None
        if service.boundary.decide(event.method, event.target).by_query:
            detail = "the agent's rules for this path do not allow these query keys"
            raise Refusal(StreamCode.BOUNDARY_REFUSED, detail, by_query=True)
        raise Refusal(StreamCode.BOUNDARY_REFUSED, "no rule of the agent allows this method and path")
    mask = 0
    fields = event.fields
    for name in fields[::2]:
        mask |= KINDS[name]
    if mask & _REFUSED_FIELDS:
        what = "overrides the method or path" if mask & Kind.OVERRIDE else "belongs to one connection only"
        raise Refusal(StreamCode.INVALID_REQUEST, f"a field {what}")
    if event.upgrade is not None and event.upgrade.lower() not in service.upgrades:
        raise Refusal(StreamCode.UPGRADE_REFUSED, "the agent does not allow this upgrade")
    return UpstreamRequest(
        method=event.method,
        target=event.target,
        host=service.host or event.authority,
        fields=service.own_fields(fields),
        length=event.length,
        chunked=event.chunked,
        upgrade=event.upgrade,
        expect_continue=event.expect,
        body=event.body,
        complete=event.end,
        trailers=[],
        trace=trace.read(fields) if mask & Kind.TRACE else None,
    )


class Exchange:
    """Receiver of one upstream call (egress) and owner of one stream (session)."""

    __slots__ = (
        "_call",
        "_on_failed",
        "_over",
        "_paused",
        "_records",
        "_stream",
        "_unconsumed",
        "_unwanted",
        "_upgraded",
        "by_hub",
        "bytes_in",
        "bytes_out",
        "link",
        "opened",
        "opened_at",
        "phases",
        "service",
        "span",
        "status",
        "trace",
    )

    def __init__(self, link: Link, event: Opened, service: Service, records: Records, on_failed: OnFailed) -> None:
        self.link = link
        self.opened = event
        self.opened_at = monotonic()
        self.status = 0
        """The upstream's; 0: none yet."""
        self.bytes_in = len(event.body)
        self.bytes_out = 0
        self.by_hub = False
        """The hub ended it: its caller is gone, or the deadline passed."""
        self.phases: Own | None = None
        """The agent's own, once the answer has begun."""
        self.trace: TraceParent | None = None
        self.span: Span | None = None
        """Where this exchange is recorded as part of a trace."""
        self._records = records
        self._over = False  # and recorded
        self._on_failed = on_failed
        self._stream = event.stream
        self._call: Call | None = None
        self._paused = False
        self._unwanted = False
        self._unconsumed = 0
        self.service = service
        self._upgraded = False

    def start(self, request: UpstreamRequest, deadline_ms: int | None) -> None:
        """Hand the request to the upstream's pool; the deadline is what remains of the caller's."""
        self._stream.owner = self
        self.trace = request.trace
        if request.trace is not None and request.trace.sampled and self._records.spans is not None:
            self.span, request.fields = self._records.spans.begin(request.trace, request.fields)
        self.service.requests += 1
        if not request.complete:
            self._unconsumed = len(request.body)
        deadline = None if deadline_ms is None else deadline_ms / 1000
        self._call = self.service.upstream.start(request, self, deadline)

    # -- From the session -----------------------------------------------------------------------------

    def on_data(self, event: DataReceived) -> None:
        call = self._call
        if call is None or self._unwanted:
            return
        body = event.body
        if body:
            size = len(body)
            self.bytes_in += size
            self._unconsumed += size
            if call.body(body):
                self.on_upstream_writable()
        if event.end:
            call.body_end([])

    def on_trailers(self, event: TrailersReceived) -> None:
        if self._call is not None and not self._unwanted:
            self._call.body_end(self.service.without_own(event.fields))

    def on_reset(self, event: StreamReset) -> None:
        """The caller is gone or its deadline passed: the upstream request ends now."""
        try:
            code = StreamCode(event.code)
        except ValueError:
            code = StreamCode.INTERNAL
        self.by_hub = True
        self.cancel(None if self._upgraded and code in _LEAVES else code)

    def on_writable(self, _event: StreamWritable) -> None:
        if self._paused and self._call is not None:
            self._paused = False
            self._call.resume()

    def cancel(self, code: StreamCode | None = StreamCode.SESSION_LOST) -> None:
        """Cancel the upstream request and close its connection. code: why, for the records; None: it is over."""
        call, self._call = self._call, None
        if call is not None:
            self._ended(call, code)
            call.cancel()

    def cut(self, code: StreamCode, detail: str) -> None:
        """End the exchange from this side, for the caller to see."""
        self.cancel(code)
        self.link.session.reset(self._stream, code, self.link.loop.time(), detail)
        self._stream.owner = None
        self.link.wake()

    @property
    def dispatched(self) -> bool:
        """Whether a byte of it may have reached the upstream."""
        return self._stream.dispatched

    # -- From the upstream ----------------------------------------------------------------------------

    def on_dispatch(self) -> None:
        self._stream.dispatched = True

    def on_interim(self, status: int, fields: list[bytes]) -> None:
        self.link.session.interim(self._stream, status, fields)
        self.link.wake()

    def on_answer(
        self,
        status: int,
        reason: bytes,
        fields: list[bytes],
        length: int | None,
        body: bytes,
        end: bool,
        trailers: list[bytes],
    ) -> None:
        watch = self.service.watch
        if watch.strikes or watch.down:
            watch.worked()
        self.service.answers[status // 100] += 1
        self._upgraded = status == 101
        self.status = status
        self.bytes_out = len(body)
        call = self._call
        if call is not None:
            phases = self.phases = call.phases(call.head_at)
            fields += (FIELD, encode(phases))
        session = self.link.session
        whole = end and not trailers
        flowing = session.answer(self._stream, status, reason[:REASON_MAX], fields, length, body, whole)
        if end:
            if not whole:
                session.end(self._stream, trailers)
            self._call = None
            self._ended(call, None)
            if self._stream.closed:
                self._stream.owner = None  # no cycle is left for the garbage collector
        elif not flowing:
            self._pause()
        self.link.wake()

    def on_answer_body(self, data: bytes) -> None:
        self.bytes_out += len(data)
        if not self.link.session.send(self._stream, data):
            self._pause()
        self.link.wake()

    def on_answer_end(self, trailers: list[bytes]) -> None:
        self.link.session.end(self._stream, trailers)
        self._ended(self._call, None)
        if not self._upgraded:
            self._call = None
        self.link.wake()

    def on_failure(self, code: StreamCode, detail: str) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._on_failed(self, call.request, code, detail)
        self._ended(call, code)
        self.service.failures[code] += 1
        self.service.watch.failed(code, detail)
        self.link.session.reset(self._stream, code, self.link.loop.time(), detail)
        self._stream.owner = None
        self.link.wake()

    def on_upstream_writable(self) -> None:
        size, self._unconsumed = self._unconsumed, 0
        if size:
            self.link.session.consumed(self._stream, size, self.link.loop.time())
            self.link.wake()

    def on_request_body_unwanted(self) -> None:
        """The answer is complete; the hub resets the stream when it has it, the rest of the body is dropped."""
        self._unwanted = True

    def _ended(self, call: Call | None, code: StreamCode | None) -> None:
        if self._over:
            return
        self._over = True
        records = self._records
        if self.span is None and code is None and self.status < 500 and records.failures_only:
            return  # nobody wants to know, which is the ordinary case
        records.ended(self, call, code, monotonic())

    def _pause(self) -> None:
        if not self._paused and self._call is not None:
            self._paused = True
            self._call.pause()
