"""What a hostile hub sends once it has shaken hands: requests that no caller could make, and worse.

Every function takes the session's generator of random numbers; the same seed gives the same frames.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from protocol import frames
from tests.fuzz.mutate import CORPUS, mutate
from tests.fuzz.target import split
from tests.hostility.variants import RULES as PATH_RULES
from tests.hostility.variants import TARGETS, TRICKS
from tests.support.hostile import pack

RULES: Final = (
    *PATH_RULES,
    *("GET,POST,PUT,DELETE /nomisapi/kinds/*", "GET,POST /ws/*"),
)
"""The boundary of the run."""

ALLOWED: Final = (
    *(b"/nomisapi/offenders/A1/location", b"/nomisapi/visits/7", b"/open/end", b"/nomisapi/kinds/plain"),
    *(b"/nomisapi/kinds/hang", b"/nomisapi/kinds/deaf", b"/nomisapi/kinds/close", b"/nomisapi/kinds/big"),
    *(b"/nomisapi/kinds/chunked", b"/ws/1", b"/nomisapi/visits/7?x=/env"),
)
SMUGGLED: Final = b"GET /heapdump HTTP/1.1\r\nHost: evil.example\r\nX-Case: smuggled\r\n\r\n"
"""A whole request, to be hidden in bodies, values and pipes that are none."""

TARGETS_OF_ITS_OWN: Final = (
    *(
        b"/heapdump",
        b"/env",
        b"/actuator/env",
        b"*",
        b"",
        b"evil.example:443",
        b"http://evil.example/nomisapi/visits/1",
    ),
    *(b"//evil.example/nomisapi/visits/1", b"/nomisapi/visits/1 HTTP/1.1\r\nX-Evil: 1\r\n\r\n" + SMUGGLED),
    *(b"/nomisapi/visits/1\r\nX-Evil: 1", b"/nomisapi/visits/1\nX-Evil: 1", b"/nomisapi/visits/\0", b"/" * 4000),
    *(
        b"/nomisapi/visits/" + b"x" * 15_000,
        b"/nomisapi/visits/" + b"x" * 17_000,
        b"/nomisapi/visits/?" + b"\r\n" * 9,
    ),
    *(b"/nomisapi/visits/1 ", b" /nomisapi/visits/1", b"/nomisapi/visits/1\t", b"/nomisapi/visits/\xff\xfe"),
)
METHODS: Final = (
    *(b"GET", b"GET", b"GET", b"POST", b"POST", b"PUT", b"DELETE", b"HEAD", b"PATCH", b"OPTIONS", b"CONNECT"),
    *(
        b"TRACE",
        b"PROPFIND",
        b"get",
        b"",
        b"GET ",
        b" GET",
        b"GE\tT",
        b"G\0T",
        b"GET\r\nX-Evil: 1\r\n",
        b"G" * 2000,
    ),
    *(b"GET /heapdump HTTP/1.1\r\nX:", b"PRI", b"*", b"\xc3\xa9"),
)
AUTHORITIES: Final = (
    *(
        b"visits.internal",
        b"visits.internal",
        b"evil.example",
        b"127.0.0.1:22",
        b"",
        b"a@evil.example",
        b"x" * 300,
    ),
    *(b"evil.example\r\nX-Evil: 1", b"evil.example\0", b"[::1]", b"evil.example:99999", b"evil.example/path"),
)
FIELDS: Final = (
    *(
        (b"Content-Length", b"999"),
        (b"content-length", b"0"),
        (b"Content_Length", b"7"),
        (b"Content.Length", b"7"),
    ),
    *((b"Transfer-Encoding", b"chunked"), (b"Transfer_Encoding", b"chunked"), (b"Transfer-Encoding", b"identity")),
    *(
        (b"Host", b"evil.example"),
        (b"host", b"evil.example"),
        (b"Connection", b"close, X-Case"),
        (b"TE", b"trailers"),
    ),
    *((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Upgrade", b"h2c"), (b"Keep-Alive", b"max=1")),
    *((b"Expect", b"100-continue"), (b"Proxy-Authorization", b"Basic eDp5"), (b"Proxy-Connection", b"close")),
    *((b"X-Original-URL", b"/heapdump"), (b"X-Rewrite-URL", b"/env"), (b"x_original_url", b"/env")),
    *((b"X-HTTP-Method-Override", b"DELETE"), (b"X_Method_Override", b"DELETE"), (b"X.HTTP.Method", b"PUT")),
    *((b"X-A", b"b\r\nX-Evil: 1"), (b"X-A", b"b\nX-Evil: 1"), (b"X-A", b"b\rX-Evil: 1"), (b"X-A", b"b\0c")),
    *(
        (b"X-A", b"b\r\n\r\n" + SMUGGLED),
        (b"X-A: b\r\nX-Evil", b"1"),
        (b"X-A\r\n X-Evil", b"1"),
        (b"X-Evil\0", b"1"),
    ),
    *((b"X-Evil ", b"1"), (b" X-Evil", b"1"), (b"X-Evil:", b"1"), (b"", b"1"), (b"X-A", b" folded\r\n more")),
    *((b"X-A", b"\tb"), (b"X-A", b"b "), (b"X-A", b"\x0b"), (b"X-A", b"\x7f"), (b"\xff", b"1"), (b"X-A", b"\xff")),
    *((b"X-Secret", b"evil"), (b"x-secret", b"evil"), (b"X_Secret", b"evil"), (b"X.Secret", b"evil")),
    *(
        (b"Authorization", b"Bearer evil"),
        (b"Cookie", b"evil=1"),
        (b"X-Client-Name", b"root"),
        (b"Via", b"1.1 hub"),
    ),
    *((b"X-B", b"1"), (b"Accept", b"*/*"), (b"X-Long", b"l" * 60_000), (b"Trailer", b"X-Evil")),
)
FIELDS_ALLOWED: Final = ((b"X-B", b"1"), (b"X-Secret", b"evil"), (b"Cookie", b"evil=1"), (b"x-secret", b"evil"))
BODIES: Final = (
    *(b"", b"", b"", b"four", b"0\r\n\r\n" + SMUGGLED, SMUGGLED, b"\r\n" + SMUGGLED, b"x" * 32_768, b"x" * 40_000),
)
WRONG: Final[tuple[Any, ...]] = (
    *(None, True, False, -1, 0, 1, 2, 3, 4, 2**16, 2**31, 2**32, 2**63, 2**64 - 1, -(2**63), 1.5, float("nan")),
    *(
        "",
        "x",
        "\ud7ff",
        "x" * 2000,
        b"",
        b"\0",
        b"x" * 70_000,
        [],
        [[]],
        [b"a"],
        [b"a", "b"],
        [1, 2],
        {},
        {"a": 1},
    ),
    *([b"a", b"b"] * 300, [b"a", b"b" * 90_000], [[[[[[[[1]]]]]]]]),
)
_POOL = [messages for data in CORPUS.values() if (messages := split(data))]

Frame = list[Any]
Move = Callable[[random.Random, "Numbers"], list[bytes]]


class Numbers:
    """The stream numbers of a session, and its case for the ledger."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.next = 1
        self.opened: list[int] = []
        self.targets: dict[bytes, tuple[bytes, bytes]] = {}
        """Case -> method and target, as sent."""

    def open(self) -> int:
        number = self.next
        self.next += 2
        self.opened.append(number)
        return number

    def some(self, rng: random.Random) -> int:
        """A stream that was opened, or one that was not."""
        if self.opened and rng.random() < 0.8:
            return rng.choice(self.opened)
        return rng.choice((0, 2, self.next, self.next + 2, 2**31 - 1, 2**31, 2**40))


