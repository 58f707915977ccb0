from __future__ import annotations

import pytest

from protocol.http import target as target_module
from protocol.http.target import DECODINGS, EXCEPTIONS, BadTarget, check_target, parse_request_target

GOOD = [
    b"/",
    b"/a",
    b"/a/",
    b"/nomisapi/offenders/A1484AE/visits/booking",
    b"/?",
    b"/?a",
    b"/a?b?c",
    b"/lookup?noms_id=A1475AE&date_of_birth=1979-04-23",
    b"/events?from_datetime=2017-10-24%2015:36:24.380&limit=1000",
    b"/a?path=%2F..%2f%5c%00;x//y/../z",
    b"/a?100%",
    b"/a?%zz",
    b'/a?[]{}|\\^`"<>',
    b"/-._~!$&'()*+,=:@",
    b"/a%20b",
    b"/a%3Ab%40",
    b"/a%3fb%23c",
    b"/%41",
    b"/100%25",
    b"/100%25/b",
    b"/100%25zz",
    b"/caf%C3%A9",
    b"/%f0%9f%98%80",
    b"/...",
    b"/..a",
    b"/a..",
    b"/.a/.b",
    b"/a.b/c",
    b"/%2ea",
    b"/a%2e%2e",
    b"/...%2e",
]
BAD = {
    b"": "slash",
    b"a": "slash",
    b"*": "slash",
    b"?a": "slash",
    b"http://a/": "slash",
    b" /": "slash",
    b"//": "empty segment",
    b"//a": "empty segment",
    b"/a//b": "empty segment",
    b"/a//": "empty segment",
    b"/a//?b": "empty segment",
    b"/.": "dot segment",
    b"/..": "dot segment",
    b"/./": "dot segment",
    b"/../": "dot segment",
    b"/a/./b": "dot segment",
    b"/a/../b": "dot segment",
    b"/a/.?b": "dot segment",
    b"/a/..?b": "dot segment",
    b"/nomisapi/health/../offenders/A1484AE": "dot segment",
    b"/%2e": "dot segment",
    b"/%2E%2e/a": "dot segment",
    b"/a/.%2e/b": "dot segment",
    b"/a/%2e./b": "dot segment",
    b"/a/%2e?x": "dot segment",
    b"/a%2fb": "encoded slash",
    b"/a%2F..%2Fb": "encoded slash",
    b"/a%5cb": "encoded backslash",
    b"/a%5Cb": "encoded backslash",
    b"/a\\b": "backslash",
    b"/..\\a": "backslash",
    b"/a;b": "semicolon",
    b"/a;": "semicolon",
    b"/..;/a": "semicolon",
    b"/a%3bb": "semicolon",
    b"/a%3Bb": "semicolon",
    b"/a%00": "control character",
    b"/a%0d%0aX:y": "control character",
    b"/a%09": "control character",
    b"/a%1f": "control character",
    b"/a%7f": "control character",
    b"/a%7F": "control character",
    b"/a%C2%85": "control character",
    b"/a%252fb": "escape of an escape",
    b"/a%252e%252e": "escape of an escape",
    b"/a%25252e": "escape of an escape",
    b"/%25%32%66": "escape of an escape",
    b"/%2541": "escape of an escape",
    b"/%25u002f": "escape of an escape",
    b"/%": "hexadecimal",
    b"/%a": "hexadecimal",
    b"/%zz": "hexadecimal",
    b"/%u002f": "hexadecimal",
    b"/a%2?f": "hexadecimal",
    b"/a%2/f": "hexadecimal",
    b"/%ff": "UTF-8",
    b"/%c3": "UTF-8",
    b"/%c3/%a9": "UTF-8",
    b"/%c0%ae%c0%ae/a": "UTF-8",
    b"/%c0%af": "UTF-8",
    b"/%e0%80%af": "UTF-8",
    b"/%ed%a0%80": "UTF-8",
    b"/%f5%80%80%80": "UTF-8",
    b"/a#b": "fragment",
    b"/a?b#c": "fragment",
    b"/#": "fragment",
    b"/a b": "control character or a space",
    b"/a\tb": "control character or a space",
    b"/a\r\nb": "control character or a space",
    b"/a\n": "control character or a space",
    b"/a\x00": "control character or a space",
    b"/a\x7f": "control character or a space",
    b"/a?b c": "control character",
    b"/a?b\n": "control character",
    b"/a?\x00": "control character",
    b"/a?\x7f": "control character",
    b"/a?\xc3\xa9": "outside ASCII",
    b"/\xc3\xa9": "must encode",
    b"/a{b}": "must encode",
    b"/a|b": "must encode",
    b'/a"b': "must encode",
    b"/a<b": "must encode",
    b"/a^b": "must encode",
    b"/a`b": "must encode",
    b"/a[b]": "must encode",
}


@pytest.mark.parametrize("target", GOOD)
def test_unambiguous_targets_pass(target: bytes) -> None:
    check_target(target)
    check_target(target, frozenset(EXCEPTIONS))


@pytest.mark.parametrize(("target", "reason"), BAD.items())
def test_everything_else_is_refused_with_its_reason(target: bytes, reason: str) -> None:
    with pytest.raises(BadTarget) as caught:
        check_target(target)
    assert reason in str(caught.value)
    if len(target) > 4:
        assert target.decode("latin-1") not in str(caught.value)


ALLOWED_BY = {
    "%2f": [b"/a%2fb", b"/a%2Fb", b"/a%2f", b"/x%2Fy/z"],
    "%5c": [b"/a%5cb", b"/a%5Cb"],
    "%25": [b"/%2541", b"/100%2525", b"/a%2520b"],
    ";": [b"/a;b", b"/a;b=c/d", b"/a%3bb", b"/;", b"/a;?b"],
    "//": [b"//", b"//a", b"/a//b", b"/a///"],
}


