"""What the agent says of a recorded exchange in its trace: a span for it and one for the request to the upstream.

Whether an exchange is recorded the hub has decided. Attributes follow OpenTelemetry's conventions for HTTP;
queries, fields and bodies are never among them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from protocol.http.trace import TraceParent, render, without_parent
from protocol.ops.tracing import Span as TraceSpan
from protocol.ops.tracing import Tracer, Value
from protocol.phases import NAMES

if TYPE_CHECKING:
    from protocol.errors import StreamCode
    from protocol.phases import Own

    from .egress.call import Call
    from .exchange import Exchange


class Span:
    """A recorded exchange while it runs. client_id: the span that the upstream is told as its parent."""

    __slots__ = ("client_id", "id", "parent_id", "trace_id")

    def __init__(self, tracer: Tracer, parent: TraceParent) -> None:
        self.trace_id = int(parent.trace_id, 16)
        self.parent_id = int(parent.span_id, 16)
        self.id = tracer.new_span()
        self.client_id = tracer.new_span()


class Spans:
    """Begins and ends the spans of the agent."""

    __slots__ = ("_tracer",)

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, parent: TraceParent, fields: list[bytes]) -> tuple[Span | None, list[bytes]]:
        """The span of an exchange that is to be recorded, and the fields for the upstream."""
        if not self._tracer.room():
            return None, fields
        span = Span(self._tracer, parent)
        value = render(parent.trace_id, b"%016x" % span.client_id, True)
        return span, [*without_parent(fields), b"traceparent", value]

    def ended(
        self,
        exchange: Exchange,
        call: Call | None,
        code: StreamCode | None,
        phases: Own,
        now: float,
    ) -> None:
        """The exchange is over; now: time.monotonic()."""
        span, event = exchange.span, exchange.opened
        assert span is not None
        past = time.time() - now
        method = event.method.decode("ascii", "replace")
        title = f"{method} {exchange.service.name}"
        attributes: dict[str, Value] = {"http.request.method": method, "tunnel.service": exchange.service.name}
        if exchange.status:
            attributes["http.response.status_code"] = exchange.status
        if self._tracer.paths:
            attributes["url.path"] = event.target.partition(b"?")[0].decode("ascii", "replace")
        error = "" if code is None else code.name.lower()
        server = TraceSpan(
            title,
            "server",
            span.trace_id,
            span.id,
            span.parent_id,
            past + exchange.opened_at,
            past + now,
            attributes
            | {
                "tunnel.request_id": event.request_id.decode("ascii", "replace"),
                "tunnel.hub": exchange.link.label,
                "http.request.body.size": exchange.bytes_in,
                "http.response.body.size": exchange.bytes_out,
            }
            | {f"tunnel.phase.{phase}_ms": part / 1000 for phase, part in zip(NAMES[2:], phases, strict=True)},
            error or (str(exchange.status) if exchange.status >= 500 else ""),
        )
        if call is None or not call.begun_at:
            self._tracer.put(server)
            return
        events = [("request sent", past + call.sent_at)]
        if call.head_at:
            events.append(("answer begun", past + call.head_at))
        self._tracer.put(
            server,
            TraceSpan(
                title,
                "client",
                span.trace_id,
                span.client_id,
                span.id,
                past + call.begun_at,
                past + now,
                attributes | ({"http.request.resend_count": 1} if call.again else {}),
                error or (str(exchange.status) if exchange.status >= 400 else ""),
                events,
            ),
        )
