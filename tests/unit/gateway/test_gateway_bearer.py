from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tokens import b64, unb64
from tests.unit.gateway.refusals import refused_blindly, row
from tunnel_hub.gateway.bearer import BEARER_BYTES, NESTING, take_apart
from tunnel_hub.gateway.grant import Unauthenticated

HEADER = b64(b'{"alg":"ES256"}')
SIGNATURE = b64(bytes(64))


def bearer(payload: bytes = b"{}", header: bytes = b'{"alg":"ES256"}') -> bytes:
    return b".".join((b64(header), b64(payload), SIGNATURE))


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_the_parts_of_a_good_one() -> None:
    text = bearer(b'{"iat": 1.5, "token": "\xc3\xa9", "more": [true, null]}')
    parts = take_apart(text)
    assert parts.header == {"alg": "ES256"}
    assert parts.payload == {"iat": 1.5, "token": "\u00e9", "more": [True, None]}
    assert parts.signed + b"." + SIGNATURE == text
    assert parts.signature == bytes(64)
    assert "\u00e9" not in repr(parts)


def test_the_alphabet_is_the_url_safe_one() -> None:
    assert take_apart(HEADER + b".e30." + b"-" * 85 + b"A").signature[:63] == b"\xfb\xef\xbe" * 21
    assert take_apart(HEADER + b".e30." + b"_" * 85 + b"A").signature[:63] == b"\xff" * 63


def test_deep_enough_and_long_enough() -> None:
    assert take_apart(bearer(nested(NESTING + 1)))
    room = BEARER_BYTES - len(bearer(b'{"a":""}'))
    longest = bearer(b'{"a":"' + b"x" * (room * 3 // 4) + b'"}')
    assert BEARER_BYTES - 4 < len(longest) <= BEARER_BYTES
    assert take_apart(longest)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b".",
        b"..",
        b"...",
        b"a.b.c",
        HEADER,
        HEADER + b"." + HEADER,
        bearer() + b".",
        bearer() + b"." + SIGNATURE,
        b"." + bearer(),
        HEADER + b".." + SIGNATURE,
        HEADER + b"." + b64(b"{}") + b".",
        bearer() + b"=",
        bearer() + b"\n",
        bearer() + b" ",
        b" " + bearer(),
        bearer()[:-1],
        bearer() + b"AAA",
        HEADER + b".e30." + b"+" * 85 + b"A",
        HEADER + b".e30." + b"/" * 85 + b"A",
        HEADER + b".e30." + b"-" * 84 + b"=A",
        HEADER + b".e30\xff." + SIGNATURE,
        bearer(b"{ }") + b"\x00",
        # the last character with bits left over: another spelling of the same bytes
        HEADER + b"." + b64(b"{}") + b"." + SIGNATURE[:-1] + b"B",
        HEADER + b"." + b64(b'{"a":1}')[:-1] + b"R." + SIGNATURE,
        bearer(b"[]"),
        bearer(b"null"),
        bearer(b'"a"'),
        bearer(b"1"),
        bearer(b""),
        bearer(b"{"),
        bearer(b"{}{}"),
        bearer(b"{'a':1}"),
        bearer(b'{"a":1,}'),
        bearer(b"\xef\xbb\xbf{}"),
        bearer(b'{"a":"\xff"}'),
        bearer('{"a":1}'.encode("utf-16")),
        bearer('{"a":1}'.encode("utf-16-le")),
        bearer(b'{"iat":1,"iat":1}'),
        bearer(b'{"iat":1,"i\\u0061t":1}'),
        bearer(b'{"a":{"b":1,"b":1}}'),
        bearer(b'{"iat":NaN}'),
        bearer(b'{"iat":Infinity}'),
        bearer(b'{"iat":-Infinity}'),
        bearer(b'{"iat":' + b"9" * 5000 + b"}"),
        bearer(b'{"iat":01}'),
        bearer(b'{"iat":+1}'),
        bearer(b'{"iat":0x1}'),
        bearer(b'{"a":"\n"}'),
        bearer(nested(NESTING + 2)),
        bearer(b'{"a":' + b"[" * (NESTING + 1) + b"]" * (NESTING + 1) + b"}"),
        bearer(b'{"a":' + b"[" * 2900 + b"]" * 2900 + b"}"),
        bearer(b'{"a":' + b"[" * 5900),
        bearer(header=b"[]"),
        bearer(header=b'{"alg":"ES256","alg":"none"}'),
        bearer(header=b'{"alg":"ES256","crit":["exp"],"exp":1}'),
        bearer(header=b'{"alg":"ES256","crit":[]}'),
        bearer(header=b'{"alg":"ES256","b64":false}'),
        bearer(b'{"a":"' + b"x" * BEARER_BYTES + b'"}'),
        b"." * 100_000,
        b"Bearer " + bearer(),
        bearer().replace(b".", b"%2e"),
    ],
    ids=row,
)
def test_a_bad_one(text: bytes) -> None:
    refused_blindly(lambda: take_apart(text), text)


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_any_bytes_are_refused_or_read_in_their_only_spelling(data: bytes) -> None:
    """Whatever part is accepted, encoding what was read gives the very text back."""
    text = HEADER + b"." + b64(b"{}") + b"." + data
    try:
        parts = take_apart(text)
    except Unauthenticated:
        assert not data or b64(unb64_or_nothing(data)) != data
    else:
        assert b64(parts.signature) == data


def unb64_or_nothing(data: bytes) -> bytes:
    try:
        return unb64(data)
    except ValueError:
        return b""


SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)


@given(st.dictionaries(st.text(max_size=8), SCALARS | st.lists(SCALARS, max_size=3), max_size=5))
@settings(deadline=None)
def test_any_object_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    assert take_apart(bearer(json.dumps(value).encode())).payload == value
