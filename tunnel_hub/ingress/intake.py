"""From bytes to requests and their bodies, however the bytes are cut into reads. No I/O, no time of its own.

The connection says what it expects next, a head or the current request's body; what follows that is in `rest`.
"""

from __future__ import annotations

from .chunks import ChunkedBody
from .heads import HeadParser, Memo
from .limits import IngressLimits
from .request import Request

_BLANK_LINE = b"\r\n\r\n"
_CR = 13


class Intake:
    """The receiving half of one connection. `BadMessage` from any method means that it cannot go on."""

    __slots__ = ("_chunks", "_left", "_limits", "_parser", "_scanned", "partial", "rest", "trailers")

    def __init__(self, limits: IngressLimits, memo: Memo | None = None) -> None:
        """memo: shared by connections with the same limits."""
        self._limits = limits
        self._parser = HeadParser(limits, memo)
        self._scanned = 0
        self._left = 0
        self._chunks: ChunkedBody | None = None
        self.partial = bytearray()
        """A head that is not complete yet."""
        self.rest = b""
        """What `head` (when it returned a request) or `body` (when it ended) left of the data."""
        self.trailers: list[bytes] = []
        """Of the body that `body` has just ended."""

    def head(self, data: bytes, now: float) -> Request | None:
        """The request whose head `data` completes, with what `data` holds of its body; None: more is needed.

        Raises `BadMessage` as `HeadParser.parse` and `ChunkedBody.feed` do.
        """
        partial = self.partial
        if partial:
            partial += data
            if partial[0] != _CR and partial.find(_BLANK_LINE, max(0, self._scanned - 3)) < 0:
                self._check_partial()
                return None
            data = bytes(partial)
            partial.clear()
        if data[0] == _CR:
            data = _without_empty_lines(data)
        end = data.find(_BLANK_LINE) + 4
        if end < 4:
            partial += data
            self._scanned = 0
            if data and data != b"\r":
                self._check_partial()
            return None
        size = len(data)
        request = self._parser.parse(data if end == size else data[:end], now)
        if request.length:
            end = self._begin_counted(request, data, end)
        elif request.chunked:
            end = self._begin_chunks(request, data, end)
        self.rest = b"" if end == size else data[end:]
        return request

    def body(self, data: bytes) -> tuple[bytes, bool]:
        """The payload in `data` of the body that `head` began, and whether it ends the body.

        Raises `BadMessage` as `ChunkedBody.feed` does.
        """
        self.rest = b""
        chunks = self._chunks
        if chunks is None:
            # A body of known length does not pass through a parser: its bytes are counted.
            left = self._left = self._left - len(data)
            if left > 0:
                return data, False
            self.trailers = []
            if left:
                data, self.rest = data[:left], data[left:]
            return data, True
        payload, end = chunks.feed(data)
        if end is None:
            return payload, False
        self._chunks = None
        self.trailers = chunks.trailers()
        self.rest = data[end:]
        return payload, True

    def _begin_counted(self, request: Request, data: bytes, start: int) -> int:
        assert request.length is not None
        end = start + request.length
        request.body = data[start:end]
        self._left = end - len(data)
        request.complete = self._left <= 0
        return end if request.complete else len(data)

    def _begin_chunks(self, request: Request, data: bytes, start: int) -> int:
        chunks = ChunkedBody(self._limits)
        request.body, end = chunks.feed(data[start:])
        if end is None:
            self._chunks = chunks
            request.complete = False
            return len(data)
        request.trailers = chunks.trailers()
        return start + end

    def _check_partial(self) -> None:
        self._parser.check_partial(self.partial, self._scanned)
        self._scanned = len(self.partial)


def _without_empty_lines(data: bytes) -> bytes:
    """`data` less the empty lines before a request line (RFC 9112 section 2.2)."""
    rest = data.lstrip(b"\r\n")
    skipped = len(data) - len(rest)
    if data[:skipped] == b"\r\n" * (skipped // 2):
        return rest
    if not rest and skipped % 2 and data[:-1] == b"\r\n" * (skipped // 2):
        return b"\r"  # the first half of one more
    return data
