"""What a field name means to an intermediary: one dictionary look-up for every field of every message.

`KINDS[name]` is the hot form of `classify(name)`. Look-ups are exact, so every spelling is classified once
and then remembered; what strangers can make us remember is bounded in number and in size.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

CACHE_ENTRIES: Final = 4096
CACHE_NAME_BYTES: Final = 64

_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch


class Kind(IntEnum):
    """Kinds of field; each value but END_TO_END is one bit, so that the kinds of fields add up to a mask.

    Connection-level kinds (`CONNECTION_LEVEL`) never travel inside the tunnel. The kinds after them do, and
    are told apart because one of the ends reads, replaces or refuses them.
    """

    END_TO_END = 0

    HOP_BY_HOP = 1
    """Dropped at the end that parsed them: Keep-Alive, Proxy-Connection, TE, Proxy-Authenticate ..."""
    CONNECTION = 1 << 1
    UPGRADE = 1 << 2
    LENGTH = 1 << 3
    """Content-Length."""
    CODING = 1 << 4
    """Transfer-Encoding."""
    HOST = 1 << 5
    EXPECT = 1 << 6
    ALIAS = 1 << 7
    """A name that some servers take for one of the others: X_Client_Name, Content_Length, Content.Length."""
    INVALID = 1 << 8
    """Not a token (RFC 9110 section 5.6.2)."""

    FORWARDING = 1 << 9
    """Forwarded, X-Forwarded-*, X-Real-IP and the like: dropped unless a listed proxy sent them."""
    VIA = 1 << 10
    IDENTITY = 1 << 11
    """X-Client-Name: only the hub says who the caller is."""
    TUNNEL = 1 << 12
    """Tunnel-*, Proxy-Status: the tunnel's own voice."""
    TRACE = 1 << 13
    """traceparent, tracestate."""
    REQUEST_ID = 1 << 14
    DATE = 1 << 15
    SERVER = 1 << 16
    CREDENTIAL = 1 << 17
    """Authorization, Elite-Authorization, X-Api-Key, Cookie, Set-Cookie: never logged."""
    OVERRIDE = 1 << 18
    """X-Original-URL, X-HTTP-Method-Override ...: some servers obey these instead of the request line, which
    would walk round the boundary."""


CONNECTION_LEVEL: Final = 0x1FF
"""Mask of the kinds that must not occur among fields inside the tunnel."""

_NAMES: Final = {
    Kind.HOP_BY_HOP: (
        "Keep-Alive Proxy-Connection TE Proxy-Authenticate Proxy-Authorization Proxy-Authentication-Info"
    ),
    Kind.CONNECTION: "Connection",
    Kind.UPGRADE: "Upgrade",
    Kind.LENGTH: "Content-Length",
    Kind.CODING: "Transfer-Encoding",
    Kind.HOST: "Host",
    Kind.EXPECT: "Expect",
    Kind.FORWARDING: (
        "Forwarded X-Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port "
        "X-Forwarded-Prefix X-Real-IP X-Client-IP X-Cluster-Client-IP True-Client-IP X-Original-Host "
        "Front-End-Https"
    ),
    Kind.VIA: "Via",
    Kind.IDENTITY: "X-Client-Name",
    Kind.TUNNEL: "Proxy-Status Tunnel-Service Tunnel-Deadline Tunnel-Delivered",
    Kind.TRACE: "traceparent tracestate",
    Kind.REQUEST_ID: "X-Request-Id",
    Kind.DATE: "Date",
    Kind.SERVER: "Server",
    Kind.CREDENTIAL: "Authorization Elite-Authorization X-Api-Key Cookie Set-Cookie",
    Kind.OVERRIDE: "X-Original-URL X-Rewrite-URL X-HTTP-Method X-HTTP-Method-Override X-Method-Override",
    Kind.END_TO_END: (
        "Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges "
        "Access-Control-Allow-Origin Age Allow Cache-Control Content-Disposition Content-Encoding "
        "Content-Language Content-Location Content-Range Content-Security-Policy Content-Type ETag "
        "Expires If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since Last-Modified "
        "Link Location Max-Forwards Origin Pragma Priority Range Referer Referrer-Policy Retry-After "
        "Sec-WebSocket-Accept Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol "
        "Sec-WebSocket-Version Server-Timing Strict-Transport-Security Trailer User-Agent Vary "
        "WWW-Authenticate Warning X-Content-Type-Options X-Frame-Options X-Powered-By "
        "X-Requested-With X-Runtime"
    ),
}

_KIND_OF: Final = {name.lower().encode(): kind for kind, names in _NAMES.items() for name in names.split()}
_PREFIXES: Final = ((b"x-forwarded-", Kind.FORWARDING), (b"tunnel-", Kind.TUNNEL))
_DASHES: Final = bytes(c if chr(c).isalnum() and c < 128 else 0x2D for c in range(256))

WELL_KNOWN: Final = frozenset(_KIND_OF) - {b"trailer"}
"""Lower-case names whose loss would change what a message means; `Connection` may not nominate them, and no
trailer may carry them."""


def plain(name: bytes) -> bytes:
    """A field name as those servers see it that take X-Api-Key, x_api_key and X.Api.Key for the same."""
    return name.lower().translate(_DASHES)


def _classify(name: bytes) -> Kind:
    """The kind of a name that is not in the cache."""
    if not _is_token(name):
        return Kind.INVALID
    lower = name.lower()
    kind = _look_up(lower)
    if kind:
        return kind
    spelt = plain(lower)
    if spelt != lower and _look_up(spelt):
        return Kind.ALIAS
    return Kind.END_TO_END


def _look_up(lower: bytes) -> Kind:
    kind = _KIND_OF.get(lower)
    if kind is not None:
        return kind
    for prefix, prefix_kind in _PREFIXES:
        if lower.startswith(prefix):
            return prefix_kind
    return Kind.END_TO_END


class KindCache(dict[bytes, Kind]):
    """Kind by name, exactly as spelt; forgets what it learned when it has CACHE_ENTRIES entries."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[bytes, Kind] = {}
        for kind, names in _NAMES.items():
            for name in names.split():
                for spelling in (name, name.lower(), name.title()):
                    self._kept[spelling.encode()] = kind
        super().__init__(self._kept)

    def __missing__(self, name: bytes) -> Kind:
        kind = _classify(name)
        if len(name) <= CACHE_NAME_BYTES:
            if len(self) >= CACHE_ENTRIES:
                self.clear()
                self.update(self._kept)
            self[name] = kind
        return kind


KINDS: Final = KindCache()
"""`KINDS[name]` is `classify(name)`; never use `.get` or `in`, which see only the cache."""

classify = KINDS.__getitem__
"""classify(name) -> Kind: what the field called `name` means to an intermediary."""