@pytest.mark.parametrize(("exception", "target"), [(name, t) for name, ts in ALLOWED_BY.items() for t in ts])
def test_an_exception_lets_through_what_it_names_and_no_other_does(exception: str, target: bytes) -> None:
    check_target(target, frozenset({exception}))
    with pytest.raises(BadTarget):
        check_target(target, frozenset(EXCEPTIONS) - {exception})


@pytest.mark.parametrize(
    "target",
    [
        b"/a/../b", b"/..%2fa", b"/a%2f..%2fb", b"/a%2f%2e%2e", b"/..%5ca", b"/a%5c..%5cb", b"/..;/a",
        b"/..;x=y/a", b"/.;",
        b"/%2e%2e;/a", b"/..%3b/a", b"/%252e%252e/a", b"/a%252f%252e%252e%252fb", b"/a%255c..",
        b"/%25252e%25252e/a",
        b"//../a", b"/a//..", b"/..%253ba", b"/a%00", b"/a%2500", b"/a%250d%250a", b"/a%25ff", b"/a#b",
        b"/a\\b", b"/a b",
        b"/%c0%ae", b"/%25c0%25ae", b"/%zz", b"/\xff", b"a", b"/%25u002f",
    ],
)  # fmt: skip
def test_no_exception_lets_dot_segments_or_rubbish_through(target: bytes) -> None:
    with pytest.raises(BadTarget):
        check_target(target, frozenset(EXCEPTIONS))


@pytest.mark.parametrize(
    ("target", "exception"),
    [
        (b"/a%2f/b", "%2f"),
        (b"/a/%2fb", "%2f"),
        (b"/a%2f%2fb", "%2f"),
        (b"/a%5c%5cb", "%5c"),
        (b"/a%252fb", "%25"),
        (b"/a%255cb", "%25"),
        (b"/a%253bb", "%25"),
    ],
)
def test_an_exception_does_not_bring_another_in_by_decoding(target: bytes, exception: str) -> None:
    with pytest.raises(BadTarget):
        check_target(target, frozenset({exception}))


def test_the_depth_of_nesting_is_bounded() -> None:
    allowed = frozenset(EXCEPTIONS)
    check_target(b"/" + b"%25" + b"25" * (DECODINGS - 1), allowed)
    for depth in (DECODINGS, 5000):
        with pytest.raises(BadTarget, match="escape of an escape"):
            check_target(b"/" + b"%25" + b"25" * depth + b"41", allowed)


@pytest.mark.parametrize("target", GOOD)
def test_the_rules_one_by_one_agree_with_the_fast_path(target: bytes) -> None:
    target_module._check_path(target.partition(b"?")[0], target_module.NONE)


def test_typical_targets_take_the_fast_path() -> None:
    for target in (b"/", b"/nomisapi/offenders/A1484AE", b"/a%20b/c?d=%2f", b"/x/?"):
        assert target_module._is_plain(target)


class TestForms:
    @pytest.mark.parametrize("raw", [b"/", b"/a?b", b"//a", b"/../", b"/a#b"])
    def test_origin_form_is_taken_as_it_is(self, raw: bytes) -> None:
        assert parse_request_target(b"GET", raw) == (raw, None)

    @pytest.mark.parametrize(
        ("raw", "target", "authority"),
        [
            (b"http://a", b"/", b"a"),
            (b"http://a/", b"/", b"a"),
            (b"HTTPS://A.b:8443/x?y", b"/x?y", b"A.b:8443"),
            (b"http://a?x=y", b"/?x=y", b"a"),
            (b"http://[::1]:80/x", b"/x", b"[::1]:80"),
            (b"http://a//b", b"//b", b"a"),
        ],
    )
    def test_absolute_form_yields_its_authority(self, raw: bytes, target: bytes, authority: bytes) -> None:
        assert parse_request_target(b"GET", raw) == (target, authority)

    @pytest.mark.parametrize(
        "raw",
        [
            b"", b"a", b"a:80", b"a/b", b"*", b"**", b"ftp://a/", b"http:/a", b"http:a", b"http:///a",
            b"http://", b"http://?a",
            b"http://u@a/", b"http://u:p@a/", b"http://@a/", b"http://a:/", b"http://a:x/", b"http://a b/",
            b"http://a\\b/",
            b"http://a%2fb/", b"://a", b"?a", b" /", b"ws://a/", b"http://a#b@c/",
        ],
    )  # fmt: skip
    def test_everything_else_is_refused(self, raw: bytes) -> None:
        with pytest.raises(BadTarget):
            check_target(parse_request_target(b"GET", raw)[0])

    def test_asterisk_form_belongs_to_options(self) -> None:
        assert parse_request_target(b"OPTIONS", b"*") == (b"*", None)
        assert parse_request_target(b"OPTIONS", b"http://a") == (b"*", b"a")
        assert parse_request_target(b"OPTIONS", b"http://a/") == (b"/", b"a")
        assert parse_request_target(b"OPTIONS", b"http://a?b") == (b"/?b", b"a")
        with pytest.raises(BadTarget, match="OPTIONS"):
            parse_request_target(b"GET", b"*")

    @pytest.mark.parametrize("raw", [b"a:80", b"a", b"127.0.0.1:22"])
    def test_authority_form_is_refused(self, raw: bytes) -> None:
        with pytest.raises(BadTarget):
            parse_request_target(b"CONNECT", raw)

    def test_user_information_is_named_and_not_quoted(self) -> None:
        with pytest.raises(BadTarget, match="user information") as caught:
            parse_request_target(b"GET", b"http://user:secret@a/")
        assert "secret" not in str(caught.value)
