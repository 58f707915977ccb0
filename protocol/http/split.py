"""Fields on their way in: what a parser read becomes framing facts and the end-to-end fields.

The parser (llhttp) already refused bare CR, NUL, bare LF, obs-fold and white space before a colon. What
follows is decided from the fields alone, in one pass (RFC 9110 sections 7.2, 7.6, 7.8 and 10.1.1, RFC 9112
section 6).
"""

from __future__ import annotations

from .authority import BadAuthority, host_name
from .framing import (
    PERSISTENCE,
    BadMessage,
    check_coding,
    connection_options,
    content_length,
    expects_continue,
    nominated_fields,
    upgrade_protocol,
)
from .names import CONNECTION_LEVEL, KINDS, WELL_KNOWN, Kind

# Members of Kind by plain names: the loops below run for every field of every message.
_HOST, _LENGTH, _CODING, _CONNECTION = Kind.HOST, Kind.LENGTH, Kind.CODING, Kind.CONNECTION
_UPGRADE, _EXPECT, _HOP, _ALIAS = Kind.UPGRADE, Kind.EXPECT, Kind.HOP_BY_HOP, Kind.ALIAS
_INVALID, _TUNNEL = Kind.INVALID, Kind.TUNNEL


class RequestFraming:
    """What a request's fields say. See `split_request`."""

    __slots__ = ("chunked", "expect_continue", "fields", "host", "keep_alive", "kinds", "length", "upgrade")

    def __init__(
        self,
        fields: list[bytes],
        kinds: int,
        host: bytes,
        length: int | None,
        chunked: bool,
        expect_continue: bool,
        upgrade: bytes | None,
        keep_alive: bool,
    ) -> None:
        self.fields = fields
        """End-to-end fields, in order and spelling as sent."""
        self.kinds = kinds
        """Mask of every `Kind` seen, including those that were taken out."""
        self.host = host
        """The value of Host, valid; empty only where HTTP/1.0 sent none."""
        self.length = length
        self.chunked = chunked
        self.expect_continue = expect_continue
        """The sender waits for 100 (Continue) before a body that it has announced."""
        self.upgrade = upgrade
        """The one protocol that the sender asks to change to, as spelt."""
        self.keep_alive = keep_alive
        """Whether the sender allows another request on this connection."""


class ResponseFraming:
    """What a response's fields say. See `split_response`."""

    __slots__ = ("bodyless", "chunked", "fields", "keep_alive", "kinds", "length", "upgrade")

    def __init__(
        self,
        fields: list[bytes],
        kinds: int,
        length: int | None,
        chunked: bool,
        bodyless: bool,
        keep_alive: bool,
        upgrade: bytes | None,
    ) -> None:
        self.fields = fields
        self.kinds = kinds
        self.length = length
        """Content-Length; with `bodyless` it is only to be repeated (HEAD, 304), not to be waited for."""
        self.chunked = chunked
        self.bodyless = bodyless
        """No body follows whatever the fields say: HEAD, 1xx, 204, 304."""
        self.keep_alive = keep_alive
        """Whether the connection may be used again, provided that the body ended exactly."""
        self.upgrade = upgrade
        """The Upgrade field of a 101."""


def split_request(raw: list[bytes], minor: int) -> RequestFraming:
    """Takes a parsed request's fields apart. `raw` as the parser gave it; `minor` is the 1 of HTTP/1.1.

    Forwarding, identity, tunnel and trace fields stay in `fields`; `kinds` tells whether there are any.

    Raises:
        BadMessage: 400, 417 or 501; see `BadMessage` for what must follow.
    """
    fields: list[bytes] = []
    kinds = 0
    host = expect = upgrade = length_value = coding = None
    options: frozenset[bytes] = frozenset()
    pairs = iter(raw)
    for name, value in zip(pairs, pairs, strict=True):
        kind = KINDS[name]
        if not kind:
            fields.append(name)
            fields.append(value.strip())
            continue
        kinds |= kind
        if kind is _HOST:
            if host is not None:
                raise BadMessage(400, "host-repeated", "The request has more than one Host field")
            host = value.strip()
        elif kind is _CONNECTION:
            options |= connection_options(value.strip())
        elif kind is _LENGTH:
            if length_value is not None:
                raise BadMessage(400, "length-repeated", "The request has more than one Content-Length field")
            length_value = value.strip()
        elif kind is _CODING:
            coding = value if coding is None else coding + b"," + value
        elif kind is _EXPECT:
            expect = value if expect is None else expect + b"," + value
        elif kind is _UPGRADE:
            upgrade = value if upgrade is None else upgrade + b"," + value
        elif kind is _ALIAS:
            raise BadMessage(400, "alias", "A field's name can be taken for another field's name")
        elif kind is _INVALID:
            raise BadMessage(400, "name-invalid", "A field's name is not a token")
        elif kind is not _HOP:
            fields.append(name)
            fields.append(value.strip())

    if host is None:
        if minor:
            raise BadMessage(400, "host-missing", "The request has no Host field")
        host = b""
    else:
        try:
            host_name(host)
        except BadAuthority as error:
            raise BadMessage(400, "host-invalid", str(error)) from None

    keep_alive = minor > 0
    if options:
        keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
        if not options <= PERSISTENCE:
            fields = _drop(fields, nominated_fields(options))

    length = None if length_value is None else content_length(length_value, 400)
    chunked = False
    if coding is not None:
        if length_value is not None:
            raise BadMessage(400, "coding-and-length", "The request has Transfer-Encoding and Content-Length")
        check_coding(coding, minor, 400, 501)
        chunked = True

    return RequestFraming(
        fields,
        kinds,
        host,
        length,
        chunked,
        expect is not None and expects_continue(expect) and minor > 0 and (chunked or bool(length)),
        upgrade_protocol(upgrade) if upgrade is not None and minor and b"upgrade" in options else None,
        keep_alive,
    )