def _target(rng: random.Random) -> bytes:
    if rng.random() < 0.45:
        return rng.choice(ALLOWED)
    if rng.random() < 0.3:
        return rng.choice(TARGETS_OF_ITS_OWN)
    target = rng.choice(TARGETS)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        target = rng.choice(TRICKS)(rng, target)
    return target


def open_frame(rng: random.Random, numbers: Numbers) -> Frame:
    """An OPEN, proper but for what it asks; one in three asks for what is allowed."""
    number = numbers.open()
    case = b"%d.%d" % (numbers.session, number)
    if rng.random() < 0.35:
        target = rng.choice(ALLOWED)
        numbers.targets[case] = (b"GET", target)
        head = [frames.OPEN, number, 1, 10_000, "visits", b"r-%d" % number, b"GET", b"visits.internal", target]
        return [*head, [b"X-Case", case, *rng.choice(FIELDS_ALLOWED)], None, None, b""]
    method = rng.choice(METHODS) if rng.random() < 0.6 else rng.choice((b"GET", b"POST"))
    target = _target(rng)
    fields = [b"X-Case", case]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        fields += rng.choice(FIELDS)
    numbers.targets[case] = (method, target)
    body = rng.choice(BODIES) if rng.random() < 0.5 else b""
    flags = rng.choice((1, 1, 1, 0, 2, 3, 4, 5, 6, 7, 8, 128)) if rng.random() < 0.6 else 1
    length = (
        rng.choice((None, 0, 2, 4, len(body), len(body), 9, 2**31, 2**63, -1)) if body or not flags & 1 else None
    )
    upgrades = (b"websocket", b"WebSocket", b"h2c", b"websocket, h2c", b"websocket\r\nX-Evil: 1", b"")
    upgrade = rng.choice(upgrades) if rng.random() < 0.12 else None
    if upgrade is not None and rng.random() < 0.7:
        method, target, flags, length, body = b"GET", b"/ws/1", 0, None, b""
        numbers.targets[case] = (method, target)
    service = rng.choice(("other", "", "visits/../other", "x" * 70, "VISITS")) if rng.random() < 0.08 else "visits"
    deadline = rng.choice((None, 10_000, 10_000, 50, 1, 0, 2**40))
    authority = rng.choice(AUTHORITIES)
    head = [frames.OPEN, number, flags, deadline, service, b"r-%d" % number, method, authority, target]
    return [*head, fields, length, upgrade, body]


