"""Mutated answers of a hostile upstream, seeded as the requests are: broken framing, surplus, odd interims."""

from __future__ import annotations

import random
from typing import Final

from .mutate import spoil

_LENGTHS: Final = (b"%d", b"+%d", b"-%d", b"%d, %d", b"0x%x", b"%d ", b"", b"0%d", b"%d\0", b"9" * 30, b"\x0b%d")
_CODINGS: Final = (
    b"chunked", b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"xchunked", b"chunked, identity",
    b"\x0bchunked", b"", b"chunked\r\n ,x",
)  # fmt: skip
_LINES: Final = (
    b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 ", b"HTTP/2.0 200 OK", b"HTTP/1.1 099 X", b"HTTP/1.1 1000 X", b"HTTP/1.1 101 Switching",
    b"ICY 200 OK",
    b"HTTP/1.1 100 Continue", b"HTTP/1.1  200 OK", b"HTTP/1.1 200 \xff\x0b", b"http/1.1 200 OK",
    b"HTTP/1.1 500 Sorry",
)  # fmt: skip
_FIELDS: Final = (
    b"X: y\r\n z", b"X : y", b" X: y", b"X: a\rb", b"X: a\nb", b"X: a\0b", b": x", b"X", b"Connection: close",
    b"Connection: keep-alive, X-Case", b"Upgrade: websocket", b"Trailer: X", b"Tunnel-Delivered: no",
    b"X: " + b"v" * 70_000,
    b"Proxy-Status: x", b"Keep-Alive: timeout=1", b"Set-Cookie: a\r\nSet-Cookie: b", b"Date: x",
    b"Content-Encoding: gzip",
)  # fmt: skip
_INTERIMS: Final = (
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\nContent-Length: 3\r\n\r\n", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20, b"HTTP/1.1 103 Early Hints\nLink: x\n\n",
)  # fmt: skip


def evil_answer(case: str) -> bytes:
    """A whole answer that must never become another request's."""
    return f"HTTP/1.1 200 OK\r\nX-Case: {case}-evil\r\nContent-Length: 4\r\n\r\nEVIL".encode()


def make_answer(seed: int, number: int) -> tuple[bytes, bool]:
    """The bytes that answer case `number`, and whether the upstream closes the connection afterwards."""
    rng = random.Random(f"{seed}/answers/{number}")
    case = f"answers.{number}"
    body = rng.choice([b"", b"x", b"y" * 300, evil_answer(case)])
    line = _LINES[0] if rng.random() < 0.6 else rng.choice(_LINES)
    fields = [b"X-Case: " + case.encode()]
    fields += rng.sample(_FIELDS, rng.choice([0, 0, 0, 1, 2]))
    shape = rng.random()
    if shape < 0.4:
        fields.append(b"Content-Length: %d" % len(body))
    elif shape < 0.7:
        fields.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    if rng.random() < 0.25:
        style = rng.choice(_LENGTHS)
        fields.append(
            b"Content-Length: " + (style % ((len(body),) * style.count(b"%")) if b"%" in style else style)
        )
    if rng.random() < 0.15:
        fields.append(b"Transfer-Encoding: " + rng.choice(_CODINGS))
    end = b"\r\n" if rng.random() < 0.93 else rng.choice([b"\n", b"\r", b"\r\r\n", b"\n\r"])
    data = end.join((line, *fields)) + end + end + body
    if rng.random() < 0.2:
        data = rng.choice(_INTERIMS) + data
    if rng.random() < 0.3:
        data += rng.choice(
            [evil_answer(case), b"\r\n", b"\r\n" + evil_answer(case), b"\0", b"HTTP/1.1 200 OK\r\n"]
        )
    if rng.random() < 0.1:
        data = data[: rng.randrange(len(data) + 1)]
    if rng.random() < 0.15:
        data = spoil(rng, data)
    return data, rng.random() < 0.3 or shape >= 0.7
