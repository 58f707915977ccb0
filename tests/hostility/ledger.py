"""An upstream that takes every byte for what it is: each request is read strictly and judged at once.

What it sees goes to `seen`; whatever must not have come to `problems`. The path decides how it answers: `hang`
never does, `deaf` stops reading for a while, `close` breaks off, `big` and `chunked` are bodies, `ws` upgrades.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.support.loop import backstage, close_server

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[!-~]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)")
_SIZE = re.compile(rb"[0-9a-f]{1,8}")
NEVER: Final = frozenset(
    (
        *(
            b"te",
            b"keep-alive",
            b"proxy-connection",
            b"proxy-authorization",
            b"proxy-authenticate",
            b"trailer-evil",
        ),
        *(b"x-original-url", b"x-rewrite-url", b"x-http-method", b"x-http-method-override", b"x-method-override"),
    )
)
"""Fields that the agent must not pass on, however they are spelt."""
FRAMING: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"}
)
DEAF_SECONDS: Final = 0.3
BIG: Final = b"B" * 400_000
BODY_MAX: Final = 1 << 26


class Malformed(Exception):
    """Not the HTTP that an agent may write; the message shows it."""


@dataclass
class Seen:
    """One request. `case` is its X-Case field."""

    method: bytes
    target: bytes
    case: bytes
    fields: list[tuple[bytes, bytes]]
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]


class LedgerUpstream:
    """Listens at once. `host`: what Host must say, the listener's own address unless set."""

    def __init__(
        self,
        judge: Callable[[Seen], str] = lambda _seen: "",
        *,
        upgrades: frozenset[bytes] = frozenset({b"websocket"}),
        keep: bool = True,
    ) -> None:
        """judge: what is wrong with a request's head, and then its trailers; "" when nothing is.

        keep: remember every request.
        """
        self.judge = judge
        self.upgrades = upgrades
        self.keep = keep
        self.seen: list[Seen] = []
        self.count = 0
        self.pipe_bytes = 0
        self.problems: list[str] = []
        self.answers: Counter[str] = Counter()
        self.open: set[_Reader] = set()
        self._server = backstage.run(self._start())
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.host = b"127.0.0.1:%d" % self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        def work() -> None:
            for reader in list(self.open):
                reader.transport.abort()

        close_server(self._server)
        backstage.call(work)

    async def _start(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Reader(self), "127.0.0.1", 0, backlog=1024)


