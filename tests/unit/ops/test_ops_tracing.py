"""[tracing], what is recorded, and a collector that is slow, gone or refuses."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from protocol.ops import tracing
from protocol.ops.config import ConfigError, load
from protocol.ops.model import Table
from protocol.ops.otlp import make_export
from protocol.ops.tracing import Span, Tracer, Tracing, installed, make, read_headers
from protocol.ops.urls import parse_web
from protocol.ops.values import Context
from tests.support.logs import Logged, kept
from tests.support.otlp import Collector
from tests.support.waiting import Gate, wait_until

SPAN = Span("GET visits", "server", 1, 2, 0, 10.0, 11.0, {})


class Whole(Table, frozen=True, kw_only=True):
    """A file with nothing but [tracing]."""

    tracing: Tracing


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "file.toml"
    file.write_text("[tracing]\n" + text)
    try:
        load(file, Whole)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_defaults(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_text('[tracing]\nendpoint = "http://127.0.0.1:4318/v1/traces"\n')
    table = load(file, Whole).tracing
    assert table.sample_ratio == 0.01
    assert table.paths is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "endpoint"),
        ('endpoint = "127.0.0.1:4318"', "is not a URL"),
        ('endpoint = "http://a/v1"\nsample_ratio = 1.5', "number from 0 to 1"),
        ('endpoint = "http://a/v1"\nsample_ratio = true', "number from 0 to 1"),
        ('endpoint = "http://a/v1"\nsample_ratio = "1"', "number from 0 to 1"),
        ('endpoint = "http://a/v1"\nattributes = { "a b" = "c" }', "is no attribute's name"),
        ('endpoint = "http://a/v1"\nheaders_file = "nothing"', "nothing"),
        ('endpoint = "http://a/v1"\nqueue = 1', "queue"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert said in problem


def test_headers(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer s3cr3t:x\n\nX-Scope-OrgID:  7 \n")
    assert read_headers(file) == {"Authorization": "Bearer s3cr3t:x", "X-Scope-OrgID": "7"}


@pytest.mark.parametrize(
    "text", ["", "\n", "s3cr3t", "s3cr3t s: x", "A:", "A: s3cr3t\x07", "A: s3cr3t é", "A: " + "s3cr3t" * 9000]
)
def test_a_headers_file_with_mistakes_is_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "headers"
    file.write_text(text)
    with pytest.raises(ValueError, match="headers") as caught:
        read_headers(file)
    assert "s3cr3t" not in str(caught.value)


def test_without_the_extra_the_file_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed()
    monkeypatch.delitem(sys.modules, "opentelemetry.sdk.trace", raising=False)  # of another test
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    assert not installed()
    (problem,) = problems(tmp_path, 'endpoint = "http://a/v1"')
    assert tracing.MISSING in problem
    assert "http-tunnel[otel]" in problem


def test_no_table_no_tracer() -> None:
    assert make(None, "tunnel-hub", "hub-1", "1") is None


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (1.0, 1000, 1000), (0.1, 50, 200)])
def test_ratio(ratio: float, low: int, high: int) -> None:
    tracer = Tracer(lambda _: True, ratio, per_second=10_000, seed=1)
    traces = [tracer.new_trace() for _ in range(1000)]
    recorded = [trace_id for trace_id in traces if trace_id]
    assert low <= len(recorded) <= high
    assert len(set(recorded)) == len(recorded)
    assert all(trace_id < 2**128 for trace_id in recorded)
    assert all(0 < tracer.new_span() < 2**64 for _ in range(100))


def test_too_many_at_once_are_not_recorded_and_counted() -> None:
    tracer = Tracer(lambda _: True, 1.0, per_second=1)
    allowed = [tracer.room() for _ in range(3)]
    assert allowed[:2] == [True, True]
    assert not all(tracer.new_trace() for _ in range(1000))
    samples = [sample for family in tracer.families() for sample in family.samples]
    (skipped,) = [each.value for each in samples if each.name == "tunnel_trace_requests_skipped_total"]
    assert skipped == tracer.skipped > 0


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


def test_spans_are_sent_in_batches_and_the_rest_at_the_end() -> None:
    batches: list[list[Span]] = []

    def export(batch: list[Span]) -> bool:
        batches.append(batch)
        return True

    tracer = Tracer(export, 1.0, queue_max=10_000)
    tracer.put(*[SPAN] * (2 * tracing.BATCH + 1))
    tracer.start()
    tracer.close(10.0)
    assert [len(batch) for batch in batches] == [tracing.BATCH, tracing.BATCH, 1]
    assert (tracer.sent, tracer.failed, tracer.dropped) == (2 * tracing.BATCH + 1, 0, 0)
    family = next(iter(tracer.families()))
    assert {sample.labels["outcome"]: sample.value for sample in family.samples}["sent"] == tracer.sent


def test_a_full_queue_costs_spans_and_nothing_else() -> None:
    tracer = Tracer(lambda _: True, 1.0, queue_max=16)
    tracer.put(*[SPAN] * 20)
    assert tracer.dropped == 4


@pytest.mark.parametrize("failure", [False, OSError("http://user:s3cr3t@collector refused")])
def test_a_failing_collector_is_counted_and_named_seldom(logged: Logged, failure: Any) -> None:
    calls = 0

    def export(_batch: list[Span]) -> bool:
        nonlocal calls
        calls += 1
        if isinstance(failure, Exception):
            raise failure
        return bool(failure)

    tracer = Tracer(export, 1.0, queue_max=10_000)
    tracer.put(*[SPAN] * (3 * tracing.BATCH))
    tracer.start()
    tracer.close(10.0)
    assert calls == 3
    assert tracer.failed == 3 * tracing.BATCH
    assert logged.texts == ["spans could not be sent"]
    assert "s3cr3t" not in str(logged.events)


def test_the_end_does_not_wait_for_a_collector_that_hangs() -> None:
    gate, hanging = Gate("the test's end"), threading.Event()

    def export(_batch: list[Span]) -> bool:
        hanging.set()
        gate.wait(30.0)
        return True

    tracer = Tracer(export, 1.0)
    tracer.start()
    tracer.put(SPAN)
    wait_until(hanging.is_set, "the export to hang")
    thread = next(thread for thread in threading.enumerate() if thread.name == "tracing")
    assert thread.daemon  # or the interpreter would wait for it
    began = time.monotonic()
    tracer.close(0.1)
    assert time.monotonic() - began < 20
    assert thread.is_alive()
    gate.open()
    thread.join(10.0)


def test_check_files_false_looks_at_no_file(tmp_path: Path) -> None:
    table = Tracing(endpoint="x", ca_file=tmp_path / "none")  # type: ignore[arg-type]
    assert list(table.check(Context(tmp_path, check_files=False))) == []


def export_to(url: str) -> bool:
    endpoint = parse_web(url)
    return make_export(Tracing(endpoint=endpoint), "tunnel-hub", "hub-1", "1")([SPAN])


@pytest.mark.parametrize(("status", "taken"), [(200, True), (202, True), (301, False), (307, False), (400, False)])
def test_only_who_takes_spans_has_taken_them(status: int, taken: bool) -> None:
    collector = Collector(status)
    try:
        assert export_to(collector.url) is taken
        assert len(collector.posts) == 1
    finally:
        collector.close()


def test_an_answer_without_end_is_not_read() -> None:
    given = []

    class Endless(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            given.append(0)
            with contextlib.suppress(OSError):
                for _ in range(64):
                    given[-1] += self.wfile.write(bytes(1024 * 1024))

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        assert export_to(f"http://127.0.0.1:{server.server_address[1]}/v1/traces")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert given[0] < 32 * 1024 * 1024
