"""An HTTP/1.1 client on a bare socket: the test gives exact bytes and sees exact bytes.

It parses strictly and reports how an answer ended; nothing is repaired.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import Literal

from tests.support.waiting import PATIENCE

Closing = Literal["fin", "reset"]


class BrokenAnswer(AssertionError):
    """The answer is not valid HTTP/1.1."""


class Truncated(Exception):
    """The connection ended inside an answer. `answer` is what arrived, `closing` how it ended."""

    def __init__(self, answer: Answer | None, closing: Closing) -> None:
        super().__init__(f"the connection ended inside an answer ({closing})")
        self.answer = answer
        self.closing = closing


@dataclass
class Answer:
    """One answer as it came over the wire. `fields` keep order, spelling and repetition."""

    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    raw_head: bytes
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[Answer] = field(default_factory=list)
    chunk_sizes: list[int] = field(default_factory=list)
    complete: bool = False

    def all(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for key, value in self.fields if key.lower() == wanted]

    def get(self, name: str) -> str | None:
        """The only value of a field, None when missing; a repeated field is an error here."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times: {values!r}"
        return values[0].decode("latin-1") if values else None

    def has(self, name: str) -> bool:
        return bool(self.all(name))

    def json(self) -> dict[str, object]:
        import json

        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class RawClient:
    """One connection. Reading methods fail with TimeoutError after `timeout` seconds without a byte."""

    def __init__(
        self,
        port: int,
        *,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        """source: the address of this machine to come from, such as 127.0.0.2: another caller."""
        self._sock: socket.socket = socket.socket()
        if receive_buffer is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._sock.settimeout(timeout * PATIENCE)
        try:
            if source is not None:
                self._sock.bind((source, 0))
            self._sock.connect(("127.0.0.1", port))
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._sock = tls.wrap_socket(self._sock, server_hostname="127.0.0.1")
        except BaseException:
            self._sock.close()
            raise
        self._buffer = bytearray()
        self._closing: Closing | None = None

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def send_slowly(self, data: bytes, piece: int = 1) -> None:
        """Send in pieces of `piece` bytes, each in a segment of its own."""
        for start in range(0, len(data), piece):
            self._sock.sendall(data[start : start + piece])

    def half_close(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def abort(self) -> None:
        """Close with a TCP reset."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def readable(self, seconds: float) -> bool:
        """Whether a byte, or the end, is there or comes within `seconds`."""
        return bool(self._buffer) or bool(select.select([self._sock], [], [], seconds * PATIENCE)[0])

    def timeout(self, seconds: float) -> None:
        self._sock.settimeout(seconds * PATIENCE)

    def read_some(self) -> bytes:
        """Bytes as they come; empty at the end of the connection."""
        if not self._buffer:
            self._fill()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read_exactly(self, number: int) -> bytes:
        while len(self._buffer) < number:
            if not self._fill():
                raise Truncated(None, self._closing or "fin")
        data = bytes(self._buffer[:number])
        del self._buffer[:number]
        return data

    def read_to_end(self) -> tuple[bytes, Closing]:
        """Everything up to the end of the connection, and how it ended."""
        while self._fill():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data, self._closing or "fin"

    def expect_closed(self) -> Closing:
        """The far end closes without a further byte."""
        data, closing = self.read_to_end()
        assert data == b"", f"unexpected bytes before the end: {data[:200]!r}"
        return closing

    def request(self, data: bytes, method: str = "GET") -> Answer:
        """Send the bytes of a request and read the answer to it."""
        self.send(data)
        return self.answer(method)

    def start(
        self, method: str, target: str, *fields: str, host: str = "visits.internal", body: bytes = b""
    ) -> None:
        """Send the head of a request (`fields` are lines `Name: value`) and the bytes `body` after it."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    def get(self, target: str, *fields: str, host: str = "visits.internal") -> Answer:
        self.start("GET", target, *fields, host=host)
        return self.answer()

    def answer(self, method: str = "GET") -> Answer:
        """The next answer with its whole body. 1xx (but 101) are gathered in `interim`."""
        answer = self.head()
        try:
            self._body(answer, method)
        except Truncated as cut:
            cut.answer = answer
            raise
        answer.complete = True
        return answer

    def head(self) -> Answer:
        """The next final answer's head (and what came before it); the body stays unread."""
        interim: list[Answer] = []
        while True:
            try:
                answer = self._head()
            except Truncated as cut:
                cut.answer = None
                raise
            if answer.status < 200 and answer.status != 101:
                interim.append(answer)
                continue
            answer.interim = interim
            return answer

    def interim(self) -> Answer:
        """The next head, which is to be a 1xx."""
        answer = self._head()
        assert 100 <= answer.status < 200, f"expected a 1xx, got {answer.raw_head!r}"
        return answer

    def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty for the last one (trailers stay unread)."""
        size = self._chunk_size()
        if size == 0:
            return b""
        data = self.read_exactly(size)
        self._crlf()
        return data

    # -- inside ---------------------------------------------------------------------------------

    def _fill(self) -> bool:
        if self._closing is not None:
            return False
        try:
            data = self._sock.recv(256 * 1024)
        except ssl.SSLEOFError:
            self._closing = "reset"  # no close_notify: a visible abort
            return False
        except (ConnectionError, ssl.SSLError):
            self._closing = "reset"
            return False
        if not data:
            self._closing = "fin"
            return False
        self._buffer += data
        return True

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if b"\n" in self._buffer:
                raise BrokenAnswer(f"bare LF in {bytes(self._buffer[:200])!r}")
            if not self._fill():
                raise Truncated(None, self._closing or "fin")
        line = bytes(self._buffer[:end])
        if b"\n" in line or b"\r" in line:
            raise BrokenAnswer(f"bare CR or LF in {line!r}")
        del self._buffer[: end + 2]
        return line

    def _head(self) -> Answer:
        first = self._line()
        version, _, rest = first.partition(b" ")
        status, space, reason = rest.partition(b" ")
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not space or len(status) != 3 or not status.isdigit():
            raise BrokenAnswer(f"not a status line: {first!r}")
        raw = [first]
        fields = self._fields(raw)
        return Answer(int(status), reason, fields, b"\r\n".join(raw) + b"\r\n\r\n")

    def _fields(self, raw: list[bytes]) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = []
        while line := self._line():
            raw.append(line)
            name, colon, value = line.partition(b":")
            if not colon or not name or name != name.strip() or b"\r" in line or b"\0" in line:
                raise BrokenAnswer(f"not a field line: {line!r}")
            fields.append((name, value.strip(b" \t")))
        return fields

    def _body(self, answer: Answer, method: str) -> None:
        coding = answer.all("transfer-encoding")
        length = answer.all("content-length")
        if coding and length:
            raise BrokenAnswer("both Transfer-Encoding and Content-Length")
        if answer.status == 101 or method == "HEAD" or answer.status in (204, 304):
            if answer.status == 204 and (coding or length):
                raise BrokenAnswer("204 with framing fields")
            return
        if coding:
            assert coding == [b"chunked"], coding
            parts: list[bytes] = []
            try:
                while size := self._chunk_size():
                    answer.chunk_sizes.append(size)
                    parts.append(self.read_exactly(size))
                    self._crlf()
                answer.trailers = self._fields([])
            finally:
                answer.body = b"".join(parts)
        elif length:
            if len(length) != 1 or not length[0].isdigit():
                raise BrokenAnswer(f"Content-Length {length!r}")
            try:
                answer.body = self.read_exactly(int(length[0]))
            except Truncated:
                answer.body = bytes(self._buffer)
                raise
        else:
            answer.body, closing = self.read_to_end()
            if closing == "reset":
                raise Truncated(answer, closing)

    def _chunk_size(self) -> int:
        line = self._line().partition(b";")[0]
        try:
            if not line or line.strip(b"0123456789abcdefABCDEF"):
                raise ValueError
            return int(line, 16)
        except ValueError:
            raise BrokenAnswer(f"not a chunk size: {line!r}") from None

    def _crlf(self) -> None:
        if self.read_exactly(2) != b"\r\n":
            raise BrokenAnswer("no CRLF after a chunk")