class _Reader(asyncio.Protocol):
    """One connection: what is left of it to read, and the request under way."""

    transport: asyncio.Transport

    def __init__(self, upstream: LedgerUpstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._seen: Seen | None = None
        self._left: int | None = 0
        """Bytes of the body that are to come; None: chunked."""
        self._pipe = False
        self._deaf: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._upstream.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.open.discard(self)
        if self._deaf is not None:
            self._deaf.cancel()

    def data_received(self, data: bytes) -> None:
        if self._pipe:
            self._upstream.pipe_bytes += len(data)
            self.transport.write(data[:1000])
            return
        self._buffer += data
        try:
            while not self.transport.is_closing() and self._step():
                pass
        except Malformed as error:
            self._upstream.problems.append(f"{error}; it stood in {bytes(self._buffer[:600])!r}")
            self.transport.abort()

    def _step(self) -> bool:
        """Read one part; False: more bytes are needed."""
        if self._seen is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if self._buffer and not _begins(self._buffer):
                    raise Malformed("bytes that begin no request")
                return False
            head = bytes(self._buffer[: end + 4])
            self._begin(head)
            del self._buffer[: end + 4]
            return True
        seen = self._seen
        if self._left is None:
            return self._chunk(seen)
        part = self._buffer[: self._left]
        seen.body += part
        self._left -= len(part)
        del self._buffer[: len(part)]
        if self._left:
            return False
        self._seen = None
        self._answer(seen)
        return not self._pipe and bool(self._buffer)

    def _begin(self, head: bytes) -> None:
        upstream = self._upstream
        seen, self._left = read_head(head, upstream.host, upstream.upgrades)
        upstream.count += 1
        if upstream.keep:
            upstream.seen.append(seen)
        if wrong := upstream.judge(seen):
            upstream.problems.append(f"{wrong}: {head[:800]!r}")
        self._seen = seen
        if b"deaf" in seen.target and self._deaf is None:
            self.transport.pause_reading()
            self._deaf = asyncio.get_running_loop().call_later(DEAF_SECONDS, self._hear)
        if b"100-continue" in seen.all(b"expect"):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _hear(self) -> None:
        self._deaf = None
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _chunk(self, seen: Seen) -> bool:
        line, found, rest = bytes(self._buffer).partition(b"\r\n")
        if not found:
            if len(line) > 8:
                raise Malformed("no chunk size")
            return False
        if not _SIZE.fullmatch(line):
            raise Malformed("no chunk size")
        size = int(line, 16)
        if size == 0:
            if rest[:2] == b"\r\n":
                used, block = len(line) + 4, b""
            else:
                block, found, _ = rest.partition(b"\r\n\r\n")
                if not found:
                    return False
                used = len(line) + 2 + len(block) + 4
            seen.trailers = [_field(each) for each in block.split(b"\r\n") if block]
            if {name.lower() for name, _ in seen.trailers} & (FRAMING | NEVER | {b"authorization", b"cookie"}):
                raise Malformed("a trailer that frames or authenticates")
            if wrong := self._upstream.judge(seen):
                self._upstream.problems.append(f"{wrong}: trailers {block!r}")
            del self._buffer[:used]
            self._seen = None
            self._answer(seen)
            return not self._pipe and bool(self._buffer)
        if len(rest) < size + 2:
            return False
        if rest[size : size + 2] != b"\r\n":
            raise Malformed("no line end behind a chunk")
        seen.body += rest[:size]
        del self._buffer[: len(line) + 2 + size + 2]
        return True

    def _answer(self, seen: Seen) -> None:
        """Answer a complete request as its path says."""
        path, write = seen.target.partition(b"?")[0], self.transport.write
        kind = next((word for word in KINDS if word in path), b"")
        if b"ws" in path and seen.all(b"upgrade"):
            kind = b"ws"
        self._upstream.answers[kind.decode() or "plain"] += 1
        if kind == b"ws":
            self._pipe = True
            token = seen.all(b"upgrade")[0]
            write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\nhello" % token)
            if self._buffer:
                raise Malformed("bytes of a pipe before its 101")
        elif kind == b"hang":
            pass
        elif kind == b"close":
            self.transport.close()
        elif seen.method == b"HEAD":
            write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        elif kind == b"big":
            write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG)
        elif kind == b"chunked":
            write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
        else:
            write(b"HTTP/1.1 200 OK\r\nX-Case: %b\r\nContent-Length: %d\r\n\r\n" % (seen.case, len(seen.target)))
            write(seen.target)


KINDS: Final = (b"hang", b"close", b"big", b"chunked")


def _begins(data: bytes | bytearray) -> bool:
    """Whether it may be the beginning of a request."""
    word = re.match(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", data)
    return word is not None and (word.end() == len(data) or data[word.end() : word.end() + 1] == b" ")


def read_head(head: bytes, host: bytes, upgrades: frozenset[bytes]) -> tuple[Seen, int | None]:
    """One head and the length of its body (None: chunked). Raises `Malformed`."""
    first, *lines = head[:-4].split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise Malformed("no request line")
    fields = [_field(each) for each in lines]
    names = [name.lower() for name, _ in fields]
    if {name.replace(b"_", b"-").replace(b".", b"-") for name in names} & NEVER:
        raise Malformed("a field that must not travel")
    for name in set(names):
        plain = re.sub(rb"[^a-z0-9]", b"-", name)
        if plain in FRAMING and (plain != name or names.count(name) > 1):
            raise Malformed("a framing field twice, or under another spelling")
    values = dict(zip(names, (value for _, value in fields), strict=True))
    if values.get(b"host") != host:
        raise Malformed(f"Host is not {host.decode()}")
    if (b"upgrade" in values) != (b"connection" in values) or values.get(b"connection", b"Upgrade") != b"Upgrade":
        raise Malformed("Connection names something else than Upgrade")
    if b"upgrade" in values and values[b"upgrade"].lower() not in upgrades:
        raise Malformed("an upgrade that is not allowed")
    if values.get(b"expect", b"100-continue") != b"100-continue":
        raise Malformed("an expectation that is none")
    coding, length = values.get(b"transfer-encoding"), values.get(b"content-length")
    seen = Seen(line[1], line[2], values.get(b"x-case", b""), fields)
    if coding is not None:
        if coding != b"chunked" or length is not None:
            raise Malformed("two framings, or an unknown one")
        return seen, None
    if length is not None and not re.fullmatch(rb"0|[1-9][0-9]{0,18}", length):
        raise Malformed("Content-Length is no number")
    return seen, int(length or b"0")


def _field(line: bytes) -> tuple[bytes, bytes]:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise Malformed(f"no field line: {line[:100]!r}")
    return found[1], found[2]