def opens(rng: random.Random, numbers: Numbers) -> list[bytes]:
    """Some requests in one message or several."""
    made = [pack(*open_frame(rng, numbers)) for _ in range(rng.choice((1, 1, 2, 5, 20)))]
    return [b"".join(made)] if rng.random() < 0.5 else made


def follow(rng: random.Random, numbers: Numbers) -> list[bytes]:
    """More of a request's body, or what pretends to be: behind its end, before the 101, beyond its length."""
    stream = numbers.some(rng)
    fields: list[bytes] = []
    for _ in range(rng.choice((0, 1, 2))):
        fields += rng.choice(FIELDS)
    part = rng.choice((*BODIES[3:], b"x"))
    return [
        rng.choice(
            (
                pack(frames.DATA, stream, rng.choice((0, 0, 1)), part),
                pack(frames.DATA, stream, 0, part) * rng.choice((2, 8)),
                pack(frames.DATA, stream, 1, part) + pack(frames.DATA, stream, 0, part),
                pack(frames.TRAILERS, stream, fields),
                pack(frames.CREDIT, stream, rng.choice((1, 0, -1, 2**31, 2**31 - 1, 100_000))),
                pack(frames.RESET, stream, rng.choice((0, 1, 16, 99, 2**31)), rng.choice(("", "x" * 300))),
            )
        )
    ]


def pipe(rng: random.Random, numbers: Numbers) -> list[bytes]:
    """An upgrade that the upstream refuses, and bytes as if it had been granted."""
    number = numbers.open()
    case = b"%d.%d" % (numbers.session, number)
    target = rng.choice((b"/nomisapi/kinds/plain", b"/nomisapi/kinds/hang", b"/ws/2"))
    numbers.targets[case] = (b"GET", target)
    opened = pack(
        *(frames.OPEN, number, rng.choice((0, 2)), 5000, "visits", b"r", b"GET", b"h", target, [b"X-Case", case]),
        *(rng.choice((None, None, 0)), b"websocket", b""),
    )
    smuggled = pack(frames.DATA, number, rng.choice((0, 1)), SMUGGLED)
    return [opened + smuggled] if rng.random() < 0.5 else [opened, smuggled]


