"""[tracing] of both files, and the tracer: which requests are recorded, and the spans that wait to be sent.

    tracer = make(config.tracing, "tunnel-hub", "hub-1", version)    # None where there is no [tracing]
    tracer.start()
    tracer.put(span)                                               # never blocks; for recorded requests only
    tracer.close()                                                 # bounded; blocks, so not in the event loop

Spans are made when an exchange is over, from readings of the loop's clock that are taken anyway. Nothing of
OpenTelemetry is imported here: `otlp.py`, which does that, is loaded only where [tracing] is set.
"""

from __future__ import annotations

import importlib.util
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from prometheus_client.core import Metric

from protocol.ops import log
from protocol.ops.files import File, parse_file
from protocol.ops.metrics import Values, counter
from protocol.ops.model import Table, as_key, doc
from protocol.ops.tls import file_problem
from protocol.ops.urls import WebUrl
from protocol.ops.values import Context, Kind, Timeout, is_token, quoted, toml_string
from protocol.rates import TokenBucket

MISSING: Final = 'needs OpenTelemetry, which is not installed here: pip install "http-tunnel[otel]"'

GATHER: Final = 1.0
"""Seconds a span waits for company."""

BATCH: Final = 512
"""Spans sent at once."""

STOP_PATIENCE: Final = 3.0
"""Seconds for what is queued when the process ends."""

COMPLAIN_EVERY: Final = 60.0
"""Seconds between two log lines about spans that could not be sent."""

HEADERS_FILE_MAX: Final = 16 * 1024

_is_attribute = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]{0,63}").fullmatch

_log = log.get("tracing")


def parse_ratio(value: object, _context: Context | None = None) -> float:
    """A share from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{quoted(value)} is not a number from 0 to 1, such as 0.01")
    return float(value)


def read_headers(path: Path) -> dict[str, str]:
    """The fields in a file of lines `Name: value`. Raises ValueError, which never has a value in it."""
    try:
        with path.open("rb") as file:
            text = file.read(HEADERS_FILE_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(text) > HEADERS_FILE_MAX:
        raise ValueError(f"{path} is larger than {HEADERS_FILE_MAX} bytes")
    headers: dict[str, str] = {}
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not (colon and is_token(name) and value.strip() and value.isascii() and value.isprintable()):
            raise ValueError(f'{path} has in line {number} something else than "Name: value"')
        headers[name] = value.strip()
    if not headers:
        raise ValueError(f"{path} is empty")
    return headers


def parse_headers_file(value: object, context: Context) -> Path:
    """A file of header fields; its content is checked, not kept."""
    path = parse_file(value, context)
    if context.check_files:
        read_headers(path)
    return path


Ratio = Annotated[float, Kind("number from 0 to 1", parse_ratio, repr)]
HeadersFile = Annotated[Path, Kind("file or credential", parse_headers_file, toml_string)]


def installed() -> bool:
    """Whether the extra is there; finding out loads nothing of it but its empty parents."""
    try:
        return all(
            importlib.util.find_spec(name) is not None
            for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
        )
    except (ImportError, ValueError):
        return False


class Tracing(Table, frozen=True, kw_only=True):
    """[tracing]"""

    endpoint: Annotated[
        WebUrl,
        doc(
            "Where spans go: the URL for traces of a collector that takes OTLP over HTTP; asked directly, not "
            "through a proxy",
            example='"http://127.0.0.1:4318/v1/traces"',
        ),
    ]
    headers_file: Annotated[
        HeadersFile | None, doc("A file with header fields for it, one `Name: value` a line, such as a credential")
    ] = None
    ca_file: Annotated[File | None, doc("PEM CAs to trust for it instead of the system's")] = None
    sample_ratio: Annotated[
        Ratio,
        doc(
            "Share of the requests that are recorded, of those that come without a `traceparent`; the others are "
            "recorded if their caller's is. At the agent the hub decides"
        ),
    ] = 0.01
    per_second: Annotated[
        int,
        doc(
            "Requests recorded per second at most, whoever decided so, with bursts of twice that; those beyond "
            "pass without spans of ours",
            ge=1,
            le=10_000,
        ),
    ] = 5
    paths: Annotated[
        bool, doc("Whether spans have the path (`url.path`); paths may carry personal data, and never the query")
    ] = False
    attributes: Annotated[
        dict[str, str],
        doc("Further attributes of the resource", example='{ "deployment.environment.name" = "production" }'),
    ] = msgspec.field(default_factory=dict)
    timeout: Annotated[Timeout, doc("For sending one batch, repetitions included; then it is lost")] = 10.0
    queue: Annotated[int, doc("Spans that may wait; beyond it they are lost", ge=16, le=100_000)] = 2048

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        if not installed():
            yield "", MISSING
        for name in self.attributes:
            if not _is_attribute(name):
                yield f"attributes.{as_key(name)}", 'is no attribute\'s name; write it as in "service.namespace"'
        if context.check_files and (problem := file_problem(ca_file=self.ca_file)):
            yield "ca_file", problem


Value = str | int | float | bool


class Span(NamedTuple):
    """A piece of a trace. Ids are integers; times seconds of time.time()."""

    name: str
    kind: Literal["server", "client"]
    trace_id: int
    span_id: int
    parent_id: int
    """0: it is the trace's first."""
    began: float
    ended: float
    attributes: Mapping[str, Value]
    error: str = ""
    """A short code; "" where all went well."""
    events: Sequence[tuple[str, float]] = ()


