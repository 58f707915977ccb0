"""Spellings of allowed and of forbidden targets: encodings x separators x dot segments x case x query tricks.

`generate` begins with every trick alone on every target, then mixes them; a seed gives the same list again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

RULES = (
    "GET /nomisapi/offenders/*/location",
    "GET,POST /nomisapi/visits/**",
    "PUT,DELETE /nomisapi/offenders/*/alerts/x-*",
    "* /open/**/end",
)
"""What the boundary of the runs allows."""

CALLER_RULES = (
    "GET /nomisapi/offenders/*/location",
    "GET /nomisapi/visits/*/slots",
    "PUT /nomisapi/offenders/*/alerts/**",
    "GET,POST /nomisapi/admin/**",
    "* /open/**",
)
"""What the hub allows the caller of the runs: here less than the boundary, there more."""

TARGETS = (
    b"/nomisapi/offenders/A1234/location",
    b"/nomisapi/visits/7/slots",
    b"/nomisapi/visits/",
    b"/nomisapi/offenders/A1234/alerts/x-1",
    b"/open/a/b/end",
    b"/open/end",
    b"/nomisapi/offenders/A1234/secrets",
    b"/nomisapi/visits",
    b"/nomisapi/admin/heapdump",
    b"/heapdump",
    b"/actuator/env",
    b"/nomisapi/visits/7/../../../env",
    b"/nomisapi/offenders/../admin/location",
    b"/open/../env/end",
)
METHODS = (b"GET",) * 9 + (
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"PROPFIND",
    b"get",
)
SEPARATORS = (
    *(b"//", b"\\", b"/\\", b"%2f", b"%2F", b"%5c", b"%5C", b"%252f", b"%255C", b"/%2f", b"%2f/", b"///"),
    *(b";", b";/", b";x=1/", b"%3b", b"%3B/", b"/;/", b"%c0%af", b"%C0%AF", b"%e0%80%af", b"%f0%80%80%af"),
    *(b"%c1%9c", b"%u2215", b"%u002f", b"%uff0f", b"%ef%bc%8f", b"%e2%88%95", b"\xc0\xaf", b"\xef\xbc\x8f"),
    *(b"%00/", b"/%00", b"\x00/", b"/\x01", b"%09/", b"\t/", b" /", b"%20/", b"/%0a", b"%0d%0a/", b"\x7f/", b":"),
    *(b"|", b"?/", b"%3f/", b"#/", b"%23/", b"@/", b"%40/", b"/%"),
)
DOTS = (
    *(b".", b"..", b"...", b"%2e", b"%2E%2e", b".%2e", b"%2E.", b"%252e%252e", b"%25%32%65%2e", b"..;", b"..;x=1"),
    *(
        b".;",
        b"..%3b",
        b"%2e%2e;",
        b"..%00",
        b"..%20",
        b".. ",
        b"..%09",
        b"..\\",
        b"..%5c",
        b"..%2f",
        b"%2e%2e%2f",
    ),
    *(b"%c0%ae%c0%ae", b"%e0%80%ae.", b"%u002e%u002e", b"%uff0e.", b"%ef%bc%8e%ef%bc%8e", b"\xc0\xae.", b"..?"),
    *(b"..#", b".%00.", b".\x00.", b"..%0a", b"..%c2%85", b"%2e%252e", b".%25%2e", b".json", b"..a", b"%2e%2ea"),
)
TAILS = (
    *(b"/", b"//", b"/.", b"/..", b"/%2e", b"/..;/", b"?", b"??", b"?x=1", b"?x=1&x=2", b"?x=1?y=2", b"?/../env"),
    *(
        b"?x=%2e%2e%2f",
        b"?x=%00",
        b"?x=%0d%0aX-Evil:1",
        b"?\x00",
        b"?x y",
        b"?\xff",
        b"?#",
        b"?x#y",
        b'?"<>\\^`{|}',
    ),
    *(b"%3f", b"%3Fx=1", b"#", b"#/../../env", b"%23", b";", b";jsessionid=1", b"%3bx=1", b";/..;/", b"%00"),
    *(b"%00.json", b"\x00", b"%0a", b"%0A%0d", b"%0d%0aX-Evil:%201", b"%20", b" ", b"\t", b"%09", b".json", b".."),
    *(b"%", b"%2", b"%zz", b"%u0041", b"%25", b"%2541", b"%ff", b"%c3%a9", b"%C3", b"%ed%a0%80", b"%f4%90%80%80"),
    *(b"*", b"%2a", b"~", b"%7e", b"%7F", b"%c2%80", b"%e2%80%ae", b"\xc3\xa9", b"&x=1", b":80", b"@evil.example"),
    *(b"?;", b"?%3f", b"?_method=DELETE", b"?x[]=1", b"?x=1&amp;y", b"?../", b"?x=/nomisapi/visits/"),
)
FRONTS = (
    *(
        b"http://visits.internal",
        b"HTTP://VISITS.INTERNAL",
        b"https://visits.internal:443",
        b"http://evil.example",
    ),
    *(
        b"http://evil@visits.internal",
        b"http://visits.internal@evil.example",
        b"//evil.example",
        b"/",
        b"/.",
        b"/..",
    ),
    *(
        b"\\",
        b"ftp://visits.internal",
        b"http:/",
        b"http:",
        b"http://",
        b"visits.internal",
        b"*",
        b"/%2e",
        b"/;",
        b".",
    ),
    *(b"/nomisapi/visits/..", b"/nomisapi/visits/%2e%2e", b"/nomisapi/visits/..;", b"/nomisapi/visits/..%2f"),
)


class Variant(NamedTuple):
    """A method and the target of the request line, byte for byte."""

    method: bytes
    target: bytes


Trick = Callable[[random.Random, bytes], bytes]


def _separator(rng: random.Random, target: bytes, new: bytes | None = None) -> bytes:
    """Another separator in place of one slash."""
    places = [at for at, octet in enumerate(target) if octet == 0x2F]
    at = rng.choice(places) if places else len(target)
    return target[:at] + (new or rng.choice(SEPARATORS)) + target[at + 1 :]


def _dots(rng: random.Random, target: bytes, new: bytes | None = None) -> bytes:
    """A dot segment, or what may become one, at one of the slashes."""
    places = [at for at, octet in enumerate(target) if octet == 0x2F]
    at = rng.choice(places) if places else 0
    return target[:at] + b"/" + (new or rng.choice(DOTS)) + target[at:]


def _tail(rng: random.Random, target: bytes, new: bytes | None = None) -> bytes:
    return target + (new or rng.choice(TAILS))


def _front(rng: random.Random, target: bytes, new: bytes | None = None) -> bytes:
    return (new or rng.choice(FRONTS)) + target


def _spell(rng: random.Random, target: bytes) -> bytes:
    """One octet or several, written in another way."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(target))
        target = target[:at] + rng.choice(SPELLINGS)(target[at]) + target[at + 1 :]
    return target


