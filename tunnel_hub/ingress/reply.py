"""The answer to one request, as bytes: status line, framing, chunks, trailers (RFC 9112).

A reply belongs to one exchange and forgets its connection when the answer is complete, so that a late call of one
exchange can never reach the answer of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.http.fields import InvalidFields, serialise
from protocol.http.head import REASONS, InvalidHead, status_line

if TYPE_CHECKING:
    from .connection import CallerConnection
    from .request import Request

JOIN_BYTES = 16 * 1024
"""A body up to this size is copied behind its head; a larger one travels as a buffer of its own."""

_BEFORE, _STREAMING, _PIPE, _ENDED = range(4)


class CallerReply:
    """Implements the seam `Reply` (request.py). Made by the connection for each request."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_left",
        "_mute",
        "_request",
        "_stage",
        "bytes_sent",
        "certificate",
        "closing",
        "peer",
    )

    def __init__(self, connection: CallerConnection, request: Request) -> None:
        self._connection: CallerConnection | None = connection
        self._request = request
        self._stage = _BEFORE
        self._mute = False
        self._chunked = False
        self._left: int | None = None
        self.closing = not request.keep_alive
        """The connection closes after this answer."""
        self.peer = connection.peer
        self.certificate = connection.certificate
        self.bytes_sent = 0

    @property
    def begun(self) -> bool:
        """Whether the final answer's head was written."""
        return self._stage != _BEFORE

    def detach(self) -> None:
        """The caller is gone, or the answer is complete: every later call does nothing."""
        self._connection = None
        self._stage = _ENDED

    # -- what the exchange calls ------------------------------------------------------------------------------

    def interim(self, status: int, fields: list[bytes]) -> None:
        connection = self._connection
        if connection is None or self._stage != _BEFORE or not self._request.minor:
            return
        if not 100 <= status < 200 or status == 101:
            self._spoilt(connection, end=False)
            return
        try:
            block = serialise(fields)
        except InvalidFields:
            return  # an interim answer may be left out, and the final one is still to come
        connection.write(b"%b%b\r\n" % (status_line(status, REASONS.get(status, b"")), block))
        if status == 100:
            connection.continue_sent()

    def head(
        self, status: int, reason: bytes, fields: list[bytes], length: int | None, body: bytes, end: bool
    ) -> bool:
        connection = self._connection
        if connection is None:
            return True
        if self._stage != _BEFORE:
            raise RuntimeError("an answer has one head")
        request = self._request
        if status == 101:
            return self._switch(connection, reason, fields, body, end)
        try:
            lines = [status_line(status, reason), serialise(fields)]
        except (InvalidHead, InvalidFields):
            return self._spoilt(connection, end)
        if status < 200:
            return self._spoilt(connection, end)
        if status in (204, 304) or request.method == b"HEAD":
            self._mute = True
            body = b""
            if status == 204:
                length = None
        elif end:
            if length is not None and length != len(body):
                return self._spoilt(connection, end)
            length = len(body)
        elif length is not None:
            if len(body) > length:
                return self._spoilt(connection, end)
            self._left = length - len(body)
        elif request.minor:
            self._chunked = True
        else:
            self.closing = True  # HTTP/1.0: the end of the connection is the end of the body
        self._frame(connection, lines, length)
        sent = self.bytes_sent = len(body)
        if self._chunked and sent:
            lines.append(b"%x\r\n" % sent)
        if sent <= JOIN_BYTES:
            lines.append(body)
            if self._chunked and sent:
                lines.append(b"\r\n")
            connection.write(b"".join(lines))
        else:
            connection.write_all((b"".join(lines), body, b"\r\n" if self._chunked else b""))
        self._stage = _STREAMING
        if end:
            self._complete(connection)
        return not connection.write_paused

    def body(self, data: bytes) -> bool:
        connection = self._connection
        if connection is None or self._stage == _ENDED:
            return True
        if self._stage == _BEFORE:
            raise RuntimeError("an answer begins with its head")
        size = len(data)
        if size and not self._mute:
            if self._left is not None:
                if size > self._left:
                    connection.reset()
                    return True
                self._left -= size
            self.bytes_sent += size
            if not self._chunked:
                connection.write(data)
            elif size <= JOIN_BYTES:
                connection.write(b"%x\r\n%b\r\n" % (size, data))
            else:
                connection.write_all((b"%x\r\n" % size, data, b"\r\n"))
        return not connection.write_paused

    def end(self, trailers: list[bytes]) -> None:
        connection = self._connection
        if connection is None or self._stage == _ENDED:
            return
        if self._stage == _BEFORE:
            raise RuntimeError("an answer begins with its head")
        if self._stage == _PIPE:
            self._stage = _ENDED  # but the caller may go on sending
            connection.pipe_ended()
            return
        if self._left:
            connection.reset()
            return
        if self._chunked:
            try:
                connection.write(b"0\r\n%b\r\n" % serialise(trailers))
            except InvalidFields:
                connection.reset()
                return
        self._complete(connection)

    def abort(self) -> None:
        if self._connection is not None:
            self._connection.reset()

    def pause_body(self) -> None:
        if self._connection is not None:
            self._connection.pause_body()

    def resume_body(self) -> None:
        if self._connection is not None:
            self._connection.resume_body()

    def close_after(self) -> None:
        self.closing = True

    # -- inside -----------------------------------------------------------------------------------------------

    def _frame(self, connection: CallerConnection, lines: list[bytes], length: int | None) -> None:
        """Append what frames the message and says whether the connection stays, and the empty line."""
        names = lines[1].lower()
        if not names.startswith(b"date:") and b"\ndate:" not in names:
            lines.append(connection.context.date_line())
        if length is not None:
            lines.append(b"Content-Length: %d\r\n" % length)
        elif self._chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if not self.closing and not connection.may_continue():
            self.closing = True
        if self.closing:
            lines.append(b"Connection: close\r\n\r\n")
        elif self._request.minor:
            lines.append(b"\r\n")
        else:
            lines.append(b"Connection: keep-alive\r\n\r\n")

    def _complete(self, connection: CallerConnection) -> None:
        self.detach()
        connection.answered(self)

    def _switch(
        self, connection: CallerConnection, reason: bytes, fields: list[bytes], body: bytes, end: bool
    ) -> bool:
        """101: the connection becomes a byte pipe; `body` is the first of it."""
        upgrade = self._request.upgrade
        if upgrade is None:
            return self._spoilt(connection, end)
        try:
            lines = [status_line(101, reason), serialise(fields)]
        except (InvalidHead, InvalidFields):
            return self._spoilt(connection, end)
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % upgrade)
        lines.append(body)
        self.bytes_sent = len(body)
        connection.write(b"".join(lines))
        self._stage = _PIPE
        connection.become_pipe()
        return not connection.write_paused

    @staticmethod
    def _spoilt(connection: CallerConnection, end: bool) -> bool:
        """The exchange's answer cannot be written: the caller gets a 502 in its place."""
        connection.answer_spoilt(end=end)
        return True
