"""A collector for OTLP over HTTP: takes what programs export and has their spans decoded."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.waiting import wait_until


class Received:
    """One span, with the resource that it is of."""

    def __init__(self, span: trace_pb2.Span, resource: dict[str, Any]) -> None:
        self.program = resource["service.name"]
        self.resource = resource
        self.name = span.name
        self.kind = trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
        self.trace_id = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.began = span.start_time_unix_nano
        self.ended = span.end_time_unix_nano
        self.attributes = _values(span.attributes)
        self.events = {event.name: event.time_unix_nano for event in span.events}
        self.failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR


class Collector:
    """Listens from the start on. status: what it answers. Call `close` at the end."""

    def __init__(self, status: int = 200) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fields = {name.lower(): value for name, value in self.headers.items()}
                collector.take(fields, self.path, body)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.status = status
        self.posts: list[tuple[dict[str, str], str]] = []
        """Fields, their names in lower case, and path of each request."""
        self.raw = b""
        """Everything that came, as it was before compression."""
        self._spans: list[Received] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def take(self, fields: dict[str, str], path: str, body: bytes) -> None:
        if fields.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.posts.append((fields, path))
            self.raw += body
            if self.status < 300:
                self._spans += _spans(request)

    def spans(self, trace_id: str | None = None) -> list[Received]:
        with self._lock:
            return [span for span in self._spans if trace_id in (None, span.trace_id)]

    def wait(self, number: int, trace_id: str | None = None) -> list[Received]:
        """The spans of a trace, or of all, once there are so many."""
        wait_until(lambda: len(self.spans(trace_id)) >= number, f"{number} spans at the collector")
        return self.spans(trace_id)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _spans(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource_spans in request.resource_spans:
        resource = _values(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            yield from (Received(span, resource) for span in scope_spans.spans)


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