Export = Callable[[list[Span]], bool]
"""Send a batch; False: it could not be sent. May block for the configured timeout."""


class Tracer:
    """Decides what is recorded, and sends it from a thread of its own."""

    def __init__(
        self,
        export: Export,
        ratio: float,
        *,
        per_second: int = 5,
        queue_max: int = 2048,
        paths: bool = False,
        seed: int | None = None,
    ) -> None:
        """seed: for tests; else ids are random."""
        self.paths = paths
        self.skipped = 0
        """Requests that were to be recorded and came too fast."""
        self.sent = 0
        """Spans that the collector has taken."""
        self.failed = 0
        """Spans lost because it could not be reached or refused them."""
        self.dropped = 0
        """Spans lost because too many waited."""
        self._export = export
        self._ratio = ratio
        self._rate = TokenBucket(per_second, time.monotonic())
        self._random = random.Random(seed)  # noqa: S311  # ids need be unique, not secret
        self._bits = self._random.getrandbits
        self._queue: deque[Span] = deque()
        self._queue_max = queue_max
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._complained = 0.0

    # -- Deciding -------------------------------------------------------------------------------------

    def new_trace(self) -> int:
        """The id of a trace that begins here; 0 if it is not recorded, as for most."""
        if self._random.random() >= self._ratio or not self.room():
            return 0
        return self._bits(128) or 1

    def room(self) -> bool:
        """Whether one more request may be recorded now: ask once for each that a caller or hub wants recorded."""
        if self._rate.allow(time.monotonic()):
            return True
        self.skipped += 1
        return False

    def new_span(self) -> int:
        """The id of a span."""
        return self._bits(64) or 1

    # -- Sending --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread that sends."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)
            self._thread.start()

    def put(self, *spans: Span) -> None:
        """Queue spans. Never blocks and never raises."""
        for span in spans:
            if len(self._queue) >= self._queue_max:
                self.dropped += 1
                continue
            self._queue.append(span)
        self._wake.set()

    def close(self, patience: float = STOP_PATIENCE) -> None:
        """Send what is queued, or give it up `patience` seconds from now."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(patience)
            self._thread = None

    def families(self) -> Iterable[Metric]:
        """For the metrics of either program."""
        outcomes: Values = {("sent",): self.sent, ("failed",): self.failed, ("dropped",): self.dropped}
        yield counter("tunnel_trace_spans", "Spans by what became of them", ("outcome",), outcomes)
        yield counter(
            "tunnel_trace_requests_skipped",
            "Requests not recorded because of tracing.per_second",
            (),
            {(): self.skipped},
        )

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(GATHER)
            self._wake.clear()
            while self._queue:
                self._send([self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))])

    def _send(self, batch: list[Span]) -> None:
        try:
            taken, reason = self._export(batch), "not taken"
        except Exception as error:
            taken, reason = False, type(error).__name__
        if taken:
            self.sent += len(batch)
            return
        self.failed += len(batch)
        now = time.monotonic()
        if not self._complained or now - self._complained >= COMPLAIN_EVERY:
            self._complained = now
            _log.warning("spans could not be sent", spans=self.failed, reason=reason)


def make(table: Tracing | None, program: str, instance: str, version: str) -> Tracer | None:
    """The tracer that [tracing] asks for; None without it. Raises ValueError for a file that cannot be read."""
    if table is None:
        return None
    from protocol.ops.otlp import make_export  # noqa: PLC0415  # heavy, and only where it is asked for

    export = make_export(table, program, instance, version)
    return Tracer(
        export, table.sample_ratio, per_second=table.per_second, queue_max=table.queue, paths=table.paths
    )
