"""The access log: cheap to write, complete on close, and never in the way."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from protocol.ops import access
from protocol.ops.access import AccessLog, AccessRecord
from tests.support.logs import Logged, kept
from tests.support.waiting import wait_until

WHEN = 1792660803.5895


def record(target: bytes = b"/nomisapi/health", *, number: int = 0, **other: Any) -> AccessRecord:
    values: dict[str, Any] = {
        "time": WHEN,
        "request_id": f"id-{number}",
        "method": b"GET",
        "target": target,
        "service": "visits",
        "agent": "leeds-1",
        "status": 200,
        "origin": "-",
        "code": "",
        "delivered": "yes",
        "bytes_in": 0,
        "bytes_out": 123,
        "duration": 0.0045125,
        "peer": "10.0.0.1",
        "host": b"visits.internal",
        "repeats": 0,
        "caller": "booking",
        "phases": None,
        "trace_id": b"",
        "hub": "",
        **other,
    }
    return tuple(values.values())  # type: ignore[return-value]


class Pipe:
    """A log that writes into a pipe which the test reads when it likes."""

    def __init__(self, **options: Any) -> None:
        self.reader, self.writer = os.pipe()
        self.log = AccessLog(fd=self.writer, **options)
        self._rest = b""

    def fill(self) -> None:
        """So that the next write blocks."""
        os.set_blocking(self.writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writer, b"x")
        os.set_blocking(self.writer, True)

    def read(self, count: int) -> list[str]:
        """The next `count` lines; blocks until they are there."""
        while self._rest.count(b"\n") < count:
            self._rest += os.read(self.reader, 65536)
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]

    def close(self) -> None:
        self.log.close()
        for fd in (self.reader, self.writer):
            os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe(form="json")
    pipe.log.start()
    yield pipe
    pipe.close()


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


def test_json_line(pipe: Pipe) -> None:
    pipe.log.write(record(b"/a?x=1"))
    (line,) = pipe.read(1)
    assert json.loads(line) == {
        "time": "2026-10-22T09:20:03.589Z",
        "request_id": "id-0",
        "method": "GET",
        "path": "/a",
        "status": 200,
        "origin": "-",
        "delivered": "yes",
        "duration_ms": 4.512,
        "bytes_in": 0,
        "bytes_out": 123,
        "service": "visits",
        "agent": "leeds-1",
        "caller": "booking",
        "peer": "10.0.0.1",
        "host": "visits.internal",
    }


def test_what_is_empty_is_left_out(pipe: Pipe) -> None:
    pipe.log.write(record(service="", agent="", code="no_session", peer="", caller="", host=b""))
    line = json.loads(pipe.read(1)[0])
    assert line["code"] == "no_session"
    assert not {"service", "agent", "caller", "peer", "host", "query"} & set(line)


def test_phases_that_took_time_and_what_joins_it_to_others(pipe: Pipe) -> None:
    phases = (52, 0, 0, 250_000, 4123)
    pipe.log.write(record(phases=phases, trace_id=b"ab" * 16, hub="hub-1", agent=""))
    line = json.loads(pipe.read(1)[0])
    assert line["phases_us"] == {"hub_queue": 52, "upstream_connect": 250_000, "upstream_first_byte": 4123}
    assert line["trace_id"] == "ab" * 16
    assert line["hub"] == "hub-1"


def test_queries_only_when_configured(pipe: Pipe) -> None:
    pipe.log.query_strings = True
    pipe.log.write(record(b"/a?noms_id=A1475AE"))
    assert json.loads(pipe.read(1)[0])["query"] == "noms_id=A1475AE"
    pipe.log.query_strings = False
    pipe.log.write(record(b"/a?noms_id=A1475AE"))
    assert "A1475AE" not in pipe.read(1)[0]


def test_text_line() -> None:
    log = AccessLog("text", fd=1, query_strings=True)
    assert log._format([record(b"/a?x=1", code="deadline", status=504)]).decode() == (
        "2026-10-22T09:20:03.589Z 10.0.0.1 booking visits.internal GET /a?x=1 504 4.5ms in=0 out=123 "
        "service=visits agent=leeds-1 origin=- code=deadline delivered=yes id=id-0\n"
    )


@pytest.mark.parametrize("form", ["json", "text"])
def test_hostile_bytes_stay_on_their_line(form: Any) -> None:
    log = AccessLog(form, fd=1, query_strings=True)
    # At the agent a hostile hub chooses the service's name.
    line = log._format([record(b'/a"\n\r\x1b[31m\xff?\n', method=b"G\nT", host=b"h\n\xff", service="v\n\x1b")])
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert b"\x1b" not in line
    assert b"\r" not in line


def test_seconds_roll_over(pipe: Pipe) -> None:
    for when in (WHEN, WHEN + 0.4, WHEN + 0.5, WHEN - 60):
        pipe.log.write(record(time=when))
    times = [json.loads(line)["time"][14:] for line in pipe.read(4)]
    assert times == ["20:03.589Z", "20:03.989Z", "20:04.089Z", "19:03.589Z"]


def test_order_and_completeness_over_many_pieces(pipe: Pipe) -> None:
    count = access.PIECE * 7 + 3
    for number in range(count):
        pipe.log.write(record(number=number))
    lines = pipe.read(count)
    assert [json.loads(line)["request_id"] for line in lines] == [f"id-{number}" for number in range(count)]
    wait_until(lambda: pipe.log.written == count, "all lines are counted")


def test_close_writes_what_is_queued() -> None:
    pipe = Pipe(form="json")
    count = access.PIECE + 20  # they fit into the pipe, which nobody reads meanwhile
    for number in range(count):
        pipe.log.write(record(number=number))
    pipe.log.start()
    pipe.log.start()
    assert pipe.log.close() is True
    assert len(pipe.read(count)) == count
    pipe.log.write(record())
    assert pipe.log.written == count
    pipe.close()


def test_close_without_start_and_twice() -> None:
    log = AccessLog("json", fd=1)
    assert log.close() is True
    assert log.close() is True


def test_disabled() -> None:
    pipe = Pipe(form="json", enabled=False)
    pipe.log.start()
    pipe.log.write(record(number=1))
    pipe.log.enabled = True
    pipe.log.write(record(number=2))
    assert json.loads(pipe.read(1)[0])["request_id"] == "id-2"
    pipe.close()


def test_a_slow_reader_costs_lines_and_close_is_bounded() -> None:
    pipe = Pipe(form="json", queue_max=50)
    pipe.fill()
    pipe.log.start()
    for number in range(200):
        pipe.log.write(record(number=number))
    assert pipe.log.dropped >= 100
    assert pipe.log.close(timeout=0.05) is False
    assert pipe.log.written == 0
    thread = pipe.log._thread
    assert thread is not None
    while thread.is_alive():  # what it already holds still goes out
        os.read(pipe.reader, 65536)
        thread.join(0.01)
    assert pipe.log.written + pipe.log.dropped + len(pipe.log._queue) == 200
    pipe.close()


def test_a_reader_that_does_not_block_is_waited_for() -> None:
    pipe = Pipe(form="json")
    os.set_blocking(pipe.writer, False)
    pipe.log.start()
    for number in range(1000):
        pipe.log.write(record(number=number))
    assert len(pipe.read(1000)) == 1000
    pipe.close()


def test_close_gives_up_on_a_full_pipe_that_does_not_block() -> None:
    pipe = Pipe(form="json")
    pipe.fill()
    os.set_blocking(pipe.writer, False)
    pipe.log.start()
    pipe.log.write(record())
    pipe.log.close(timeout=0.01)
    wait_until(lambda: pipe.log.failed == 1, "the line is counted as lost")
    pipe.close()


def test_a_reader_that_is_gone_costs_lines_only(logged: Logged) -> None:
    pipe = Pipe(form="json")
    os.close(pipe.reader)
    pipe.log.start()
    pipe.log.write(record())
    wait_until(lambda: pipe.log.failed == 1, "the line is counted as lost")
    pipe.log.write(record())
    wait_until(lambda: pipe.log.failed == 2, "the next one too")
    assert pipe.log.close()
    os.close(pipe.writer)
    assert pipe.log.written == 0
    assert logged.texts == ["the access log cannot be written"]


def test_a_record_that_cannot_be_formatted_costs_its_piece_only(pipe: Pipe, logged: Logged) -> None:
    pipe.log.write(record(time=float("nan")))
    wait_until(lambda: pipe.log.failed == 1, "the bad line is counted")
    pipe.log.write(record())
    assert len(pipe.read(1)) == 1
    assert logged.texts == ["access log lines could not be formatted"]


def test_nothing_is_lost_between_two_batches() -> None:
    """A record may arrive at any moment of the thread's turn; each must still be written without a successor."""
    pipe = Pipe(form="json")
    pipe.log.start()
    for number in range(100):
        pipe.log.write(record(number=number))
        if number % 10 == 0:
            wait_until(lambda: not pipe.log._queue, "the thread has taken all", every=0.0001)
    assert len(pipe.read(100)) == 100
    pipe.close()
