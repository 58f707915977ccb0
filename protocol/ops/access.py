"""The access log: one line per exchange to stdout, for one append on the hot path.

`write` puts a tuple into a bounded queue; a thread turns the tuples into lines and writes many with one call.
When the reader of stdout is too slow, the queue fills and lines are dropped and counted; no request waits.
The thread works in small pieces, because while it formats, the event loop waits for the interpreter.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections import deque
from typing import Any, Final, Literal

import msgspec

from protocol.ops import log
from protocol.phases import Phases

QUEUE_MAX: Final = 20_000
"""Lines that wait for the thread; some 10 MB."""

PIECE: Final = 100
"""Lines formatted and written at once: some 0.2 ms during which the event loop may have to wait."""

GATHER: Final = 0.05
"""Seconds a line waits for company."""

AccessRecord = tuple[
    float,  # time.time() at the end of the exchange
    str,  # request id
    bytes,  # method
    bytes,  # target: path and query, as received
    str,  # service, "" when there is none
    str,  # agent, "" when there is none
    int,  # status as the caller saw it
    str,  # origin: "-" (the upstream's own answer), hub, tunnel, agent or upstream
    str,  # code of the failure, "" when there is none
    str,  # delivered: no, unknown or yes
    int,  # body bytes from the caller
    int,  # body bytes to the caller
    float,  # seconds from head to end
    str,  # the peer's address
    bytes,  # host
    int,  # how often it was sent again
    str,  # the caller's verified name, "" when there is none
    Phases | None,  # where the time went
    bytes,  # the W3C trace id, b"" when there is none
    str,  # at the agent: the hub, "" at the hub
]


class Durations(msgspec.Struct, omit_defaults=True):
    """`protocol.phases.NAMES`; those that took no time are left out."""

    hub_queue: int = 0
    tunnel: int = 0
    agent_queue: int = 0
    upstream_connect: int = 0
    upstream_first_byte: int = 0


class Line(msgspec.Struct, omit_defaults=True):
    """A line as it is written in JSON: the names and their order."""

    time: str
    request_id: str
    method: str
    path: str
    status: int
    origin: str
    delivered: str
    duration_ms: float
    bytes_in: int
    bytes_out: int
    service: str = ""
    agent: str = ""
    code: str = ""
    caller: str = ""
    peer: str = ""
    host: str = ""
    query: str | None = None
    repeats: int = 0
    hub: str = ""
    trace_id: str = ""
    phases_us: Durations | None = None


_MILLISECONDS: Final = [f"{number:03d}Z" for number in range(1000)]


class _Texts(dict[bytes, str]):
    """Methods and hosts as text: mostly the same few, so remembered, within bounds."""

    MOST: Final = 1024
    LONGEST: Final = 256

    def __missing__(self, raw: bytes) -> str:
        text = _decoded(raw)
        if len(raw) <= self.LONGEST:
            if len(self) >= self.MOST:
                self.clear()
            self[raw] = text
        return text


def _decoded(raw: bytes) -> str:
    return raw.decode() if raw.isascii() else raw.decode("ascii", "backslashreplace")


class Formatter:
    """Makes lines of records: `line(query_strings, *record)`. Each thread needs its own."""

    def __init__(self) -> None:
        self._second = -1
        self._second_text = ""
        self._texts = _Texts()

    def line(
        self,
        query_strings: bool,
        when: float,
        request_id: str,
        method: bytes,
        target: bytes,
        service: str,
        agent: str,
        status: int,
        origin: str,
        code: str,
        delivered: str,
        bytes_in: int,
        bytes_out: int,
        seconds: float,
        peer: str,
        host: bytes,
        repeats: int,
        caller: str,
        phases: Phases | None,
        trace_id: bytes,
        hub: str,
    ) -> Line:
        """The line of one record. query_strings: whether it tells the query."""
        path, mark, query = target.partition(b"?")
        second = int(when)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return Line(
            self._second_text + _MILLISECONDS[int((when - second) * 1000)],
            request_id,
            self._texts[method],
            path.decode() if path.isascii() else _decoded(path),
            status,
            origin,
            delivered,
            int(seconds * 1e6) / 1000,
            bytes_in,
            bytes_out,
            service,
            agent,
            code,
            caller,
            peer,
            self._texts[host],
            _decoded(query) if mark and query_strings else None,
            repeats,
            hub,
            trace_id.decode() if trace_id else "",
            None if phases is None else Durations(*phases),
        )


class AccessLog:
    """Call `start`, then `write` for each exchange, then `close`. All from one thread.

    enabled and query_strings may be changed at any time; without query_strings the query is not written.
    """

    def __init__(
        self,
        form: Literal["json", "text"] | None = None,
        *,
        enabled: bool = True,
        query_strings: bool = False,
        fd: int | None = None,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        """form None means text when stdout is a terminal, else JSON. fd: where to write, else stdout."""
        self.enabled = enabled
        self.query_strings = query_strings
        self.written = 0
        """Lines written so far."""
        self.dropped = 0
        """Lines lost because the queue was full."""
        self.failed = 0
        """Lines lost because they could not be written."""
        self._fd = sys.stdout.fileno() if fd is None else fd
        self._json = (form or ("text" if os.isatty(self._fd) else "json")) == "json"
        self._timed = not log.is_journal(self._fd)  # the journal has the time
        self._queue: deque[AccessRecord] = deque()
        self._queue_max = queue_max
        self._awake = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._give_up = 0.0
        self._thread: threading.Thread | None = None
        self._broken = False
        self._formatter = Formatter()

    def start(self) -> None:
        """Start the thread that writes."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def write(self, record: AccessRecord) -> None:
        """Queue one line; it is written within 100 ms. Never blocks and never raises."""
        if not self.enabled:
            return
        queue = self._queue
        if len(queue) >= self._queue_max:
            self.dropped += 1
            return
        queue.append(record)
        if not self._awake:
            self._awake = True
            self._wake.set()

    def close(self, timeout: float = 2.0) -> bool:
        """Write what is queued and end the thread. False when `timeout` seconds were not enough."""
        self.enabled = False
        thread = self._thread
        if thread is None:
            return True
        self._give_up = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        thread.join(timeout + 0.1)
        if not thread.is_alive():
            self._thread = None
        return not thread.is_alive() and not self._queue

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._closing.wait(GATHER)
            # In this order: a record queued from here on either is seen below or wakes the thread again.
            self._wake.clear()
            self._awake = False
            closing = self._closing.is_set()
            while self._queue:
                self._write_piece()
                if closing and time.monotonic() >= self._give_up:
                    return
            if closing:
                return

    def _write_piece(self) -> None:
        queue = self._queue
        records = [queue.popleft() for _ in range(min(PIECE, len(queue)))]
        try:
            data = self._format(records)
        except Exception:
            self.failed += len(records)
            log.get("access").exception("access log lines could not be formatted", lines=len(records))
            return
        if self._write_all(data):
            self.written += len(records)
        else:
            self.failed += len(records)

    def _format(self, records: list[AccessRecord]) -> bytes:
        line, query_strings = self._formatter.line, self.query_strings
        lines = [line(query_strings, *record) for record in records]
        return (
            _encode_lines(lines)
            if self._json
            else "".join([_text(each, timed=self._timed) for each in lines]).encode()
        )

    def _write_all(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
                self._broken = False
            except BlockingIOError:
                if self._closing.is_set() and time.monotonic() >= self._give_up:
                    return False
                select.select([], [self._fd], [], 0.1)
            except OSError as error:
                if not self._broken:
                    self._broken = True
                    log.get("access").warning("the access log cannot be written", reason=error.strerror)
                return False
        return True


_encode_lines: Any = msgspec.json.Encoder().encode_lines


def _text(line: Line, *, timed: bool) -> str:
    """For people: time peer caller host METHOD path status origin code service agent duration bytes id."""
    when = f"{line.time} " if timed else ""
    target = line.path if line.query is None else f"{line.path}?{line.query}"
    more = f" repeats={line.repeats}" if line.repeats else ""
    if line.phases_us is not None:
        durations = msgspec.structs.asdict(line.phases_us).items()
        more += "".join(f" {name}={us / 1000:.1f}ms" for name, us in durations if us >= 50)
    if line.hub:
        more += f" hub={_safe(line.hub)}"
    if line.trace_id:
        more += f" trace={line.trace_id}"
    return (
        f"{when}{line.peer or '-'} {_safe(line.caller) or '-'} {_safe(line.host) or '-'} "
        f"{_safe(line.method)} {_safe(target)} {line.status} "
        f"{line.duration_ms:.1f}ms in={line.bytes_in} out={line.bytes_out} "
        f"service={line.service or '-'} agent={line.agent or '-'} origin={line.origin} "
        f"code={line.code or '-'} delivered={line.delivered} id={_safe(line.request_id)}{more}\n"
    )


def _safe(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()
