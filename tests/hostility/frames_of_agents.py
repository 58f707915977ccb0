"""What a hostile agent sends once it has shaken hands: answers that are none, to requests that nobody made."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from protocol import frames
from tests.hostility.frames_of_hubs import Numbers, damaged, wrong_types
from tests.support.hostile import pack

SMUGGLED: Final = b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil"
"""A whole answer, to be hidden in bodies, values and reasons."""

STATUSES: Final = (
    *(200, 200, 200, 204, 304, 206, 302, 401, 404, 500, 503, 599, 999, 101, 100, 103, 199, 0, 1, 99, 1000, -1),
)
REASONS: Final = (
    *(b"OK", b"", b"OK\r\nX-Evil: 1", b"OK\nX-Evil: 1", b"\0", b"r" * 256, b"r" * 300, b"OK\r\n\r\n" + SMUGGLED),
)
FIELDS: Final = (
    *((b"Content-Length", b"999"), (b"content-length", b"0"), (b"Content_Length", b"1"), (b"Date", b"never")),
    *((b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"gzip, chunked"), (b"Trailer", b"X-A")),
    *(
        (b"Connection", b"close, X-B"),
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Keep-Alive", b"x"),
    ),
    *((b"X-A", b"b\r\nX-Evil: 1"), (b"X-A", b"b\nX-Evil: 1"), (b"X-A", b"b\r\n\r\n" + SMUGGLED), (b"X-A", b"\0")),
    *(
        (b"X-A: b\r\nX-Evil", b"1"),
        (b"X-Evil ", b"1"),
        (b"", b"1"),
        (b"X-A", b" folded\r\n X-Evil: 1"),
        (b":", b"1"),
    ),
    *((b"X-A", b"\xff"), (b"\xff", b"1"), (b"X-A", b"a\x7f"), (b"X-Long", b"l" * 60_000), (b"Set-Cookie", b"a=1")),
    *(
        (b"Proxy-Status", b"hub; error=x"),
        (b"Tunnel-Delivered", b"no"),
        (b"X-Request-Id", b"x"),
        (b"Via", b"1.1 x"),
    ),
    *((b"Proxy-Authenticate", b"Basic"), (b"WWW-Authenticate", b"Basic"), (b"X-B", b"1"), (b"Vary", b"*")),
)
BODIES: Final = (b"", b"", b"ok", b"x" * 500, SMUGGLED, b"0\r\n\r\n" + SMUGGLED, b"x" * 32_768, b"x" * 40_000)

Move = Callable[[random.Random, Sequence[int]], list[bytes]]


def _some(rng: random.Random, streams: Sequence[int]) -> int:
    """A stream that the hub opened, mostly; else one that it did not."""
    if streams and rng.random() < 0.9:
        return rng.choice(streams)
    return rng.choice((0, 1, 2, 3, 5, 99, 2**31 - 1, 2**31, 2**40))


def _fields(rng: random.Random) -> list[bytes]:
    fields: list[bytes] = []
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        fields += rng.choice(FIELDS)
    return fields


def answer(rng: random.Random, streams: Sequence[int]) -> list[bytes]:
    """An answer, wrong in some way, with the rest of it in its own frames or in one."""
    stream = _some(rng, streams)
    body = rng.choice(BODIES)
    status = rng.choice(STATUSES) if rng.random() < 0.5 else 200
    reason = rng.choice(REASONS) if rng.random() < 0.3 else b"OK"
    length = rng.choice((None, len(body), len(body), 0, 4, 999, 2**31, 2**62, -1))
    end = rng.choice((0, 1, 1, 2, 64)) if rng.random() < 0.5 else 1
    head = pack(frames.ANSWER, stream, end, status, reason, _fields(rng), length, body)
    if rng.random() < 0.4:
        return [head]
    return [head, *more(rng, [stream])]


def right(rng: random.Random, streams: Sequence[int]) -> list[bytes]:
    """A proper answer, so that others may come behind it on the caller's connection."""
    body = rng.choice((b"", b"ok", SMUGGLED))
    return [pack(frames.ANSWER, stream, 1, 200, b"OK", [b"X-B", b"1"], len(body), body) for stream in streams]


