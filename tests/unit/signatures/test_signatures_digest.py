from __future__ import annotations

import pytest

from protocol.signatures.digest import BadDigest, Digests, content_digest, dictionary
from tests.unit.signatures.signing import digest

BODY = b'{"hello": "world"}'


def test_the_digests_of_rfc_9530() -> None:
    assert content_digest(BODY) == "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
    Digests(
        [b"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"]
    ).check(BODY)


@pytest.mark.parametrize(
    "fields",
    [
        [digest(BODY)],
        [digest(BODY, "sha-512")],
        [digest(BODY), digest(BODY, "sha-512")],
        [digest(BODY) + b" ,\t" + digest(BODY, "sha-512")],
        [digest(BODY), b"md5=:AAAA:"],
        [digest(BODY), b"unixsum=3"],
    ],
)
def test_right_digests(fields: list[bytes]) -> None:
    Digests(fields).check(BODY)
    for other in (b"", BODY + b" ", BODY[:-1]):
        with pytest.raises(BadDigest, match="does not have the sha-"):
            Digests(fields).check(other)


def test_every_digest_must_hold() -> None:
    for one, other in ((BODY, b"x"), (b"x", BODY)):
        with pytest.raises(BadDigest):
            Digests([digest(one), digest(other, "sha-512")]).check(BODY)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([b""], "neither sha-256 nor sha-512"),
        ([b"md5=:AAAA:"], "neither sha-256 nor sha-512"),
        ([b"sha-256"], "not a byte sequence"),
        ([b'sha-256="AAAA"'], "not a byte sequence"),
        ([b"sha-256=(:AAAA:)"], "not a byte sequence"),
        ([b"sha-256=:AA*A:"], "not a well-formed"),
        ([b"SHA-256=:AAAA:"], "not a well-formed"),
        ([b"\xff"], "not a well-formed"),
        ([digest(BODY), digest(b"x")], "not a well-formed"),
        ([digest(BODY), b"x=" + b"1" * 5000], "not a well-formed"),
    ],
)
def test_wrong_fields(fields: list[bytes], why: str) -> None:
    with pytest.raises(BadDigest, match=why):
        Digests(fields)


def test_a_dictionary_has_every_key_once_and_every_parameter_too() -> None:
    assert dictionary([b"a=1", b"b;c=2"]) == {"a": (1, {}), "b": (True, {"c": 2})}
    for wrong in ([b"a=1", b"a=2"], [b"a;b=1;b=2"], [b"a=1,"], [b"a=" + b"1" * 5000]):
        with pytest.raises(ValueError):  # noqa: PT011
            dictionary(wrong)
