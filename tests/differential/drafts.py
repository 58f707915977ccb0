"""Requests before they are spoilt: heads as lists of lines, bodies as what they hold, every part replaceable."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

CRLF: Final = b"\r\n"


@dataclass
class Draft:
    """One request in parts. `framing` holds whole field lines; `wire_body` what follows the head as sent."""

    method: bytes
    target: bytes
    version: bytes
    host: list[bytes]
    fields: list[bytes]
    framing: list[bytes]
    wire_body: bytes = b""
    space: tuple[bytes, bytes] = (b" ", b" ")
    end: bytes = CRLF
    blank: bytes = CRLF
    before: bytes = b""
    families: list[str] = field(default_factory=list)

    def bytes(self, rng: random.Random) -> bytes:
        """As sent; the field lines stand in an order of the draft's own."""
        lines = [*self.host, *self.fields, *self.framing]
        if rng.random() < 0.3:
            rng.shuffle(lines)
        first = self.method + self.space[0] + self.target + self.space[1] + self.version
        return self.before + self.end.join((first, *lines)) + self.end + self.blank + self.wire_body


def sound(case: str, host: str, name: str, body: bytes | None = None, method: str = "POST") -> bytes:
    """A well-formed request that is to be answered with its own echo: a sentinel. A GET where it has no body."""
    head = f"{'GET' if body is None else method} /d/{case}/{name} HTTP/1.1\r\n"
    head += f"Host: {host}\r\nX-Case: {case}-{name}\r\n"
    framing = "" if body is None else f"Content-Length: {len(body)}\r\n"
    return (head + framing + "\r\n").encode() + (body or b"")


def evil(case: str, host: str) -> bytes:
    """The request that an attacker would have a second reader see."""
    return sound(case, host, "evil")


def chunked(rng: random.Random, body: bytes) -> bytes:
    """`body` in one to three chunks, ended."""
    cuts = sorted(rng.sample(range(len(body) + 1), min(2, len(body)))) if body and rng.random() < 0.5 else []
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def draft(rng: random.Random, case: str, host: str) -> Draft:
    """A well-formed request of one of the usual shapes; its body often is a whole request itself."""
    made = Draft(
        rng.choice([b"GET", b"GET", b"HEAD", b"DELETE", b"OPTIONS"]),
        f"/d/{case}/case".encode() + rng.choice([b"", b"", b"?q=1", b"/a%20b", b"?a=%2F&b=//../"]),
        b"HTTP/1.1",
        [b"Host: " + host.encode()],
        [b"X-Case: " + case.encode()],
        [],
    )
    if rng.random() < 0.3:
        made.fields.append(rng.choice([b"Accept: */*", b"User-Agent: x", b"Cookie: a=b", b"X-A: 1"]))
    body = rng.choice([b"", b"x=1", b"0\r\n\r\n" + evil(case, host), evil(case, host), b"z" * 200])
    shape = rng.random()
    if shape < 0.4:
        return made
    made.method = rng.choice([b"POST", b"PUT", b"PATCH"])
    if shape < 0.7:
        made.framing = [b"Content-Length: %d" % len(body)]
        made.wire_body = body
    else:
        made.framing = [b"Transfer-Encoding: chunked"]
        made.wire_body = chunked(rng, body)
    return made
