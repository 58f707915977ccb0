"""From the bytes of one request head to a `Request`, or a refusal.

llhttp takes the lines apart and refuses broken ones; the request line is checked here as well, because llhttp lets
through several spaces, HTTP/0.9 and other protocols' names (RFC 9112 section 3).
"""

from __future__ import annotations

import re

import httptools

from protocol.http.fields import BadMessage, Kind, RequestFraming, split_request
from protocol.http.target import BadTarget, parse_request_target

from .limits import IngressLimits
from .request import Request

LINE_SLACK = 64
"""What a request line has room for besides its target: the method, two spaces and the version."""

MEMO_ENTRIES = 512
MEMO_BYTES = 2048

_USUAL_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"))
_is_usual_target = re.compile(rb"/[A-Za-z0-9/._~!$&'()*+,;=:@?%-]*+").fullmatch
_MARKS = Kind.CONNECTION | Kind.HOP_BY_HOP
_MINOR = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_is_version = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch
_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_starts_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]").match


class _Sink:
    """The fields that llhttp read."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields += (name, value)


class Memo(dict[tuple[int, bytes], RequestFraming]):
    """What field sections meant that were seen before: a kept connection sends the same one with each request.

    Equal bytes mean equal fields, so nothing is decided here that the parser has not decided. Bounded; holds what
    callers sent, credentials included, as the connections' own buffers do.
    """

    def remember(self, key: tuple[int, bytes], framing: RequestFraming) -> None:
        """Keep `framing`, which is not changed afterwards."""
        if len(key[1]) <= MEMO_BYTES:
            if len(self) >= MEMO_ENTRIES:
                self.clear()
            self[key] = framing


class HeadParser:
    """Parses one head after the other, each whole; what it refuses raises `BadMessage`, and is the last.

    Bodies never pass through here: the connection counts them, or `ChunkedBody` decodes them.
    """

    __slots__ = ("_limits", "_memo", "_parser", "_sink")

    def __init__(self, limits: IngressLimits, memo: Memo | None = None) -> None:
        """memo: shared by connections with the same limits."""
        self._limits = limits
        self._memo = Memo() if memo is None else memo
        self._sink = _Sink()
        self._parser: httptools.HttpRequestParser | None = None

    def parse(self, head: bytes, now: float) -> Request:
        """`head` ends with its empty line. Raises `BadMessage`: 400, 405, 413, 414, 417, 431, 501 or 505."""
        limits = self._limits
        line_end = head.find(b"\r\n")
        method, target, minor = self.request_line(head[:line_end])
        if len(head) > limits.head:
            raise BadMessage(431, "head-too-large", "The request's header section is too large")
        key = (minor, head[line_end:])
        framing = self._memo.get(key)
        # llhttp checks methods and targets as well; these it is known to take.
        if framing is None or method not in _USUAL_METHODS or not _is_usual_target(target):
            framing = self._read_fields(head, minor)
            self._memo.remember(key, framing)
        try:
            target, authority = parse_request_target(method, target)
        except BadTarget as error:
            raise BadMessage(400, "target-invalid", str(error)) from None
        length = framing.length
        if length is not None and length > limits.length:
            raise BadMessage(413, "length-too-large", "The request body is too large")
        upgrade = framing.upgrade
        if length or framing.chunked:
            upgrade = None  # which is always allowed, and no protocol in use sends a body before its upgrade
        return Request(
            method,
            target,
            framing.host if authority is None else authority,
            minor,
            framing.fields.copy(),
            framing.kinds,
            length,
            framing.chunked,
            framing.expect_continue,
            upgrade,
            framing.keep_alive,
            now,
        )

    def _read_fields(self, head: bytes, minor: int) -> RequestFraming:
        """Let llhttp read the head. Raises `BadMessage`."""
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self._sink)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # whether it is one is decided from the fields, by the same rules at both ends of the tunnel
        except httptools.HttpParserError as error:
            raise _refusal(error) from None
        raw = self._sink.fields
        if len(raw) > 2 * self._limits.fields:
            raise BadMessage(431, "fields-too-many", "The request has too many header fields")
        framing = split_request(raw, minor)
        raw.clear()
        if framing.length or framing.chunked or not minor or framing.kinds & _MARKS:
            # It waits for a body that it will not see, or may take the connection for closed or upgraded.
            self._parser = None
        return framing

    def request_line(self, line: bytes) -> tuple[bytes, bytes, int]:
        """Method, raw target and minor version of a request line given without its CRLF.

        Raises `BadMessage`: 400, 405, 414, 501 or 505.
        """
        limit = self._limits.target
        if len(line) > limit + LINE_SLACK:
            raise BadMessage(414, "target-too-long", "The request target is too long")
        parts = line.split(b" ")
        if len(parts) != 3 or not _is_token(parts[0]) or not parts[1]:
            raise BadMessage(400, "request-line", "The request line is not a method, a target and a version")
        method, target, version = parts
        minor = _MINOR.get(version)
        if minor is None:
            if _is_version(version):
                raise BadMessage(505, "version", "The hub speaks HTTP/1.1 and HTTP/1.0")
            raise BadMessage(400, "request-line", "The request line does not end with an HTTP version")
        if method in (b"CONNECT", b"TRACE"):
            raise BadMessage(405, "method", "The hub does not carry CONNECT and TRACE")
        if len(target) > limit:
            raise BadMessage(414, "target-too-long", "The request target is too long")
        if b"#" in target:
            raise BadMessage(400, "target-invalid", "The request target holds a fragment")
        return method, target, minor

    def check_partial(self, held: bytearray, checked: int) -> None:
        """Refuse early what cannot become a head, so that its sender need not wait for a timeout.

        `held` has no empty line yet; its first `checked` bytes have been looked at before. Raises `BadMessage`.
        """
        limits = self._limits
        if not _starts_token(held):
            raise BadMessage(400, "request-line", "The request does not begin with a method")
        if _bare_lf(held, checked):
            self.parse(bytes(held), 0.0)
            raise BadMessage(400, "bare-lf", "A line of the request's head does not end with CRLF")
        end = held.find(b"\r\n", 0, limits.target + LINE_SLACK + 2)
        if end >= 0:
            self.request_line(bytes(held[:end]))
        elif len(held) > limits.target + LINE_SLACK + 1:
            raise BadMessage(414, "target-too-long", "The request target is too long")
        if len(held) > limits.head:
            raise BadMessage(431, "head-too-large", "The request's header section is too large")


def _bare_lf(held: bytearray, start: int) -> bool:
    at = held.find(b"\n", start)
    while at >= 0:
        if at == 0 or held[at - 1] != 13:
            return True
        at = held.find(b"\n", at + 1)
    return False


def _refusal(error: httptools.HttpParserError) -> BadMessage:
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return BadMessage(501, "method-unknown", "The hub does not implement this method")
    if isinstance(error, httptools.HttpParserInvalidURLError):
        return BadMessage(400, "target-invalid", "The request target holds a character that a URI must encode")
    return BadMessage(400, "head-malformed", "A line of the request's head is malformed")
