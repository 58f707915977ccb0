"""An upstream's answer: bytes in; head, body and end out (RFC 9112). No input or output.

llhttp, in its strict default, parses heads and chunked bodies; each head gets a parser of its own (0.3 µs),
so that nothing can leak from one answer into the next. Bodies with a length, up to the end of the connection
or after an upgrade are counted here and never copied.
"""

from __future__ import annotations

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from protocol.http.fields import BadMessage, split_response, split_trailers

from .timeouts import Limits

_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _PIPE, _OVER = range(6)

_HEAD_END: Final = b"\r\n\r\n"
_START: Final = b"HTTP/1."
_CHUNK_SHARE: Final = 16
"""Chunk headers this many times as long as the body do not yet count against Limits.head_bytes."""

_is_reason = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch


class InvalidAnswer(ValueError):
    """The upstream broke a rule of HTTP; the message is one phrase without any of the answer's own text."""


class AnswerReader:
    """Reads the answer to one request. Make a new one for each.

    Call `feed` for every read, then look at the public attributes: they tell what that read brought. `eof`
    tells what the end of the connection means.
    """

    __slots__ = (
        "_asked",
        "_chunks",
        "_interims",
        "_left",
        "_limits",
        "_method",
        "_overhead",
        "_parser",
        "_partial",
        "_phase",
        "_raw",
        "_tail",
        "body",
        "ended",
        "fields",
        "interims",
        "length",
        "new_head",
        "reason",
        "reusable",
        "status",
        "trailers",
    )

    def __init__(self, method: bytes, upgrade: bytes | None, limits: Limits) -> None:
        """method, upgrade: of the request that is answered."""
        self._method = method
        self._asked = upgrade
        self._limits = limits
        self._phase = _HEAD
        self._partial = b""  # all of a head that is not complete
        self._interims = 0
        self._parser: HttpResponseParser | None = None
        self.new_head = False
        """This read completed the final answer's head: `status`, `reason`, `fields` and `length` are set."""
        self.interims: list[tuple[int, list[bytes]]] = []
        """The 1xx answers that this read brought."""
        self.ended = False
        """The answer is complete; `trailers` are set."""
        self.reusable = True
        """Once `ended`: whether the connection may carry another exchange."""
        self.reason = b""

    @property
    def begun(self) -> bool:
        """Whether any byte of the final answer has come."""
        return self._phase != _HEAD or bool(self._partial)

    def feed(self, data: bytes) -> None:
        """Take one read; afterwards `body` is what it brought of the body.

        Raises:
            InvalidAnswer: the connection must be closed, the attributes mean nothing any more.
        """
        if self.interims:
            self.interims = []
        phase = self._phase
        if phase == _LENGTH and len(data) < self._left:
            self._left -= len(data)
            self.new_head = False
            self.body = data
            return
        if phase == _HEAD:
            self._feed_head(data)
            return
        self.new_head = False
        if phase == _CHUNKED:
            self._feed_chunks(data)
        elif phase == _LENGTH:
            self._feed_last(data, self._left)
        elif phase == _OVER:
            self.reusable = False
            self.body = b""
        else:
            self.body = data

    def eof(self) -> bool:
        """The upstream sends no more. True: that is the answer's regular end; False: it broke off."""
        if self._phase in (_UNTIL_CLOSE, _PIPE):
            self._end([])
        self.reusable = False
        return self.ended

    # -- heads --------------------------------------------------------------------------------------

    def _feed_head(self, data: bytes) -> None:
        self.body = b""
        self.new_head = False
        while True:
            seen = len(self._partial)
            parser = self._parser
            if parser is not None:
                whole = self._partial + data
                end = whole.find(_HEAD_END, max(seen - 3, 0)) + 4
            else:
                whole = data
                self._raw: list[bytes] = []
                parser = HttpResponseParser(self)
                end = whole.find(_HEAD_END) + 4
            if whole[:7] != _START[: len(whole)]:
                raise InvalidAnswer("the answer does not begin with HTTP/1")
            complete = end > 3
            if not complete:
                end = len(whole)
            if end > self._limits.head_bytes:
                raise InvalidAnswer("the answer's head is too long")
            switching = False
            try:
                parser.feed_data(whole[seen:end])
            except HttpParserUpgrade:
                switching = True
            except HttpParserError as error:
                raise InvalidAnswer(f"the answer's head is not valid: {error}") from None
            if not complete:
                self._partial = whole
                self._parser = parser
                return
            self._partial = b""
            self._parser = None
            rest = whole[end:]
            if self._read_head(parser, whole[7] & 1, rest, switching) or not rest:
                return
            data = rest  # behind an interim answer

    def _read_head(self, parser: HttpResponseParser, minor: int, rest: bytes, switching: bool) -> bool:
        """Act on a complete head. False: it was an interim one and another head follows."""
        raw = self._raw
        status = parser.get_status_code()
        if len(raw) > 2 * self._limits.head_fields:
            raise InvalidAnswer("the answer has too many fields")
        if not _is_reason(self.reason):
            raise InvalidAnswer("the answer's reason phrase holds a control character")
        try:
            framing = split_response(raw, status, self._method, minor)
        except BadMessage as error:
            raise InvalidAnswer(error.title) from None
        if not minor:
            self.reusable = False
        if status < 200:
            if status != 101:
                self._add_interim(status, framing.fields, framing.keep_alive)
                return False
            self._check_switch(framing.upgrade if switching else None)
            self._phase = _PIPE
            self.reusable = False
            self.body = rest
        elif framing.bodyless:
            self._end([])
            self.reusable = self.reusable and framing.keep_alive and not rest
        elif framing.chunked:
            self._phase = _CHUNKED
            self._parser = parser
            self._raw = []
            self._overhead = 0
            self._tail = b""
            self.reusable = self.reusable and framing.keep_alive
            if rest:
                self._feed_chunks(rest)
        elif framing.length is not None:
            self.reusable = self.reusable and framing.keep_alive
            self._feed_last(rest, framing.length)
        else:
            self._phase = _UNTIL_CLOSE
            self.reusable = False
            self.body = rest
        self.new_head = True
        self.status = status
        self.fields = framing.fields
        self.length = framing.length
        return True

    def _add_interim(self, status: int, fields: list[bytes], keep_alive: bool) -> None:
        self._interims += 1
        if status < 100:
            raise InvalidAnswer("the answer's status is below 100")
        if self._interims > self._limits.interims:
            raise InvalidAnswer("too many interim answers")
        self.interims.append((status, fields))
        self.reusable = self.reusable and keep_alive
        self.reason = b""

    def _check_switch(self, token: bytes | None) -> None:
        if self._asked is None:
            raise InvalidAnswer("the upstream switched protocols unasked")
        if token is None or token.lower() != self._asked.lower():
            raise InvalidAnswer("the upstream switched to another protocol than asked for")

    # -- bodies -------------------------------------------------------------------------------------

    def _feed_last(self, data: bytes, left: int) -> None:
        """Take body bytes of which `left` are still to come; more than that spoils the connection."""
        missing = left - len(data)
        if missing > 0:
            self._left = missing
            self._phase = _LENGTH
            self.body = data
            return
        if missing < 0:
            self.reusable = False
            data = data[:left]
        self.body = data
        self._end([])

    def _feed_chunks(self, data: bytes) -> None:
        parser = self._parser
        assert parser is not None
        chunks: list[bytes] = []
        self._chunks = chunks
        try:
            parser.feed_data(data)
        except HttpParserError as error:
            if not self.ended:
                raise InvalidAnswer(f"the answer's chunked body is not valid: {error}") from None
            self.reusable = False
        body = self.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._overhead += len(data) - (_CHUNK_SHARE + 1) * len(body)
        if self._overhead > self._limits.head_bytes:
            raise InvalidAnswer("the answer's chunk headers or trailers are too long")
        tail = data if len(data) >= 6 else (self._tail + data)[-6:]
        if not self.ended:
            self._tail = tail[-6:]
            return
        if len(self.trailers) > 2 * self._limits.head_fields:
            raise InvalidAnswer("the answer has too many trailers")
        # Another answer behind this one calls on_message_begin; mere line ends are seen only here.
        if not tail.endswith(_HEAD_END) or tail.endswith(b"\r\n\r\n\r\n"):
            self.reusable = False
        self._end(split_trailers(self.trailers) if self.trailers else self.trailers)

    def _end(self, trailers: list[bytes]) -> None:
        self._phase = _OVER
        self.ended = True
        self.trailers = trailers
        self._parser = None

    # -- called by the parser -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.ended:
            self.reusable = False

    def on_status(self, reason: bytes) -> None:
        if not self.ended:  # else it is a surplus answer's
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._raw.append(name)
        self._raw.append(value)

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        if self._phase == _CHUNKED and not self.ended:
            self.ended = True
            self.trailers = self._raw
            self._raw = []  # what a surplus answer brings goes to lists that nobody reads
            self._chunks = []