def _case(rng: random.Random, target: bytes) -> bytes:
    turned = rng.choice((bytes.upper, bytes.title, bytes.swapcase, bytes.lower))
    at = rng.randrange(len(target))
    return target[:at] + turned(target[at:])


SPELLINGS: tuple[Callable[[int], bytes], ...] = (
    lambda octet: b"%%%02x" % octet,
    lambda octet: b"%%%02X" % octet,
    lambda octet: b"%%25%02x" % octet,
    lambda octet: b"%%25%%%02x%%%02x" % tuple(b"%02x" % octet),
    lambda octet: b"%%u00%02x" % octet,
    lambda octet: b"%%%02x%%%02x" % (0xC0 | octet >> 6, 0x80 | octet & 0x3F),
    lambda octet: b"%%e0%%%02x%%%02x" % (0x80 | octet >> 6, 0x80 | octet & 0x3F),
    lambda octet: b"%%ef%%bc%%%02x" % (0x80 | octet & 0x3F),
    lambda octet: bytes([0xC0 | octet >> 6, 0x80 | octet & 0x3F]),
    lambda octet: bytes([octet | 0x80]),
    lambda octet: b"%%%02x%c" % (octet, octet),
    lambda octet: b"%c%c" % (octet, octet),
)
TRICKS: tuple[Trick, ...] = (_separator, _dots, _dots, _tail, _tail, _spell, _spell, _case, _front)


def _alone(rng: random.Random) -> Iterator[bytes]:
    """Every trick by itself on every target."""
    for target in TARGETS:
        yield target
        for spelling in SPELLINGS:
            for at in range(len(target)):
                yield target[:at] + spelling(target[at]) + target[at + 1 :]
        for tail in TAILS:
            yield _tail(rng, target, tail)
        for front in FRONTS:
            yield _front(rng, target, front)
        for new, trick in (*((new, _separator) for new in SEPARATORS), *((new, _dots) for new in DOTS)):
            yield trick(rng, target, new)


def _plain(rng: random.Random) -> bytes:
    """A target that rules may well allow, of a name never used before."""
    name = b"%x" % rng.getrandbits(40)
    base = rng.choice(TARGETS[:6])
    return base.replace(b"A1234", name).replace(b"/7/", b"/%b/" % name).replace(b"/a/", b"/%b/" % name)


def generate(number: int, seed: int) -> list[Variant]:
    """`number` distinct variants."""
    rng = random.Random(f"variants {seed}")
    found: dict[Variant, None] = {}
    for target in _alone(rng):
        found[Variant(b"GET", target)] = None
    rest = list(found)
    rng.shuffle(rest)
    found = dict.fromkeys(rest[:number])
    while len(found) < number:
        target = _plain(rng) if rng.random() < 0.4 else rng.choice(TARGETS)
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
            target = rng.choice(TRICKS)(rng, target)
        found[Variant(rng.choice(METHODS), target)] = None
    return list(found)
