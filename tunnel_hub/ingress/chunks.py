"""Decodes one chunked request body (RFC 9112 section 7.1) and finds the exact byte where it ends.

llhttp decodes; it does not say where in its input a message ended. The last byte of a chunked message always ends
a CRLF CRLF, so the input is fed up to each of those, and the end is where llhttp says that the message is
complete.
"""

from __future__ import annotations

import httptools

from protocol.http.fields import BadMessage, split_trailers

from .limits import IngressLimits

_BLANK_LINE = b"\r\n\r\n"
_PRIMER = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

SLICE = 16 * 1024
"""llhttp gets no more at a time, so that a long stretch without payload shows, however much one read brings."""


class _Sink:
    """What llhttp found."""

    __slots__ = ("complete", "fields", "on_body", "pieces")

    def __init__(self) -> None:
        self.complete = False
        self.fields: list[bytes] = []
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields += (name, value)

    def on_message_complete(self) -> None:
        self.complete = True


class ChunkedBody:
    """One body. Call `feed` with what follows the head until it says that the body is complete."""

    __slots__ = ("_idle", "_limits", "_parser", "_sink", "_tail")

    def __init__(self, limits: IngressLimits) -> None:
        self._limits = limits
        self._sink = _Sink()
        self._parser = httptools.HttpRequestParser(self._sink)
        self._parser.feed_data(_PRIMER)
        self._sink.fields.clear()
        self._tail = b""
        self._idle = 0

    def feed(self, data: bytes) -> tuple[bytes, int | None]:
        """The payload in `data`, and where in `data` the body ended, or None if it goes on.

        Chunk extensions are dropped; like trailers they are bounded by `limits.head`, give or take a slice.
        Raises `BadMessage` (400 or 431): the connection cannot be used any more.
        """
        sink, view = self._sink, memoryview(data)
        start, end = 0, self._straddling(data)
        while not sink.complete and start < len(data):
            if end <= start:
                found = data.find(_BLANK_LINE, start)
                end = found + 4 if found >= 0 else len(data)
            stop = min(end, start + SLICE)
            self._feed(view[start:stop])
            start = stop
        payload = sink.pieces[0] if len(sink.pieces) == 1 else b"".join(sink.pieces)
        sink.pieces.clear()
        return payload, start if sink.complete else None

    def trailers(self) -> list[bytes]:
        """The trailer fields that may travel on, once the body is complete."""
        return split_trailers(self._sink.fields)

    def _straddling(self, data: bytes) -> int:
        """Where a CRLF CRLF that began in the previous read ends in this one; 0 when none does."""
        seam = self._tail + data[:3]
        found = seam.find(_BLANK_LINE)
        end = found + 4 - len(self._tail) if found >= 0 else 0
        self._tail = data[-3:] if len(data) >= 3 else seam[-3:]
        return end

    def _feed(self, view: memoryview) -> None:
        sink = self._sink
        pieces = len(sink.pieces)
        try:
            self._parser.feed_data(view)
        except httptools.HttpParserError:
            raise BadMessage(400, "chunk-invalid", "The request's chunked body is malformed") from None
        self._idle = 0 if len(sink.pieces) != pieces else self._idle + len(view)
        if self._idle > self._limits.head or len(sink.fields) > 2 * self._limits.fields:
            raise BadMessage(431, "trailers-too-large", "A trailer section or chunk extension is too large")
