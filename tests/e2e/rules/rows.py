"""What a row of a table says: the exact bytes that go in, and what comes out at both ends.

In bytes, `{p}` is the row's own path on the upstream, `{h}` the line of its Host, `{u}` the upstream's authority.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.tunnel import HOST

H = b"Host: " + HOST.encode() + b"\r\n"
END = b"\r\n\r\n"
G = b"GET {p} HTTP/1.1\r\n{h}"
POST = b"POST {p} HTTP/1.1\r\n{h}"
LINE = b"GET {p} HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET {p}/smuggled HTTP/1.1\r\n{h}\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
TWO = b"Content-Length: 2\r\n\r\nok"
CONTROLS = (*range(1, 9), 11, 12, *range(14, 32), 127)


def get(*fields: bytes) -> bytes:
    """A GET with these fields."""
    return G + b"\r\n".join(fields) + END


def fill(data: bytes, path: str, port: int = 0) -> bytes:
    """`data` with its placeholders replaced."""
    upstream = f"127.0.0.1:{port}".encode()
    return data.replace(b"{p}", path.encode()).replace(b"{h}", H).replace(b"{u}", upstream)


@dataclass(frozen=True)
class RequestRow:
    """One request of a hostile or odd caller.

    sent: every byte of it. status, code: of the answer; code "" means that the upstream answered, and then
    `arrives` is every byte that it got. keeps: the connection serves another request afterwards.
    """

    rule: str
    name: str
    sent: bytes
    status: int = 200
    code: str = ""
    arrives: bytes = b""
    keeps: bool = True
    method: str = "GET"

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.name}"


def refused(
    rule: str, name: str, sent: bytes, status: int = 400, code: str = "malformed_request", *, keeps: bool = False
) -> RequestRow:
    """The hub refuses: nothing reaches the upstream, and the connection closes unless `keeps`."""
    return RequestRow(rule, name, sent, status, code, keeps=keeps)


def passes(
    rule: str,
    name: str,
    sent: bytes,
    line: bytes = b"GET {p} HTTP/1.1",
    *fields: bytes,
    framing: bytes = b"",
    body: bytes = b"",
    keeps: bool = True,
    host: bytes = b"{u}",
    forwarded_host: bytes = b"X-Forwarded-Host: " + HOST.encode() + b"\r\n",
    request_id: bytes = b"*",
    method: str = "GET",
) -> RequestRow:
    """The upstream gets `line`, its Host, `fields`, what the hub adds, `framing` (whole lines) and `body`."""
    arrives = b"".join(
        (
            line + b"\r\nHost: " + host + b"\r\n",
            *(each + b"\r\n" for each in fields),
            forwarded_host,
            b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Request-Id: " + request_id + b"\r\n",
            b"Via: 1.1 hub-1\r\n" + framing + b"\r\n" + body,
        )
    )
    return RequestRow(rule, name, sent, arrives=arrives, keeps=keeps, method=method)


@dataclass(frozen=True)
class AnswerRow:
    """One answer of a hostile or odd upstream.

    answered: every byte of it; then: bytes that follow once the caller has the head; close: the upstream closes.
    `code` is that of the tunnel's 502, or "" where the answer passes: then `fields` are all of the caller's,
    less framing, Date and the hub's own Via. aborted: the caller's connection breaks inside the body.
    reused: the next request goes over the same connection to the upstream; keeps: and over the caller's same one.
    """

    rule: str
    name: str
    answered: bytes
    then: bytes = b""
    close: bool = False
    method: str = "GET"
    request: tuple[str, ...] = ()
    version: str = "HTTP/1.1"
    status: int = 200
    reason: bytes = b"OK"
    code: str = ""
    fields: tuple[bytes, ...] = ()
    length: str | None = None
    body: bytes = b"ok"
    trailers: tuple[bytes, ...] = ()
    interim: tuple[bytes, ...] = field(default=())
    date: str | None = None
    aborted: bool = False
    reused: bool = True
    keeps: bool = True

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.name}"


def bad(
    rule: str, name: str, answered: bytes, code: str = "upstream_invalid", *, close: bool = False
) -> AnswerRow:
    """The caller gets the tunnel's 502, and the connection to the upstream is discarded."""
    return AnswerRow(rule, name, answered, status=502, code=code, close=close, reused=False)


def breaks(rule: str, name: str, answered: bytes, then: bytes = b"", *, close: bool = False) -> AnswerRow:
    """The caller has the head, then its connection is aborted: it never takes the answer for a whole one."""
    return AnswerRow(rule, name, answered, then, close, aborted=True, reused=False)
