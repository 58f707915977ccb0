"""W3C Trace Context, as far as an intermediary reads it: which trace a request belongs to.

Pure. Fields are the flat name, value lists of the tunnel.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MEMBERS_MAX: Final = 32
"""Members of `tracestate` that are carried (W3C Trace Context section 3.3.1.1)."""

_PARENT: Final = b"traceparent"
_LENGTH: Final = len(_PARENT)
_parent = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
).fullmatch


class TraceParent(NamedTuple):
    """What `traceparent` says: the trace, the sender's span and whether it is recorded."""

    trace_id: bytes
    """32 hexadecimal digits."""
    span_id: bytes
    """16 hexadecimal digits."""
    sampled: bool


def read(fields: list[bytes]) -> TraceParent | None:
    """The one valid `traceparent` among the fields; None where there is none, or more than one."""
    values = [
        fields[index + 1]
        for index in range(0, len(fields), 2)
        if len(fields[index]) == _LENGTH and fields[index].lower() == _PARENT
    ]
    return parse(values[0]) if len(values) == 1 else None


def parse(value: bytes) -> TraceParent | None:
    """A value of `traceparent`, of this version (00) or, read as far as it is known, of a later one."""
    match = _parent(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"00" and more is not None:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & 1))


def render(trace_id: bytes, span_id: bytes, sampled: bool) -> bytes:
    """The value of `traceparent` that names a span of ours as the parent."""
    return b"00-%b-%b-0%d" % (trace_id, span_id, sampled)


def without_parent(fields: list[bytes]) -> list[bytes]:
    """The fields less `traceparent`; `tracestate` stays."""
    kept: list[bytes] = []
    for index in range(0, len(fields), 2):
        name = fields[index]
        if name.lower() != _PARENT:
            kept += (name, fields[index + 1])
    return kept


def members(fields: list[bytes]) -> int:
    """How many members the `tracestate` fields have together."""
    return sum(
        fields[index + 1].count(b",") + 1
        for index in range(0, len(fields), 2)
        if fields[index].lower() == b"tracestate"
    )