def more(rng: random.Random, streams: Sequence[int]) -> list[bytes]:
    """DATA, TRAILERS, credit, and RESETs with true and with false codes."""
    stream = _some(rng, streams)
    part = rng.choice((*BODIES[2:], b"x"))
    return [
        rng.choice(
            (
                pack(frames.DATA, stream, rng.choice((0, 0, 1)), part),
                pack(frames.DATA, stream, 1, part) + pack(frames.DATA, stream, 0, part),
                pack(frames.DATA, stream, 0, b"x" * 32_768) * 12,
                pack(frames.TRAILERS, stream, _fields(rng)),
                pack(frames.TRAILERS, stream, [b"Content-Length", b"9", b"X-A", b"b\r\nX-Evil: 1"]),
                pack(frames.CREDIT, stream, rng.choice((1, 0, -1, 2**31, 100_000))),
                pack(
                    frames.RESET,
                    stream,
                    rng.choice((0, 1, 16, 17, 23, 32, 38, 99, -1)),
                    rng.choice(("", "x" * 999)),
                ),
                pack(frames.RESET, stream, 1, "a\r\nX-Evil: 1") * rng.choice((1, 2)),
            )
        )
    ]


def interim(rng: random.Random, streams: Sequence[int]) -> list[bytes]:
    stream = _some(rng, streams)
    status = rng.choice((100, 102, 103, 103, 101, 199, 200, 99))
    return [pack(frames.INTERIM, stream, status, _fields(rng)) * rng.choice((1, 3, 16, 17, 200))]


def upgrade(rng: random.Random, streams: Sequence[int]) -> list[bytes]:
    """101, asked for or not, and a pipe that holds whole answers."""
    stream = _some(rng, streams)
    fields = (
        [b"Upgrade", rng.choice((b"websocket", b"h2c")), b"Connection", b"Upgrade"] if rng.random() < 0.3 else []
    )
    switched = pack(frames.ANSWER, stream, 0, 101, b"Switching Protocols", fields, None, rng.choice(BODIES[:6]))
    return [switched + pack(frames.DATA, stream, rng.choice((0, 1)), SMUGGLED)]


def flood(rng: random.Random, streams: Sequence[int]) -> list[bytes]:
    stream = _some(rng, streams)
    return [
        rng.choice(
            (
                b"".join(pack(frames.PING, number) for number in range(500)),
                pack(frames.OFFER, "rogue", 2, None) * 1000,
                pack(frames.OFFER, "visits", rng.choice((0, 1, 2)), rng.choice((None, 1, 1_000_000))) * 3,
                pack(frames.RESET, stream, 1, "") * 25_000,
                pack(frames.CREDIT, stream, 1) * 5000,
                pack(frames.INTERIM, stream, 103, [b"X-L", b"l" * 60_000]) * 14,
                pack(frames.OPEN, 1, 1, None, "visits", b"r", b"GET", b"h", b"/", [], None, None, b""),
            )
        )
    ]


def farewell(rng: random.Random, streams: Sequence[int]) -> list[bytes]:
    """Offers of other services, drains and goodbyes at odd moments, with an answer behind them."""
    frame = rng.choice(
        (
            pack(frames.OFFER, "visits", 2, None),
            pack(frames.OFFER, "rogue", rng.choice((0, 1, 3)), rng.choice((None, 0, 1))),
            pack(frames.DRAIN, None),
            pack(frames.DRAIN, rng.choice((0, 1, 99, 2**31))),
            pack(frames.GOODBYE, rng.choice((0, 6, 99)), rng.choice(("", "x" * 2000, "a\r\nb\x1b[0m"))),
            pack(frames.PONG, 2**40),
            pack(frames.HELLO, 1),
            pack(frames.READY, bytes(16), ["visits"]),
        )
    )
    return [frame + b"".join(answer(rng, streams))]


def nonsense(rng: random.Random, streams: Sequence[int]) -> list[bytes]:
    """What hostile hubs send as well: wrong types and damaged messages, on the hub's own streams."""
    numbers = Numbers(0)
    numbers.opened = list(streams)
    return wrong_types(rng, numbers) if rng.random() < 0.6 else damaged(rng, numbers)


MOVES: Final[tuple[Move, ...]] = (
    *(
        answer,
        answer,
        answer,
        answer,
        right,
        right,
        more,
        more,
        interim,
        upgrade,
        flood,
        farewell,
        nonsense,
        nonsense,
    ),
)
