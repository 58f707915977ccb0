"""The first lines of messages, and Date: bytes made only from what is known to be harmless."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}").fullmatch
_is_reason = re.compile(rb"[\t -~\x80-\xff]*+").fullmatch

_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))

REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
"""The registered reason phrase of each status (RFC 9110 section 15)."""

_STATUS_LINES: Final = {
    (status, reason): b"HTTP/1.1 %d %b\r\n" % (status, reason)
    for status, phrase in REASONS.items()
    for reason in (phrase, b"")
}

_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS: Final = (
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
)  # fmt: skip


class InvalidHead(ValueError):
    """A method, target, status or reason that must not be written; the message does not quote it."""


def is_method(method: bytes) -> bool:
    """Whether `method` is a token of at most 32 octets (RFC 9110 section 9.1)."""
    return method in _METHODS or _is_method(method) is not None


def status_line(status: int, reason: bytes) -> bytes:
    """The status line of an HTTP/1.1 response (RFC 9112 section 4), with `reason` as given, empty or not.

    Raises:
        InvalidHead: the status does not have three digits, or the reason holds a control character.
    """
    line = _STATUS_LINES.get((status, reason))
    if line is not None:
        return line
    if not 100 <= status <= 999:
        raise InvalidHead("The status does not have three digits")
    if not _is_reason(reason):
        raise InvalidHead("The reason phrase holds a control character")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def http_date(unix_time: int) -> bytes:
    """The value of Date for `unix_time`, whole seconds since 1970 (RFC 9110 section 5.6.7, IMF-fixdate).

    Takes about a microsecond: callers keep the result for a second.
    """
    when = datetime.fromtimestamp(unix_time, UTC)
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        day, when.day, month, when.year, when.hour, when.minute, when.second,
    )  # fmt: skip
