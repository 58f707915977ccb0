from __future__ import annotations

import re

import pytest
import re2  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.effort import examples
from tunnel_hub.gateway import access
from tunnel_hub.gateway.access import PATTERN_CHARS, PATTERNS, AccessError, AccessList, is_anchored

# pattern -> targets that it allows, targets that it does not
ROWS: dict[str, tuple[list[bytes], list[bytes]]] = {
    "^/nomisapi/health$": (
        [b"/nomisapi/health", b"/nomisapi/health?x", b"/nomisapi/health?"],
        [
            *(b"/nomisapi/health/", b"/nomisapi/health/x", b"/x/nomisapi/health", b"/nomisapi/healt%68"),
            *(b"/", b"*", b"/nomisapi/health\n", b"/nomisapi/Health", b"/a?/nomisapi/health"),
        ],
    ),
    "/nomisapi/": ([b"/nomisapi/x", b"/x/nomisapi/y"], [b"/nomisapi", b"/x?/nomisapi/"]),
    ".*": ([b"/", b"/x?y", b"", b"/\xff"], []),
    "": ([b"/"], []),
    r"\A/a\z": ([b"/a"], [b"/a/", b"/b/a"]),
    r"^\/a\/[0-9]+$": ([b"/a/1", b"/a/12?b"], [b"/a/", b"/a/x", b"/a/1/"]),
    "(?i)^/a$": ([b"/A", b"/a"], [b"/b"]),
    "^/a$|^/b$": ([b"/a", b"/b"], [b"/c", b"/ab"]),
    "^/.$": ([b"/a", b"/\xe9"], [b"/", b"/\xc3\xa9"]),
    "[?]": ([], [b"/a?b", b"/a"]),
}


@pytest.mark.parametrize("pattern", ROWS)
def test_the_path_is_searched(pattern: str) -> None:
    access = AccessList.compile([pattern])
    allowed, others = ROWS[pattern]
    for target in allowed:
        assert access.allows(target), target
    for target in others:
        assert not access.allows(target), target


def test_any_of_several() -> None:
    access = AccessList.compile(["^/a$", "^/b$", "/c"])
    assert [target for target in (b"/a", b"/b", b"/x/c/", b"/ab") if access.allows(target)] == [
        b"/a",
        b"/b",
        b"/x/c/",
    ]
    assert access.patterns == ("^/a$", "^/b$", "/c")
    assert access.unanchored == ("/c",)
    assert not AccessList.compile([]).allows(b"/")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "missing )"),
        (")", "unexpected )"),
        ("[a", "missing ]"),
        ("*a", "no argument"),
        ("(?=a)", "invalid perl operator"),
        ("(?<!a)b", "invalid perl operator"),
        (r"(a)\1", "invalid escape"),
        (r"a\Z", "invalid escape"),
        ("a{1001}", "invalid repetition"),
        ("((a{100}){100}){100}", "invalid repetition"),
        ("(((a{30}b){30}c)|[^/]{1,1000}){1}" + "x{1000}" * 40, "pattern too large"),
        ("^/[^/]{1,1000}$", "repeats too much"),
        ("caf\u00e9", "percent-encoded"),
        ("a" * (PATTERN_CHARS + 1), "longer than"),
    ],
)
def test_a_pattern_that_cannot_be_used(pattern: str, said: str) -> None:
    with pytest.raises(AccessError) as caught:
        AccessList.compile(["^/a$", pattern])
    text = str(caught.value)
    assert said in text
    assert pattern[:20] in text.replace("\\\\", "\\")
    assert text.startswith("The path pattern '")
    assert len(text) < 260


def test_too_many() -> None:
    assert AccessList.compile(["/a"] * PATTERNS)
    with pytest.raises(AccessError, match="There are 65 path patterns, and 64 are allowed"):
        AccessList.compile(["/a"] * (PATTERNS + 1))


