"""What the path policy accepts means the same to everyone who reads it, however often they decode it."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote_to_bytes

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.http.allow import AllowList
from protocol.http.target import DECODINGS, EXCEPTIONS, BadTarget, check_target
from tests.support.effort import examples

PIECES = st.sampled_from(
    [
        b"/", b"a", b"b", b".", b"..", b"%2e", b"%2E", b"%2f", b"%2F", b"%5c", b"%25", b"%252e", b"%252f",
        b"%00", b"%3b",
        b"%c3%a9", b"%c3", b"%c0%ae", b"%ff", b"%20", b"%zz", b"%", b";", b"\\", b"//", b"?", b"#", b"@",
        b"%u002e",
        b"%0d%0a", b" ", b"\r\n", b"\x00", b"\xff", b"-", b"~", b"%41", b"%7f", b"%C2%80",
    ]
)  # fmt: skip
TARGETS = st.one_of(
    st.lists(PIECES, max_size=10).map(lambda pieces: b"/" + b"".join(pieces)),
    st.binary(max_size=20).map(lambda tail: b"/" + tail),
    st.binary(max_size=6),
)


def accepted(target: bytes, exceptions: frozenset[str] = frozenset()) -> bool:
    try:
        check_target(target, exceptions)
    except BadTarget:
        return False
    return True


@settings(max_examples=examples(2000), deadline=None)
@given(TARGETS)
@example(b"/a%20b/%c3%a9?%2F..//")
def test_decoding_an_accepted_path_changes_nothing_about_its_segments(target: bytes) -> None:
    if not accepted(target):
        return
    path, _, query = target.partition(b"?")
    decoded = unquote_to_bytes(path)
    text = decoded.decode("utf-8")  # valid, and not overlong
    assert text.isprintable() or not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)
    assert decoded.count(b"/") == path.count(b"/")
    assert not {b".", b".."} & set(decoded.split(b"/"))
    assert b"" not in decoded.split(b"/")[1:-1]
    assert not set(b"\\;") & set(decoded)
    assert unquote_to_bytes(decoded) == decoded  # a second decoding finds nothing
    # A server that normalises gets what it had; only the slash at the end may go.
    assert posixpath.normpath(text).rstrip("/") == text.rstrip("/")
    assert all(0x20 < octet < 0x7F and octet != 0x23 for octet in query)


@settings(max_examples=examples(2000), deadline=None)
@given(TARGETS, st.sets(st.sampled_from(sorted(EXCEPTIONS))).map(frozenset))
def test_no_set_of_exceptions_lets_a_dot_segment_or_control_character_through(
    target: bytes, exceptions: frozenset[str]
) -> None:
    if not accepted(target, exceptions):
        return
    path = target.partition(b"?")[0]
    for _ in range(DECODINGS + 2):
        segments = path.replace(b"\\", b"/").split(b"/")
        assert not {b".", b".."} & {segment.partition(b";")[0] for segment in segments}
        assert not any(octet < 32 or octet == 127 for octet in path)
        path = unquote_to_bytes(path)


@settings(max_examples=examples(500), deadline=None)
@given(TARGETS)
def test_exceptions_only_ever_add(target: bytes) -> None:
    if accepted(target):
        assert all(accepted(target, frozenset({name})) for name in EXCEPTIONS)


class Sink:
    def __init__(self) -> None:
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url


@settings(max_examples=examples(500), deadline=None)
@given(TARGETS)
def test_a_parser_downstream_reads_an_accepted_target_as_it_is(target: bytes) -> None:
    if not accepted(target):
        return
    sink = Sink()
    httptools.HttpRequestParser(sink).feed_data(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert sink.url == target
    parsed = httptools.parse_url(b"http://a" + target)
    assert parsed.path == target.partition(b"?")[0]
    assert parsed.fragment is None
    assert parsed.userinfo is None


SEGMENT = st.text(st.sampled_from("ab.-"), min_size=1, max_size=3).filter(lambda text: text not in {".", ".."})


@settings(max_examples=examples(1000), deadline=None)
@given(st.lists(SEGMENT, min_size=1, max_size=4), st.data())
def test_a_literal_rule_sees_the_path_that_a_decoding_upstream_sees(
    segments: list[str], data: st.DataObject
) -> None:
    """Encoding a character never widens what is allowed: it either denies or names the very same resource."""
    path = "/" + "/".join(segments)
    boundary = AllowList.compile([f"GET {path}"])
    encoded = "".join(
        f"%{ord(char):02x}" if char != "/" and data.draw(st.booleans()) else char for char in path
    ).encode()
    assert boundary.allows(b"GET", path.encode())
    assert boundary.allows(b"GET", encoded) == (encoded == path.encode())
    everything = AllowList.compile([f"GET /{segments[0]}/**"])
    if everything.allows(b"GET", encoded):
        assert unquote_to_bytes(encoded).startswith(f"/{segments[0]}/".encode())
