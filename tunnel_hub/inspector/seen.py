"""What is kept of one exchange that is over, with everything secret masked: made once, of its tape. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from protocol.http.shape import shape_of
from protocol.ops.log import MASK
from protocol.phases import NAMES

from . import bodies, redact
from .bodies import BODY_MAX, Body

if TYPE_CHECKING:
    from protocol.ops.access import AccessRecord, Line

    from .tape import Sample, Tape

Pairs = list[tuple[str, str]]

OVERHEAD: Final = 1024
"""Bytes that an exchange costs besides its texts, roughly."""

FIELD_OVERHEAD: Final = 150


class Seen(msgspec.Struct, omit_defaults=True):
    """One exchange. Its path is a shape (`protocol.http.shape`) where `shape` says so."""

    number: int
    """By which it is asked for; counts up."""
    time: str
    request_id: str
    method: str
    path: str
    shape: bool
    status: int
    origin: str
    delivered: str
    bytes_in: int
    bytes_out: int
    phases: dict[str, float]
    """Milliseconds: those of `protocol.phases` that took any time, to the answer's head, in total."""
    service: str
    agent: str = ""
    code: str = ""
    caller: str = ""
    peer: str = ""
    host: str = ""
    queried: bool = False
    """There was a query."""
    query: str | None = None
    """None: there was none, or it is not recorded."""
    repeats: int = 0
    request_fields: Pairs | None = None
    """None: not recorded."""
    response_fields: Pairs | None = None
    request_body: Body | None = None
    response_body: Body | None = None

    @property
    def replayable(self) -> str:
        """Why it cannot be sent again; "" if it can."""
        if self.method not in ("GET", "HEAD", "OPTIONS"):
            return "only GET, HEAD and OPTIONS are replayed: anything else may change something"
        if self.bytes_in:
            return "it had a body"
        if self.shape:
            return "its path was not recorded"
        if self.queried and self.query is None:
            return "its query was not recorded"
        if "\\" in self.path + (self.query or ""):
            return "its path has characters that are not ASCII"
        if MASK in self.path or MASK in (self.query or ""):
            return "something secret in its path or query was masked"
        return ""


def see(
    number: int,
    line: Line,
    record: AccessRecord,
    tape: Tape | None,
    arrived: float,
    answered: float,
    *,
    paths: bool,
    headers: bool,
    with_bodies: bool,
    secret_fields: frozenset[bytes],
) -> Seen:
    """What is kept of one exchange.

    line: of the access log, with its query if that may be shown.
    arrived, answered: time.monotonic() of the heads; answered 0: there was none.
    secret_fields: lower-case names that are credentials for this service, besides those known anyway.
    """
    target = record[3]
    took = {name: us / 1000 for name, us in zip(NAMES, record[17] or (), strict=False) if us}
    head = {"head": round((answered - arrived) * 1000, 3)} if answered else {}
    seen = Seen(
        number=number,
        time=line.time,
        request_id=line.request_id,
        method=line.method,
        path=redact.text(line.path) if paths else shape_of(target),
        shape=not paths,
        status=line.status,
        origin=line.origin,
        delivered=line.delivered,
        bytes_in=line.bytes_in,
        bytes_out=line.bytes_out,
        phases={**took, **head, "total": line.duration_ms},
        service=line.service,
        agent=line.agent,
        code=line.code,
        caller=line.caller,
        peer=line.peer,
        host=line.host,
        queried=b"?" in target,
        query=redact.form(line.query) if paths and line.query is not None else None,
        repeats=line.repeats,
    )
    if tape is None:
        return seen
    if headers:
        seen.request_fields = redact.fields(tape.request_fields, secret_fields)
        seen.response_fields = redact.fields(tape.fields, secret_fields)
    if with_bodies and line.status != 101:  # after which the bytes are no body
        seen.request_body = _body(tape.request_body, line.bytes_in, tape.request_fields)
        seen.response_body = _body(tape.response_body, line.bytes_out, tape.fields)
    return seen


def effort(tape: Tape) -> int:
    """Characters of its bodies that `see` looks at, at most: what is compressed may have been any number."""
    return sum(
        BODY_MAX if sample.size and _field(fields, b"content-encoding") else sample.size
        for sample, fields in ((tape.request_body, tape.request_fields), (tape.response_body, tape.fields))
    )


def _body(sample: Sample, size: int, fields: list[bytes]) -> Body:
    kind, coding = (_field(fields, name) for name in (b"content-type", b"content-encoding"))
    if sample.no_room:
        return Body(size, redact.text(kind[:128]), note="no room was left for it")
    return bodies.shown(bytes(sample.kept), size, kind, coding)


def _field(fields: list[bytes], wanted: bytes) -> str:
    for index in range(0, len(fields), 2):
        if fields[index].lower() == wanted:
            return fields[index + 1].decode("ascii", "backslashreplace")
    return ""


def weight(seen: Seen) -> int:
    """Bytes that it takes, roughly; strings of any alphabet count by their longest form here."""
    texts: list[Any] = [seen.path, seen.query or "", seen.host, seen.request_id]
    pairs = [*(seen.request_fields or ()), *(seen.response_fields or ())]
    texts += [part for pair in pairs for part in pair]
    texts += [body.text or "" for body in (seen.request_body, seen.response_body) if body is not None]
    return OVERHEAD + FIELD_OVERHEAD * len(pairs) + sum(len(text.encode("utf-8", "replace")) for text in texts)
