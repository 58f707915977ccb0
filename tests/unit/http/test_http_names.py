from __future__ import annotations

import pytest

from protocol.http.names import (
    CACHE_ENTRIES,
    CACHE_NAME_BYTES,
    CONNECTION_LEVEL,
    KINDS,
    WELL_KNOWN,
    Kind,
    KindCache,
    classify,
)

SPECIAL = {
    Kind.HOP_BY_HOP: [
        b"Keep-Alive", b"Proxy-Connection", b"TE", b"Proxy-Authenticate", b"Proxy-Authorization",
        b"Proxy-Authentication-Info",
    ],
    Kind.CONNECTION: [b"Connection"],
    Kind.UPGRADE: [b"Upgrade"],
    Kind.LENGTH: [b"Content-Length"],
    Kind.CODING: [b"Transfer-Encoding"],
    Kind.HOST: [b"Host"],
    Kind.EXPECT: [b"Expect"],
    Kind.FORWARDING: [
        b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Forwarded-Anything",
        b"X-Real-IP", b"X-Client-IP", b"True-Client-IP",
    ],
    Kind.VIA: [b"Via"],
    Kind.IDENTITY: [b"X-Client-Name"],
    Kind.TUNNEL: [b"Tunnel-Service", b"Tunnel-Deadline", b"Tunnel-Delivered", b"Tunnel-Later", b"Proxy-Status"],
    Kind.TRACE: [b"traceparent", b"tracestate"],
    Kind.REQUEST_ID: [b"X-Request-Id"],
    Kind.DATE: [b"Date"],
    Kind.SERVER: [b"Server"],
    Kind.CREDENTIAL: [b"Authorization", b"Elite-Authorization", b"Cookie", b"Set-Cookie"],
    Kind.OVERRIDE: [b"X-Original-URL", b"X-Rewrite-URL", b"X-HTTP-Method-Override", b"X-HTTP-Method"],
}  # fmt: skip
PLAIN = [
    b"Accept",
    b"Content-Type",
    b"X-Own",
    b"Trailer",
    b"Content-Length-Hint",
    b"Tunnel",
    b"X_Own",
    b"Content_Type",
]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in SPECIAL.items() for name in names])
def test_every_spelling_has_the_same_kind(kind: Kind, name: bytes) -> None:
    for spelling in (name, name.lower(), name.upper(), name.swapcase()):
        assert classify(spelling) is kind


@pytest.mark.parametrize("name", PLAIN)
def test_ordinary_names_are_end_to_end(name: bytes) -> None:
    assert classify(name) is Kind.END_TO_END


@pytest.mark.parametrize(
    "name",
    [name for kind, names in SPECIAL.items() for name in names if b"-" in name],
)
@pytest.mark.parametrize("separator", [b"_", b".", b"~"])
def test_other_separators_alias_a_special_name(name: bytes, separator: bytes) -> None:
    assert classify(name.replace(b"-", separator)) is Kind.ALIAS
    assert classify(name.upper().replace(b"-", separator, 1)) is Kind.ALIAS


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b" ",
        b"a b",
        b"a:",
        b"a\r\nb",
        b"a\n",
        b"\x00",
        b"a\x7f",
        b"\xff",
        b"a(b)",
        b'"',
        b"Host ",
        b"Accept: x",
        b"{",
    ],
)
def test_names_that_are_not_tokens_are_invalid(name: bytes) -> None:
    assert classify(name) is Kind.INVALID


def test_connection_level_is_exactly_the_kinds_that_never_travel() -> None:
    below = [kind for kind in Kind if kind & CONNECTION_LEVEL]
    assert sum(below) == CONNECTION_LEVEL
    assert set(below) == {
        Kind.HOP_BY_HOP, Kind.CONNECTION, Kind.UPGRADE, Kind.LENGTH, Kind.CODING, Kind.HOST, Kind.EXPECT,
        Kind.ALIAS, Kind.INVALID,
    }  # fmt: skip


def test_kinds_are_single_bits() -> None:
    assert [kind.bit_count() for kind in Kind if kind] == [1] * (len(Kind) - 1)


def test_well_known_names_include_ours_and_preconditions() -> None:
    assert {b"x-client-name", b"tunnel-service", b"if-match", b"content-type", b"authorization"} <= WELL_KNOWN
    assert b"trailer" not in WELL_KNOWN  # RFC 2616 listed it among the hop-by-hop fields


class TestCache:
    def test_common_spellings_are_known_from_the_start(self) -> None:
        cache = KindCache()
        for name in (b"Host", b"host", b"Content-Length", b"content-length", b"Etag", b"ETag", b"traceparent"):
            assert dict.__contains__(cache, name), name

    def test_never_grows_past_its_bound_and_keeps_the_common_names(self) -> None:
        cache = KindCache()
        largest = 0
        for number in range(2 * CACHE_ENTRIES):
            assert cache[b"x-own-%d" % number] is Kind.END_TO_END
            largest = max(largest, len(cache))
        assert largest == CACHE_ENTRIES
        assert dict.__contains__(cache, b"Host")
        assert cache[b"Host"] is Kind.HOST

    def test_does_not_keep_long_names(self) -> None:
        cache = KindCache()
        before = len(cache)
        assert cache[b"x" * (CACHE_NAME_BYTES + 1)] is Kind.END_TO_END
        assert len(cache) == before
        assert cache[b"x" * CACHE_NAME_BYTES] is Kind.END_TO_END
        assert len(cache) == before + 1

    def test_classify_reads_the_shared_cache(self) -> None:
        assert classify(b"x-fOo-bAr") is KINDS[b"x-fOo-bAr"] is Kind.END_TO_END