def split_response(raw: list[bytes], status: int, request_method: bytes, minor: int = 1) -> ResponseFraming:
    """Takes an upstream's answer apart. `request_method` is the method it answers.

    Fields of the kinds TUNNEL and ALIAS are dropped: only the tunnel itself may sound like the tunnel.

    Raises:
        BadMessage: 502; the connection to the upstream must be closed.
    """
    fields: list[bytes] = []
    kinds = 0
    upgrade = length_value = coding = None
    options: frozenset[bytes] = frozenset()
    pairs = iter(raw)
    for name, value in zip(pairs, pairs, strict=True):
        kind = KINDS[name]
        if not kind:
            fields.append(name)
            fields.append(value.strip())
            continue
        kinds |= kind
        if kind is _CONNECTION:
            try:
                options |= connection_options(value.strip())
            except BadMessage as error:
                raise BadMessage(502, error.reason, error.title) from None
        elif kind is _LENGTH:
            if length_value is not None:
                raise BadMessage(502, "length-repeated", "The answer has more than one Content-Length field")
            length_value = value.strip()
        elif kind is _CODING:
            coding = value if coding is None else coding + b"," + value
        elif kind is _UPGRADE:
            upgrade = value if upgrade is None else upgrade + b"," + value
        elif kind is _INVALID:
            raise BadMessage(502, "name-invalid", "A field's name is not a token")
        elif kind is not _TUNNEL and not kind & CONNECTION_LEVEL:
            fields.append(name)
            fields.append(value.strip())

    keep_alive = minor > 0
    if options:
        keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
        if not options <= PERSISTENCE:
            # Servers in the field nominate Transfer-Encoding and worse; what everyone needs stays.
            fields = _drop(fields, options - WELL_KNOWN)

    length = None if length_value is None else content_length(length_value, 502)
    if coding is not None and length_value is not None:
        raise BadMessage(502, "coding-and-length", "The answer has Transfer-Encoding and Content-Length")
    if coding is not None:
        check_coding(coding, minor, 502, 502)
    if status < 200 or status == 204:
        # RFC 9112 section 6.3: no body, whatever is announced; an upstream that announces one may send it.
        spoilt = coding is not None or bool(length)
        token = upgrade.strip() if status == 101 and upgrade is not None else None
        return ResponseFraming(
            fields, kinds, None, False, True, keep_alive and not spoilt and status != 101, token
        )
    bodyless = status == 304 or request_method == b"HEAD"
    chunked = coding is not None and not bodyless
    if length is None and not chunked and not bodyless:
        keep_alive = False
    return ResponseFraming(fields, kinds, length, chunked, bodyless, keep_alive, None)


def split_trailers(raw: list[bytes]) -> list[bytes]:
    """The trailer fields that may travel on; drops what frames, routes, authenticates or describes a message.

    RFC 9110 section 6.5.1. Values are trimmed as in a head.
    """
    kept: list[bytes] = []
    pairs = iter(raw)
    for name, value in zip(pairs, pairs, strict=True):
        if KINDS[name] is Kind.END_TO_END and name.lower() not in WELL_KNOWN:
            kept.append(name)
            kept.append(value.strip())
    return kept


def _drop(fields: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    pairs = iter(fields)
    return [
        item
        for name, value in zip(pairs, pairs, strict=True)
        if name.lower() not in names
        for item in (name, value)
    ]
