"""What is kept of each exchange at the agent: a line of the access log and, where it is traced, its spans.

Both have the request's id and trace as the hub's have, so that one look finds what either end knows.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from protocol.errors import FAILURES, Delivered, StreamCode, is_not_dispatched

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.events import Opened
    from protocol.http.trace import TraceParent
    from protocol.ops.access import AccessLog
    from protocol.phases import Own

    from .config import Log
    from .egress.call import Call
    from .exchange import Exchange
    from .spans import Spans

_NOT_BEGUN: Final = (0, 0, 0)


class Records:
    """One for the agent.

    access: its `enabled` may be changed at any time. failures_only: lines of those alone that ended without an
    answer, or with a 5xx. spans: None where nothing is traced.
    """

    __slots__ = ("access", "failures_only", "spans")

    def __init__(self, access: AccessLog, spans: Spans | None = None, *, failures_only: bool = False) -> None:
        self.access = access
        self.failures_only = failures_only
        self.spans = spans

    def follow(self, table: Log) -> None:
        """Do as [log] says from now on."""
        self.access.enabled = table.access != "none"
        self.access.query_strings = table.query_strings
        self.failures_only = table.access == "failures"

    def ended(self, exchange: Exchange, call: Call | None, code: StreamCode | None, now: float) -> None:
        """An exchange is over, with an answer (code None) or without; now: time.monotonic()."""
        span = exchange.span
        enabled = self.access.enabled and (code is not None or exchange.status >= 500 or not self.failures_only)
        if span is None and not enabled:
            return
        phases = exchange.phases or (_NOT_BEGUN if call is None else call.phases(now))
        if span is not None and self.spans is not None:
            self.spans.ended(exchange, call, code, phases, now)
        if enabled:
            event = exchange.opened
            self._write(
                exchange.link,
                event,
                exchange.trace,
                code,
                exchange.status,
                origin="hub" if code is not None and exchange.by_hub else _origin(code),
                delivered=_delivered(code, exchange.dispatched),
                bytes_in=exchange.bytes_in,
                bytes_out=exchange.bytes_out,
                took=now - exchange.opened_at,
                phases=phases,
            )

    def refused(self, link: Link, event: Opened, trace: TraceParent | None, code: StreamCode) -> None:
        """The boundary did not let the request in."""
        if self.access.enabled:
            self._write(link, event, trace, code, 0, origin=_origin(code), delivered=Delivered.NO)

    def _write(
        self,
        link: Link,
        event: Opened,
        trace: TraceParent | None,
        code: StreamCode | None,
        status: int,
        *,
        origin: str,
        delivered: str,
        bytes_in: int = 0,
        bytes_out: int = 0,
        took: float = 0.0,
        phases: Own = _NOT_BEGUN,
    ) -> None:
        self.access.write(
            (
                time.time(),
                event.request_id.decode("ascii", "backslashreplace"),
                event.method,
                event.target,
                event.service,
                "",
                status,
                origin,
                "" if code is None else code.name.lower(),
                delivered,
                bytes_in,
                bytes_out,
                took,
                "",
                b"",
                0,
                "",
                (0, 0, *phases),
                b"" if trace is None else trace.trace_id,
                link.label,
            )
        )


def _origin(code: StreamCode | None) -> str:
    return "-" if code is None else FAILURES[code].origin


def _delivered(code: StreamCode | None, dispatched: bool) -> str:
    """Whether the upstream got the request, by what the agent itself has done."""
    if code is None:
        return Delivered.YES
    if not dispatched:
        return Delivered.NO
    return Delivered.UNKNOWN if is_not_dispatched(code) else FAILURES[code].delivered
