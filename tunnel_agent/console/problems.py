"""What is not as it should be, in sentences that change only when something does: they are read aloud."""

from __future__ import annotations

from collections.abc import Iterator

from protocol.errors import FAILURES, StreamCode
from protocol.ops.words import count

from .snapshot import Hub, Service, Snapshot


def problems(snapshot: Snapshot) -> Iterator[str]:
    """A sentence each, without full stop."""
    for hub in snapshot.hubs:
        yield from _of_hub(hub)
    for service in snapshot.services:
        yield from _of_service(service)
    yield from snapshot.ends
    if snapshot.audit_lines_lost:
        lost = count(snapshot.audit_lines_lost, "audit line")
        yield f"{lost} could not be written: look at the disk of [audit] file"


def _of_hub(hub: Hub) -> Iterator[str]:
    if hub.wanted and not hub.up:
        reason = next((f": {session.last_error}" for session in hub.sessions if session.last_error), "")
        yield f"no session at {hub.url}{reason}"
    elif hub.up < hub.wanted:
        yield f"{hub.up} of {count(hub.wanted, 'session')} at {hub.url}"


def _of_service(service: Service) -> Iterator[str]:
    if service.switched is not None:
        why = f": {service.switched.reason}" if service.switched.reason else ""
        yield f"{service.name} is switched off at the agent by the {service.switched.by}{why}"
    elif service.state == "down":
        yield f"{service.name} is down: {service.reason}"


def meaning(code: str) -> str:
    """Of a failure's or refusal's code, "" where it is not known."""
    known = StreamCode.__members__.get(code.upper())
    return "" if known is None else FAILURES[known].title