@pytest.mark.parametrize(
    "pattern",
    [
        "^/a$", r"\A/a\z", "^/a$|^/b$", "^(a|b)$", "^(?:a|b)$", "^.*$", "^$", "^[$]$", "^[a|b]$",
        "^[^]|]$",
        "^[]|]$", r"^[\]|]$", r"^\|$", r"^a\\$", "^(a|(b|c))$", "^[[:alpha:]|]$", r"^\($",
        "^(?P<n>a|b)$", "^(?i)a$",
        r"^[[:^alpha:]]+\z", "^a(?i:b|c)$",
    ],
)  # fmt: skip
def test_anchored(pattern: str) -> None:
    assert re2.compile(pattern)
    assert is_anchored(pattern)
    assert AccessList.compile([pattern]).unanchored == ()


@pytest.mark.parametrize(
    "pattern",
    [
        "", "/a", "^/a", "/a$", ".*", "^a|b$", "^a$|b", "^a$|^b", "^a$|", "|^a$", "a|^b$", r"^a\$", r"\^a$",
        "^", "$",
        r"\A", "^*a$", "^?a$", "^+a$", "^{0}a$", "^{0,1}a$", "^a$*", "^a$?", "^a${0}", "(^a$)",
        "(^a|b)$", "^(a|b$)",
        "(?m)^a$", "(?im)^a$", "^a(?m)$", r"^\Qa$", r"^a\Q|b$", "^[a]|b$", "^[[:alpha:][]|x]$", r"^\(|\)$",
        "^[]a]|b$",
        r"^[\]]|b$", "^[(]|b$", "(?i)^a$", "^(a)|(b)$", r"^[\\]|b$", "^((a)|b)|c$",
    ],
)  # fmt: skip
def test_unanchored(pattern: str) -> None:
    assert not is_anchored(pattern)
    assert AccessList.compile([pattern]).unanchored == (pattern,)


def test_oddities_that_re2_refuses_are_unanchored_too() -> None:
    for pattern in ("^[a$", "^(a$", r"^a$\E", "^[[:a$"):
        with pytest.raises(re2.error):
            re2.compile(pattern, _quiet())
        is_anchored(pattern)  # whatever it says


def _quiet() -> object:
    options = re2.Options()
    options.log_errors = False
    return options


PIECES = st.sampled_from(
    [
        "^",
        "$",
        "|",
        "(",
        ")",
        "(?:",
        "[",
        "]",
        "[^",
        "[:alpha:]",
        "\\",
        "a",
        "b",
        "*",
        "?",
        "+",
        "\\A",
        "\\z",
        "(?i)",
        "{0}",
        "-",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.text("ab|()[]$^-", min_size=1, max_size=3))
@settings(max_examples=examples(300), deadline=None)
@example("^[[:alpha:][]|b]$", "a")
@example("^[]|b]$", "x")
def test_what_is_called_anchored_is_found_nowhere_inside(pattern: str, middle: str) -> None:
    """The proof of the pudding: an anchored pattern that matches X...X at all matches the whole of it."""
    try:
        expression = re2.compile(pattern, _quiet())
    except re2.error:
        return
    if is_anchored(pattern):
        for text in (middle, f"\x01{middle}", f"{middle}\x01", f"\x01{middle}\x01", "a", "ab", "\x01a", "a\x01"):
            found = expression.search(text)
            assert found is None or found.span() == (0, len(text)), (pattern, text)


@given(st.text("abc/.", max_size=30))
@settings(deadline=None)
def test_plain_patterns_mean_what_they_mean_in_re(path: str) -> None:
    for pattern in ("^/a", "b$", "^/[ab]+/c$", "a.c", "^(/a|/b)+$"):
        expected = re.search(pattern, path) is not None
        assert AccessList.compile([pattern]).allows(path.encode()) == expected


def test_what_is_remembered_is_bounded_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REMEMBERED", 3)
    paths = AccessList.compile(["^/a[0-9]+$"])
    asked = [b"/a%d" % number for number in range(10)] + [b"/b", b"/a" + b"1" * 300, b"/a" + b"1" * 300 + b"x"]
    for _ in range(2):
        assert [paths.allows(path) for path in asked] == [True] * 10 + [False, True, False]
    assert len(paths._found) <= 3
    assert all(len(path) <= access.REMEMBERED_BYTES for path in paths._found)
