"""`tunnel-agent status`: the snapshot as lines and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from protocol.ops import sheet
from protocol.ops.console.words import duration, size
from protocol.ops.look import Reading
from protocol.ops.words import count

from .problems import meaning, problems
from .snapshot import Connections, Failure, Hub, Service, Session, Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

RECENT_SHOWN: Final = 10


def read(answer: bytes) -> Reading:
    """From the agent's JSON. Raises ValueError."""
    snapshot = msgspec.json.decode(answer, type=Snapshot)
    return Reading(snapshot.state == "up", lambda width: parts(snapshot, width))


def parts(snapshot: Snapshot, width: int) -> Sequence[RenderableType]:
    """What is printed, from above to below."""
    facts = [
        f"{sheet.version(snapshot.version, snapshot.revision)} for {duration(snapshot.uptime)}",
        f"{sum(hub.up for hub in snapshot.hubs)} of {count(sum(hub.wanted for hub in snapshot.hubs), 'session')}",
        f"{snapshot.in_flight} in flight",
    ]
    return [
        sheet.headline("tunnel-agent", snapshot.agent, snapshot.state, facts),
        *sheet.problems(list(problems(snapshot))),
        _sessions(snapshot.hubs, width),
        _services(snapshot.services, width),
        *_failures(snapshot, width),
        *_latest(snapshot, width),
    ]


def _sessions(hubs: tuple[Hub, ...], width: int) -> RenderableType:
    columns = [
        sheet.Column("hub", prose=16),
        sheet.Column("session"),
        sheet.Column("round trip", 2, number=True),
        sheet.Column("age", 1, number=True),
        sheet.Column("in flight", 0, number=True),
        sheet.Column("received", 3, number=True),
        sheet.Column("sent", 3, number=True),
        sheet.Column("window", 5, number=True),
        sheet.Column("unsent", 5, number=True),
        sheet.Column("retries", 4, number=True),
        sheet.Column("id", 6),
        sheet.Column("url", 7),
        sheet.Column("last error", 1, prose=24),
    ]
    rows = [_session(hub, session, first=not at) for hub in hubs for at, session in enumerate(hub.sessions)]
    return sheet.table("Sessions", columns, rows, width)


def _session(hub: Hub, session: Session, *, first: bool) -> Sequence[Text]:
    up = session.age is not None
    return sheet.cells(
        (hub.id or urlsplit(hub.url).netloc) if first else "",
        _standing(session),
        sheet.round_trip(session.round_trip),
        None if session.age is None else duration(session.age),
        session.outstanding if up else None,
        size(session.bytes_in) if up else None,
        size(session.bytes_out) if up else None,
        size(session.window) if session.window else None,
        size(session.unsent) if session.unsent else None,
        (sum(hub.reconnects.values()) or None) if first else None,
        session.id,
        hub.url if hub.id and first else "",
        session.last_error,
    )


def _standing(session: Session) -> Text:
    if session.next_try is None:
        return sheet.state(session.state)
    return sheet.state(session.state, f"next try in {session.next_try:.0f} s")


def _services(services: tuple[Service, ...], width: int) -> RenderableType:
    columns = [
        sheet.Column("service", prose=10),
        sheet.Column("state"),
        sheet.Column("in flight", number=True),
        sheet.Column("waiting", 1, number=True),
        sheet.Column("at most", 5, number=True),
        sheet.Column("requests", number=True),
        sheet.Column("failed", 1, number=True),
        sheet.Column("refused", 1, number=True),
        sheet.Column("connections", 3),
        sheet.Column("upstream", 2),
        sheet.Column("", 4),
    ]
    rows = [
        sheet.cells(
            service.name,
            sheet.state(service.state),
            service.in_flight,
            service.waiting or None,
            service.limit,
            service.requests,
            sum(service.failures.values()) or None,
            sum(service.refusals.values()) or None,
            _connections(service.connections),
            service.upstream,
            "read-only" if service.read_only else "",
        )
        for service in services
    ]
    return sheet.table("Services", columns, rows, width)


def _connections(connections: Connections) -> str:
    return f"{connections.busy} busy, {connections.idle} idle"


def _failures(snapshot: Snapshot, width: int) -> Iterable[RenderableType]:
    """What went wrong since the start, by code."""
    rows = [
        sheet.cells(service.name, who, code, number, meaning(code))
        for service in snapshot.services
        for who, counts in (("failed", service.failures), ("refused", service.refusals))
        for code, number in counts.items()
    ]
    if rows:
        columns = [
            sheet.Column("service", prose=10),
            sheet.Column("what", 1),
            sheet.Column("code"),
            sheet.Column("times", number=True),
            sheet.Column("meaning", 2, prose=24),
        ]
        yield sheet.table("Failed and refused since the start", columns, rows, width)


def _latest(snapshot: Snapshot, width: int) -> Iterable[RenderableType]:
    """The latest failures and refusals, those that are alike in one line."""
    alike: dict[tuple[str, ...], list[Failure]] = {}
    for each in snapshot.failures:
        alike.setdefault((each.service, each.code, each.method, each.path, each.reason, each.hub), []).append(each)
    columns = [
        sheet.Column("last", number=True),
        sheet.Column("times", 4, number=True),
        sheet.Column("service", 3),
        sheet.Column("code"),
        sheet.Column("request", 1, prose=24),
        sheet.Column("reason", 5, prose=30),
        sheet.Column("hub", 6),
        sheet.Column("last request id", 2),
    ]
    rows = [
        sheet.cells(
            f"{duration(snapshot.now - last.at)} ago",
            len(every),
            last.service,
            last.code,
            f"{last.method} {last.path}",
            last.reason,
            last.hub,
            last.request_id,
        )
        for every in list(alike.values())[:RECENT_SHOWN]
        for last in every[:1]
    ]
    if rows:
        more = len(alike) - len(rows)
        yield sheet.table(f"Latest{f' ({more} kinds more with --json)' if more else ''}", columns, rows, width)