def wrong_types(rng: random.Random, numbers: Numbers) -> list[bytes]:
    """A frame of any kind with elements of other types, missing or left over."""
    stream = numbers.some(rng)
    frame: Frame = rng.choice(
        (
            open_frame(rng, numbers),
            [frames.ANSWER, stream, 1, 200, b"OK", [], 0, b""],
            [frames.INTERIM, stream, 103, []],
            [frames.DATA, stream, 0, b"x"],
            [frames.TRAILERS, stream, []],
            [frames.CREDIT, stream, 100],
            [frames.RESET, stream, 1, ""],
            [frames.PING, 1],
            [frames.PONG, 1],
            [frames.DRAIN, None],
            [frames.OFFER, "visits", 2, None],
            [frames.GOODBYE, 0, ""],
        )
    )
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(frame))
        kind = rng.randrange(4)
        if kind < 2:
            frame[at] = rng.choice(WRONG)
        elif kind == 2 and len(frame) > 1:
            del frame[at]
        else:
            frame.insert(at, rng.choice(WRONG))
    return [pack(*frame)]


def damaged(rng: random.Random, _numbers: Numbers) -> list[bytes]:
    """Damaged messages of the corpus, whole arrays that lie about their length, empty and giant messages."""
    if rng.random() < 0.7:
        return split(mutate(rng, _POOL))
    lies = (b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 5000, b"\x9d\x05\x01\x01")
    return [rng.choice((*lies, b"\xc0" * 2000, rng.randbytes(300), b"x" * (1 << 20), b"x" * ((1 << 20) + 1)))]


def flood(rng: random.Random, numbers: Numbers) -> list[bytes]:
    """Too many of something."""
    kind = rng.randrange(6)
    if kind == 0:
        return [b"".join(pack(frames.PING, number) for number in range(1000))]
    if kind == 1:
        made = []
        for _ in range(rng.choice((50, 300, 600))):
            frame = open_frame(rng, numbers)
            made.append(pack(*frame) + pack(frames.RESET, frame[1], 1, ""))
        return made
    if kind == 2:
        return [b"".join(pack(*open_frame(rng, numbers)) for _ in range(20)) for _ in range(15)]
    if kind == 3:
        return [pack(frames.CREDIT, numbers.some(rng), 1) * 5000]
    if kind == 4:
        return [pack(frames.DATA, numbers.some(rng), 0, b"x" * 32_768) * 20]
    return [pack(frames.RESET, numbers.some(rng), 1, "") * 25_000]


def farewell(rng: random.Random, numbers: Numbers) -> list[bytes]:
    """DRAIN, GOODBYE and handshake frames where they are out of place, with requests behind them."""
    frame = rng.choice(
        (
            pack(frames.DRAIN, None),
            pack(frames.DRAIN, rng.choice((0, 1, numbers.next, 2**31))),
            pack(frames.GOODBYE, rng.choice((0, 1, 7, 99, 2**40)), rng.choice(("", "x" * 2000, "a\r\nb\x1b[0m"))),
            pack(frames.CHALLENGE, "hostile", bytes(32), {}, bytes(64)),
            pack(frames.READY, bytes(16), ["visits"]),
            pack(frames.HELLO, 1),
            pack(frames.OFFER, "visits", 2, None),
        )
    )
    return [frame + b"".join(opens(rng, numbers))]


MOVES: Final[tuple[Move, ...]] = (
    *(
        opens,
        opens,
        opens,
        opens,
        follow,
        follow,
        follow,
        pipe,
        wrong_types,
        wrong_types,
        damaged,
        flood,
        farewell,
    ),
)
