"""Spans to a collector: OpenTelemetry's encoding and its exporter. Import it only where [tracing] is set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from protocol.ops.tracing import Export, Span, Tracing, read_headers

_KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_UNSET: Final = Status(StatusCode.UNSET)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)

ANSWER_MAX: Final = 64 * 1024
"""Bytes of an answer that are read, for the connection's next use. Nobody looks at them."""


class _Session(requests.Session):
    """Reads no answer without end into memory, and takes no redirect for success, as the exporter would."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        answer = super().request(*args, **{**options, "stream": True})
        if len(answer.raw.read(ANSWER_MAX, decode_content=False)) == ANSWER_MAX:
            answer.close()
        if 300 <= answer.status_code < 400:
            raise requests.RequestException("redirected")
        return answer


def make_export(table: Tracing, program: str, instance: str, version: str) -> Export:
    """The function that sends a batch to `table.endpoint`. Raises ValueError for a file that cannot be read."""
    # The exporter logs each attempt, with the URL; the tracer counts, and says so seldom.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    session = _Session()
    session.trust_env = False  # no proxy, and no credentials out of ~/.netrc
    exporter = OTLPSpanExporter(
        endpoint=str(table.endpoint),
        certificate_file=None if table.ca_file is None else str(table.ca_file),
        headers={} if table.headers_file is None else read_headers(table.headers_file),
        timeout=table.timeout,
        compression=Compression.Gzip,
        session=session,
    )
    resource = Resource(
        {
            **table.attributes,
            "service.name": program,
            "service.instance.id": instance,
            "service.version": version,
        }
    )
    scope = InstrumentationScope("http-tunnel", version)

    def export(spans: list[Span]) -> bool:
        return exporter.export([readable(span, resource, scope) for span in spans]) is SpanExportResult.SUCCESS

    return export


def readable(span: Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    """A span as OpenTelemetry's exporters take it."""
    attributes: Mapping[str, str | int | float | bool] = span.attributes
    if span.error:
        attributes = {**attributes, "error.type": span.error}
    return ReadableSpan(
        span.name,
        context=_context(span.trace_id, span.span_id, remote=False),
        parent=_context(span.trace_id, span.parent_id, remote=True) if span.parent_id else None,
        resource=resource,
        attributes=attributes,
        events=[Event(name, timestamp=_nanoseconds(when)) for name, when in span.events],
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR) if span.error else _UNSET,
        start_time=_nanoseconds(span.began),
        end_time=_nanoseconds(span.ended),
        instrumentation_scope=scope,
    )


def _context(trace_id: int, span_id: int, *, remote: bool) -> SpanContext:
    return SpanContext(trace_id, span_id, remote, _SAMPLED)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
