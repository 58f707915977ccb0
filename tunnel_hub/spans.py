"""What the hub says of a recorded exchange in its trace: one span for it and one for each attempt at an agent.

The agent's span is the child of the attempt's, so that a repeated request shows as such. Attributes follow
OpenTelemetry's conventions for HTTP; queries, fields, addresses and bodies are never among them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from protocol.http.trace import TraceParent, render, without_parent
from protocol.ops.tracing import Span as TraceSpan
from protocol.ops.tracing import Tracer, Value
from protocol.phases import NAMES

if TYPE_CHECKING:
    from .exchange import Exchange


class Attempt:
    """One sending of the request to an agent. ended 0.0: it runs, or it is the one that was answered."""

    __slots__ = ("agent", "began", "code", "ended", "id")

    def __init__(self, span_id: int, agent: str, began: float) -> None:
        self.id = span_id
        self.agent = agent
        self.began = began
        self.ended = 0.0
        self.code = ""


class Span:
    """A recorded exchange while it runs."""

    __slots__ = ("_tracer", "attempts", "id", "parent_id", "trace_id")

    def __init__(self, tracer: Tracer, trace_id: int, parent_id: int) -> None:
        self._tracer = tracer
        self.id = tracer.new_span()
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.attempts: list[Attempt] = []

    def send(self, fields: list[bytes], agent: str, now: float) -> list[bytes]:
        """The request goes to an agent: its fields with this attempt as the parent of what the agent does."""
        attempt = Attempt(self._tracer.new_span(), agent, now)
        self.attempts.append(attempt)
        return [*fields, b"traceparent", render(b"%032x" % self.trace_id, b"%016x" % attempt.id, True)]

    def failed(self, code: str, now: float) -> None:
        """The attempt came to nothing, and another may follow."""
        attempt = self.attempts[-1]
        attempt.ended, attempt.code = now, code


class Spans:
    """Begins and ends the spans of the hub."""

    __slots__ = ("_tracer",)

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, exchange: Exchange, fields: list[bytes], parent: TraceParent | None) -> list[bytes]:
        """Decide whether the exchange is recorded, before it is sent; returns its fields as they go on.

        The caller's decision holds where it made one. What is not recorded goes on as it came.
        """
        tracer = self._tracer
        if parent is not None:
            if not (parent.sampled and tracer.room()):
                return fields
            exchange.span = Span(tracer, int(parent.trace_id, 16), int(parent.span_id, 16))
            return without_parent(fields)
        trace_id = tracer.new_trace()
        if trace_id:
            exchange.trace_id = b"%032x" % trace_id
            exchange.span = Span(tracer, trace_id, 0)
        return fields

    def ended(self, exchange: Exchange, span: Span, origin: str, code: str, now: float) -> None:
        """The exchange is over; now: time.monotonic()."""
        request = exchange.request
        past = time.time() - now
        method = request.method.decode("ascii", "replace")
        name = "" if exchange.service is None else exchange.service.name
        title = f"{method} {name}".rstrip()
        attributes: dict[str, Value] = {
            "http.request.method": method,
            "http.response.status_code": exchange.status,
            "url.scheme": "http",
            "network.protocol.version": f"1.{request.minor}",
            "tunnel.service": name,
            "tunnel.request_id": exchange.request_id.decode("ascii"),
            "tunnel.origin": origin,
            "http.request.body.size": exchange.bytes_in,
            "http.response.body.size": exchange.reply.bytes_sent,
        }
        if self._tracer.paths:
            attributes["url.path"] = request.target.partition(b"?")[0].decode("ascii", "replace")
        if exchange.admitted is not None:
            attributes["tunnel.caller"] = exchange.admitted.policy.name
        if exchange.phases is not None:
            attributes |= {
                f"tunnel.phase.{phase}_ms": part / 1000 for phase, part in zip(NAMES, exchange.phases, strict=True)
            }
        events = [("sent", past + attempt.began) for attempt in span.attempts]
        if exchange.answered_at:
            events.append(("answered", past + exchange.answered_at))
        error = code or (str(exchange.status) if exchange.status >= 500 else "")
        self._tracer.put(
            TraceSpan(
                title,
                "server",
                span.trace_id,
                span.id,
                span.parent_id,
                past + exchange.arrived_at,
                past + now,
                attributes,
                error,
                events,
            ),
            *(
                TraceSpan(
                    title,
                    "client",
                    span.trace_id,
                    attempt.id,
                    span.id,
                    past + attempt.began,
                    past + (attempt.ended or now),
                    {
                        "http.request.method": method,
                        "tunnel.agent": attempt.agent,
                        "tunnel.service": name,
                        "http.request.resend_count": number,
                    },
                    attempt.code or ("" if attempt.ended else error),
                )
                for number, attempt in enumerate(span.attempts)
            ),
        )
