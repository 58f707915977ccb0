"""Query keys, as rules name them and as queries hold them; allow lists are in test_http_allow.py."""

from __future__ import annotations

import pytest

from protocol.http.query import NAMES_MAX, BadQuery, keys_of, names_of, rule_keys


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        (b"/a", set()),
        (b"/a=b&c", set()),
        (b"/a?b", {b"b"}),
        (b"/a?b=1&c=2&d", {b"b", b"c", b"d"}),
        (b"/a?b=%3B%26?c=d", {b"b"}),
        (b"/a?B=1&b=2", {b"B", b"b"}),
    ],
)
def test_keys_of(target: bytes, keys: set[bytes]) -> None:
    assert keys_of(target) == keys


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (b"/a?", "an empty key"),
        (b"/a?=b", "an empty key"),
        (b"/a?b&", "an empty key"),
        (b"/a?b&&c", "an empty key"),
        (b"/a?b;c", "a semicolon"),
        (b"/a?b=c;d", "a semicolon"),
        (b"/a?%62", "an encoded key"),
        (b"/a?b+c", "an encoded key"),
        (b"/a?b&b", "a key twice"),
        (b"/a?b=1&c&b=2", "a key twice"),
    ],
)
def test_keys_that_are_not_clear(target: bytes, what: str) -> None:
    with pytest.raises(BadQuery, match=f"^holds {what}$"):
        keys_of(target)


@pytest.mark.parametrize(
    ("text", "keys"), [("", set()), ("a", {b"a"}), ("a&b_c&d[]", {b"a", b"b_c", b"d[]"}), ("A.b-c~", {b"A.b-c~"})]
)
def test_rule_keys(text: str, keys: set[bytes]) -> None:
    assert rule_keys(text) == keys


@pytest.mark.parametrize("text", ["&", "a&", "a=1", "=", "*", "a%20", "a;b", "a&a", "a b", "\xe9", "a?b", "a#"])
def test_rule_keys_that_mean_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="query key"):
        rule_keys(text)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (b"/a?=b", ["*"]),
        (b"/a?noms_id=A1484AE&date_of_birth=1979-04-23", ["noms_id", "date_of_birth"]),
        (b"/a?dates[]=1&x-y.z", ["dates[]", "x-y.z"]),
        (b"/a?A1484AE&1979-04-23&a%40b=c&" + b"x" * 60, ["*", "*", "*", "*"]),
        (b"/a?x&x&y", ["x", "y"]),
    ],
)
def test_names_of(target: bytes, names: list[str]) -> None:
    assert names_of(target) == names
    assert len(names_of(b"/?" + b"&".join(b"x" * (n + 1) for n in range(40)))) == NAMES_MAX
