"""The rules of the single fields that frame a message or belong to its connection; split.py applies them.

Strict where two parties could disagree about where a message ends (RFC 9112 sections 6.1, 6.3 and 11.2).
"""

from __future__ import annotations

import re
from typing import Final

from .names import KINDS, WELL_KNOWN, Kind

LENGTH_MAX: Final = 2**63 - 1

PERSISTENCE: Final = frozenset({b"close", b"keep-alive"})
"""Options of Connection that name no field."""

_HOP_UPGRADES: Final = (b"h2c", b"tls/")
"""Upgrades of one connection (RFC 7540 section 3.2, RFC 2817), never of what lies behind an intermediary."""

_is_option = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_protocol = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?").fullmatch

_COMMON_OPTIONS: Final[dict[bytes, frozenset[bytes]]] = {
    spelling: frozenset({spelling.lower()})
    for word in (b"keep-alive", b"close", b"upgrade")
    for spelling in (word, word.title(), word.capitalize())
}


class BadMessage(ValueError):
    """A message that must not be acted on, because two parties could understand it differently.

    status: what a caller is told (a bad answer from an upstream: 502); reason: a fixed slug for logs and
    metrics; title: one sentence for people, without any of the message's own text. The connection the message
    came on must be closed after the answer, for its next byte may belong to anything.
    """

    def __init__(self, status: int, reason: str, title: str) -> None:
        super().__init__(title)
        self.status = status
        self.reason = reason
        self.title = title


def connection_options(value: bytes) -> frozenset[bytes]:
    """The options in a value of Connection, in lower case (RFC 9110 section 7.6.1).

    Raises:
        BadMessage: an option is not a token (400).
    """
    options = _COMMON_OPTIONS.get(value)
    if options is not None:
        return options
    found = set()
    for part in value.split(b","):
        option = part.strip(b" \t")
        if option:
            if not _is_option(option):
                raise BadMessage(400, "connection-invalid", "The field Connection is not a list of tokens")
            found.add(option.lower())
    return frozenset(found)


def nominated_fields(options: frozenset[bytes]) -> frozenset[bytes]:
    """The fields that `options` take out besides the connection-level ones, in lower case.

    Raises:
        BadMessage: an option names a field that every party needs, such as one of our identity headers (400).
    """
    taken = set()
    for option in options - PERSISTENCE:
        kind = KINDS[option]
        if kind is Kind.END_TO_END and option not in WELL_KNOWN:
            taken.add(option)
        elif kind not in (Kind.HOP_BY_HOP, Kind.UPGRADE):
            raise BadMessage(400, "connection-nominates", "Connection names a field that every party needs")
    return frozenset(taken)


def content_length(value: bytes, status: int) -> int:
    """The number in a value of Content-Length; raises BadMessage with `status` for anything but digits."""
    # bytes.isdigit knows ASCII only; int() alone would take +1, 1_0 and other scripts' digits.
    if not value.isdigit() or len(value) > 19 or (length := int(value)) > LENGTH_MAX:
        raise BadMessage(status, "length-invalid", "Content-Length is not one decimal number")
    return length


def check_coding(value: bytes, minor: int, status: int, unknown_status: int) -> None:
    """Accepts `chunked` alone (RFC 9112 section 6.1): this program decodes no other coding."""
    if not minor:
        raise BadMessage(status, "coding-in-1.0", "Transfer-Encoding is not defined for HTTP/1.0")
    codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
    if codings[-1] != b"chunked" or b"" in codings or codings.count(b"chunked") > 1:
        raise BadMessage(status, "coding-not-final", "Transfer-Encoding does not end with the one coding chunked")
    if len(codings) > 1:
        raise BadMessage(unknown_status, "coding-unknown", "Transfer-Encoding names a coding other than chunked")


def expects_continue(value: bytes) -> bool:
    """Whether a value of Expect asks for 100 (Continue); raises BadMessage (417) for any other."""
    expectations = {part.strip(b" \t").lower() for part in value.split(b",")} - {b""}
    if expectations - {b"100-continue"}:
        raise BadMessage(417, "expectation", "The only expectation supported is 100-continue")
    return bool(expectations)


def upgrade_protocol(value: bytes) -> bytes | None:
    """The one protocol that a value of Upgrade asks for, as spelt; None for a list or an upgrade of the hop.

    To ignore an Upgrade is always allowed (RFC 9110 section 7.8).
    """
    protocol = value.strip(b" \t")
    if not _is_protocol(protocol) or protocol.lower().startswith(_HOP_UPGRADES):
        return None
    return protocol
