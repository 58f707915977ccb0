"""The mutator: seeded, so that `case(seed, …)` is the same bytes on every machine.

Each operator spoils one thing in a way that has fooled some server; one to three are applied to a sound request.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .drafts import Draft, draft, evil, sound
from .spellings import BLANKS, CODING_NAMES, CODINGS, FIELDS, LENGTHS, MILD, NOMINATED, SIZES

Operator = Callable[[random.Random, Draft, str, str], None]


def _cl_te(rng: random.Random, made: Draft, case: str, host: str) -> None:
    """Two framings at once, or one that is written strangely, with another request in what they disagree about."""
    inside = evil(case, host)
    made.method = b"POST"
    made.wire_body = rng.choice([b"0\r\n\r\n" + inside, b"%x\r\n%b\r\n0\r\n\r\n" % (len(inside), inside), inside])
    coding = rng.choice(CODING_NAMES) + rng.choice([b": ", b":", b":\t", b" : "]) + rng.choice(CODINGS)
    length = b"Content-Length: %d" % rng.choice([0, 5, len(made.wire_body), len(made.wire_body) + 5])
    made.framing = rng.sample([coding, length], rng.choice([1, 2]))
    if rng.random() < 0.15:
        made.framing.append(b"Transfer-Encoding: " + rng.choice(CODINGS))


def _length(rng: random.Random, made: Draft, _case: str, _host: str) -> None:
    size = len(made.wire_body)
    style = rng.choice(LENGTHS)
    value = style % ((size,) * style.count(b"%")) if b"%" in style else style
    made.framing = [
        rng.choice([b"Content-Length", b"content-length", b"Content-Length ", b"Content_Length"]) + b": " + value
    ]
    if rng.random() < 0.3:
        made.framing.append(b"Content-Length: %d" % rng.choice([size, 0, size + 1]))


def _chunk(rng: random.Random, made: Draft, case: str, host: str) -> None:
    body = rng.choice([b"x=1", evil(case, host), b"y" * 300])
    style = rng.choice(SIZES)
    size = style % len(body) if b"%" in style else style
    after = rng.choice([b"\r\n", b"\r\n", b"\n", b"\r", b"", b"XX", b" \r\n", b"\r\n\r\n"])
    last = rng.choice(
        [
            b"0\r\n\r\n",
            b"0\r\n\r\n",
            b"0\n\n",
            b"0\r\n\n",
            b"00\r\n\r\n",
            b"0;x\r\n\r\n",
            b"0\r\n",
            b"",
            b"-0\r\n\r\n",
        ]
    )
    made.method = b"POST"
    made.framing = [b"Transfer-Encoding: chunked"]
    made.wire_body = size + rng.choice([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"]) + body + after + last


def _trailer(rng: random.Random, made: Draft, case: str, host: str) -> None:
    lines = [
        b"X-T: 1", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: x", b"X-T: 1\r\n y", b"X",
        b" X: y", b"X : y",
        b"X: a\nb", b"X: a\0b", b"Connection: close", b"X-T: " + b"v" * 3000, b"X: a\r\n\r\n" + evil(case,
        host)[:-4],
    ]  # fmt: skip
    made.method = b"POST"
    made.framing = [b"Transfer-Encoding: chunked"]
    made.wire_body = b"3\r\nx=1\r\n0\r\n" + rng.choice(lines) + b"\r\n\r\n"


def _line_ends(rng: random.Random, made: Draft, _case: str, _host: str) -> None:
    if rng.random() < 0.5:
        made.end = rng.choice([b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r", b"\x0b", b"\xe2\x80\xa8"])
    else:
        made.blank = rng.choice([b"\n", b"\r", b" \r\n", b"\r\r\n", b"\n\n", b"\x0b\r\n", b"\t\r\n"])


def _blanks(rng: random.Random, made: Draft, _case: str, _host: str) -> None:
    where = rng.randrange(4)
    blank = rng.choice(BLANKS)
    if where == 0:
        made.space = (blank, b" ") if rng.random() < 0.5 else (b" ", blank)
    elif where == 1:
        made.before = rng.choice([blank, b"\r\n", b"\n", b"\r\n\r\n", b"\r", b"\r\n "])
    elif where == 2:
        made.version += blank
    else:
        at = rng.randrange(len(made.fields) + 1)
        made.fields.insert(
            at, rng.choice([blank + b"X-B: 1", b"X-B" + blank + b": 1", b"X-B:" + blank + b"1" + blank])
        )


def _target(rng: random.Random, made: Draft, case: str, host: str) -> None:
    own, name = made.target, host.encode()
    made.target = rng.choice([
        b"http://" + name + own, b"https://" + name + own, b"HTTP://" + name.upper() + own,
        b"http://other.example" + own,
        b"http://a@" + name + own, b"http://" + name + b":80" + own, b"http://" + name + b"\\" + own,
        b"//" + name + own,
        b"*", b"", b"/", own + b"#x", own + b" x", own + b"/../evil", own + b"/%2e%2e/evil", own + b"//evil",
        own + b";x",
        own + b"%2fx", own + b"%00", own + b"\0", own + b"%0d%0aX:%20y", own + b"\xc3\xa9", own + b"?\xff",
        own + b"\x7f",
        own + b"?a b", own + b" HTTP/1.1\r\nX-B: 1", own + b"%", own + b"%zz", own + b"?" + b"q" * 9000,
        own + b"\\x",
        own + b"?\r\n\r\n" + evil(case, host), name + b":443", own + b"\t", own + b"?x\n", b"http:" + own,
        own + b"/./x",
        b"/d/" + case.encode() + b"/evil",
        own + b"?%0d%0a%0d%0aGET%20/d/" + case.encode() + b"/evil%20HTTP/1.1%0d%0a",
    ])  # fmt: skip


def _method(rng: random.Random, made: Draft, _case: str, _host: str) -> None:
    made.method = rng.choice([
        b"CONNECT", b"TRACE", b"get", b"G\0T", b"G@T", b"GET\r\n", b"\xc7ET", b"PRI", b"VERYLONG" * 600, b"",
        b"GET\t", b"(GET)",
        b"PROPFIND", b"M-SEARCH", b"SOURCE", b"PURGE", b"HEAD",
    ])  # fmt: skip


def _version(rng: random.Random, made: Draft, _case: str, _host: str) -> None:
    made.version = rng.choice([
        b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/1.10", b"HTTP/11", b"http/1.1", b"HTTP/1,1",
        b"", b"HTTP/1.",
        b"HTTP /1.1", b"HTTP/1.1\0", b"HTTP/1.1 x", b"HTTP/01.1", b"HTTP/1.1\r", b"HTTP/+1.1", b"ICY/1.1",
        b"HTTP/\xd9\xa1.1",
    ])  # fmt: skip
    if rng.random() < 0.2:
        made.version, made.space = b"", (b" ", b"")
    if rng.random() < 0.1:
        made.before = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _host(rng: random.Random, made: Draft, _case: str, host: str) -> None:
    name = host.encode()
    lines = [b"Host: " + each for each in (
        name, name.upper(), name + b":80", name + b".", b"other.example", b"", name + b", x", name + b" x",
        name + b"/x",
        b"a@" + name, name + b"\0", name + b"\t", b" " + name, name + b":", name + b":x", b"[::1]", b"127.0.0.1",
        name + b"#",
        b"\xe9" + name, name + b"%00", name + b"\r\n x",
    )]  # fmt: skip
    made.host = rng.sample(
        [*lines, b"Host : " + name, b" Host: " + name, b"host: " + name], rng.choice([0, 1, 1, 2])
    )


def _connection(rng: random.Random, made: Draft, _case: str, _host: str) -> None:
    made.fields.append(b"Connection: " + b", ".join(rng.sample(NOMINATED, rng.choice([1, 1, 2, 3]))))


def _field(rng: random.Random, made: Draft, _case: str, _host: str) -> None:
    made.fields.insert(rng.randrange(len(made.fields) + 1), rng.choice(FIELDS))


def _mild(rng: random.Random, made: Draft, _case: str, _host: str) -> None:
    """What HTTP allows and servers stumble over."""
    made.fields += rng.sample(MILD, rng.randrange(1, 5))
    if rng.random() < 0.3:
        made.version = b"HTTP/1.0"
    if rng.random() < 0.3:
        made.target += rng.choice(
            [b"?a=%0d%0a", b"?{}|^", b"/a:b@c", b"?x#y"[:2], b"/%F0%9F%98%80", b"?" + b"q" * 3000, b"/*"]
        )


def _splitting(rng: random.Random, made: Draft, case: str, host: str) -> None:
    inside = evil(case, host)
    made.fields.append(rng.choice([
        b"X-S: a\r\n\r\n" + inside[:-4], b"X-S: a\n\n" + inside, b"X-S: a\r\r\n" + inside,
        b"X-S: a\r\n\r" + inside,
        b"X-S: %0d%0a%0d%0a" + inside.replace(b"\r\n", b"%0d%0a"), b"X-S: \xe5\x98\x8a\xe5\x98\x8d" + inside[:20],
        b"X-S: a\x0b\x0b" + inside[:20].replace(b"\r\n", b""), b"X\r\n\r\n" + inside,
    ]))  # fmt: skip


def _pipelined(rng: random.Random, made: Draft, case: str, host: str) -> None:
    """Sound requests behind it; they are sent, so they may be served."""
    more = b"".join(sound(case, host, f"more-{number}") for number in range(rng.randrange(1, 4)))
    made.wire_body += rng.choice([b"", b"\r\n", b"\n", b"x", b"\0"]) + more


OPERATORS: Final[dict[str, Operator]] = {
    "two framings": _cl_te,
    "length": _length,
    "chunks": _chunk,
    "trailers": _trailer,
    "line ends": _line_ends,
    "white space": _blanks,
    "target": _target,
    "method": _method,
    "version": _version,
    "host": _host,
    "connection": _connection,
    "fields": _field,
    "splitting": _splitting,
    "pipelining": _pipelined,
    "allowed oddities": _mild,
}
_WEIGHTS: Final = (5, 3, 4, 2, 2, 3, 3, 1, 2, 2, 2, 3, 2, 2, 6)


@dataclass(frozen=True)
class Case:
    """One case: `data` between two sentinels (None: left out).

    split: where `data` is cut in two writes. waits: the last sentinel is sent once `data` is answered, or is not.
    """

    id: str
    families: tuple[str, ...]
    data: bytes
    first: bytes | None
    last: bytes
    split: int | None
    waits: bool


def make(seed: int, server: str, number: int, host: str) -> Case:
    """Case `number` of a server: the same for the same arguments."""
    rng = random.Random(f"{seed}/{server}/{number}")
    case = f"{server}.{number}"
    made = draft(rng, case, host)
    families = rng.choices(list(OPERATORS), _WEIGHTS, k=rng.choice([0, 1, 1, 1, 1, 1, 2, 2, 3]))
    for family in families:
        OPERATORS[family](rng, made, case, host)
    data = made.bytes(rng)
    if rng.random() < 0.05:
        families.append("truncated")
        data = data[: rng.randrange(1, len(data) + 1)]
    if rng.random() < 0.1:
        families.append("octets")
        for _ in range(rng.randrange(1, 4)):
            data = spoil(rng, data)
    first = sound(case, host, "before", rng.choice([None, b"before"])) if rng.random() < 0.5 else None
    last = sound(case, host, "after", rng.choice([None, b"after"]))
    split = rng.randrange(len(data)) if data and rng.random() < 0.2 else None
    return Case(case, tuple(families), data, first, last, split, rng.random() < 0.5)


def spoil(rng: random.Random, data: bytes) -> bytes:
    """`data` with one octet more, less or another, or a line end somewhere."""
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return data[:at] + bytes([rng.randrange(256)]) + data[at:]
    if kind == 1:
        return data[:at] + data[at + 1 :]
    if kind == 2:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    return data[:at] + rng.choice([b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n"]) + data[at:]
