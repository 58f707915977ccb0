from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.http.allow import AllowList, Decision, RuleError
from tests.support.effort import examples

# pattern -> targets that GET may have, targets that it may not
PATTERNS: dict[str, tuple[list[str], list[str]]] = {
    "/": (["/", "/?a"], ["/a", "", "*"]),
    "/a": (["/a", "/a?", "/a?b/c"], ["/a/", "/A", "/ab", "/", "/a/b", "/%61", "/b/a"]),
    "/a/": (["/a/", "/a/?x"], ["/a", "/a/b"]),
    "/a.b": (["/a.b"], ["/axb"]),
    "/a+(b)$": (["/a+(b)$"], ["/aa(b)$", "/a+b$"]),
    "/%41": (["/%41"], ["/A", "/%4"]),
    "/*": (["/a", "/a.b", "/a?b", "/caf%c3%a9"], ["/", "/a/", "/a/b"]),
    "/*/": (["/a/"], ["/a", "/", "/a/b/"]),
    "/a/*": (["/a/b"], ["/a/", "/a", "/a/b/", "/a/b/c", "/b/a"]),
    "/a/*/c": (["/a/b/c", "/a/*/c"], ["/a/c", "/a/b/b/c", "/a/b/c/", "/a/b/cc"]),
    "/img/*.png": (
        ["/img/a.png", "/img/a.png.png", "/img/..png"],
        ["/img/.png", "/img/a/b.png", "/img/a.png/", "/img/apng"],
    ),
    "/a*": (["/ab", "/abc"], ["/a", "/b", "/ab/", "/ab/c"]),
    "/a*b*c": (["/axbxc", "/abbbc", "/axbbc", "/axbxcc"], ["/abc", "/axbc", "/abxc", "/axbxd", "/axb/xc"]),
    "/*a*": (["/bac", "/baac", "/aaa"], ["/ab", "/ba", "/aa", "/bac/"]),
    "/**": (["/", "/a", "/a/", "/a/b/c", "/a?b"], ["", "*"]),
    "/nomisapi/**": (
        ["/nomisapi/", "/nomisapi/a", "/nomisapi/a/", "/nomisapi/a/b?c", "/nomisapi/?x"],
        [
            "/nomisapi",
            "/nomisapi?a",
            "/nomisapix/a",
            "/nomisap",
            "/Nomisapi/a",
            "/x/nomisapi/a",
            "/",
            "/%6eomisapi/a",
        ],
    ),
    "/a/**/z": (
        ["/a/z", "/a/b/z", "/a/b/c/z?q", "/a/z/z", "/a/z/b/z"],
        ["/a", "/az", "/a/z/", "/a/bz", "/a/b/zz", "/a/b/z/c", "/z"],
    ),
    "/a/**/z/**": (["/a/z/", "/a/b/z/", "/a/z/c", "/a/b/z/c/d"], ["/a/z", "/a/b/z", "/a/c/"]),
    "/**/z": (["/z", "/a/z", "/a/b/z"], ["/", "/az", "/z/"]),
    "/**/": (["/", "/a/", "/a/b/"], ["/a", "/a/b"]),
    "/a/**/": (["/a/", "/a/b/"], ["/a", "/a/b"]),
    "/a/**/b/**/c": (["/a/b/c", "/a/x/b/y/c", "/a/b/b/c", "/a/b/c/b/c"], ["/a/c", "/a/b", "/a/c/b", "/a/bc"]),
    "/a/**/b/*/**/c": (["/a/b/x/c", "/a/b/b/c", "/a/b/b/b/c"], ["/a/b/c", "/a/b/x"]),
    "/a/**/*b/c*/**/d": (["/a/xb/cx/d", "/a/xb/xb/cx/e/d"], ["/a/b/cx/d", "/a/xb/c/d", "/a/xb/y/cx/d"]),
}


@pytest.mark.parametrize(
    ("pattern", "target"), [(pattern, target) for pattern, (yes, _) in PATTERNS.items() for target in yes]
)
def test_allowed(pattern: str, target: str) -> None:
    boundary = AllowList.compile([f"GET {pattern}"])
    assert boundary.allows(b"GET", target.encode())
    assert boundary.allows(b"HEAD", target.encode())
    assert not boundary.allows(b"POST", target.encode())
    decision = boundary.decide(b"GET", target.encode())
    assert decision == Decision(True, f"GET {pattern}", f"Allowed by the rule 'GET {pattern}'.")


@pytest.mark.parametrize(
    ("pattern", "target"), [(pattern, target) for pattern, (_, no) in PATTERNS.items() for target in no]
)
def test_refused(pattern: str, target: str) -> None:
    boundary = AllowList.compile([f"* {pattern}"])
    assert not boundary.allows(b"GET", target.encode())
    decision = boundary.decide(b"GET", target.encode())
    assert (decision.allowed, decision.rule) == (False, None)


@pytest.mark.parametrize(
    ("methods", "allowed"),
    [
        ("GET", {"GET", "HEAD"}),
        ("HEAD", {"HEAD"}),
        ("POST", {"POST"}),
        ("GET,POST", {"GET", "HEAD", "POST"}),
        ("PUT,PATCH,DELETE,OPTIONS", {"PUT", "PATCH", "DELETE", "OPTIONS"}),
        ("*", {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN"}),
    ],
)
def test_methods(methods: str, allowed: set[str]) -> None:
    boundary = AllowList.compile([f"{methods} /a"])
    every = [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "X-OWN",
        "CONNECT",
        "TRACE",
        "get",
        "*",
    ]
    found = {method for method in every if boundary.allows(method.encode(), b"/a")} - {"get", "*"}
    assert found == allowed
    assert {method for method in every if boundary.decide(method.encode(), b"/a").allowed} - {
        "get",
        "*",
    } == allowed


@pytest.mark.parametrize(
    "method", [b"CONNECT", b"TRACE", b"", b"GET /a HTTP/1.1\r\nX:", b"GET ", b"G\x00", b"\xff", b"A" * 33]
)
def test_some_methods_are_never_allowed(method: bytes) -> None:
    boundary = AllowList.compile(["* /**", "GET,POST /**"])
    assert not boundary.allows(method, b"/a")
    assert not boundary.decide(method, b"/a").allowed


@pytest.mark.parametrize(
    "target",
    [
        b"/a/../b", b"/a/..", b"/a/%2e%2e/b", b"/a//b", b"/a/b;c", b"/a%2fb", b"/a%5cb", b"/a%00", b"/a%252e",
        b"/a\\b", b"/a#b",
        b"/a b", b"/a\r\nb", b"/a?b\r\nc", b"/%c0%ae", b"/\xff", b"http://other/a", b"*", b"", b"//other/a",
    ],
)  # fmt: skip
def test_no_rule_can_allow_an_ambiguous_target(target: bytes) -> None:
    boundary = AllowList.compile(["* /**", "GET /a/**"])
    assert not boundary.allows(b"GET", target)
    decision = boundary.decide(b"GET", target)
    assert not decision.allowed
    assert decision.reason.endswith(", which no rule can allow.")


def test_the_path_policy_can_be_told_exceptions() -> None:
    strict, loose = AllowList.compile(["GET /a/*"]), AllowList.compile(["GET /a/*"], frozenset({"%2f", ";"}))
    for target in (b"/a/b%2fc", b"/a/b;c"):
        assert not strict.allows(b"GET", target)
        assert loose.allows(b"GET", target)
        assert loose.decide(b"GET", target).allowed
    assert not loose.allows(b"GET", b"/a/b%2f..%2fc")


def test_nothing_is_allowed_by_default() -> None:
    boundary = AllowList.compile([])
    assert not boundary.allows(b"GET", b"/")
    assert boundary.decide(b"GET", b"/").reason == "The service has no rules, so nothing is allowed."


class TestDecision:
    boundary = AllowList.compile(["GET /a/**", "POST,PATCH /a/*/b", "* /a/x"])

    @pytest.mark.parametrize(
        ("method", "target", "rule", "reason"),
        [
            (b"GET", b"/a/1/b", "GET /a/**", "Allowed by the rule 'GET /a/**'."),
            (b"POST", b"/a/1/b", "POST,PATCH /a/*/b", "Allowed by the rule 'POST,PATCH /a/*/b'."),
            (b"GET", b"/a/x", "GET /a/**", "Allowed by the rule 'GET /a/**'."),  # the first that fits
            (b"PUT", b"/a/x", "* /a/x", "Allowed by the rule '* /a/x'."),
            (b"PUT", b"/a/1/b", None, "The path is allowed for GET, HEAD, PATCH, POST only."),
            (b"GET", b"/env", None, "No rule allows this path."),
            (b"TRACE", b"/a/x", None, "TRACE is never allowed."),
            (b"A B", b"/a/x", None, "The method is not a valid HTTP method."),
            (b"GET", b"/a/../env", None, "The path holds a dot segment, which no rule can allow."),
        ],
    )
    def test_says_why(self, method: bytes, target: bytes, rule: str | None, reason: str) -> None:
        assert self.boundary.decide(method, target) == Decision(rule is not None, rule, reason)

    def test_rules_as_written(self) -> None:
        assert self.boundary.rules == ("GET /a/**", "POST,PATCH /a/*/b", "* /a/x")


# rule -> queries that it allows on its path, queries that it does not; "" is no question mark at all
QUERIES: dict[str, tuple[list[str], list[str]]] = {
    "GET /a": (["", "?", "?x", "?x=1&x=2", "?a;b", "?%61", "?&&"], []),
    "GET /a?": ([""], ["?", "?x", "?=", "?&"]),
    "GET /a?x": (["", "?x", "?x=", "?x=1", "?x=1=2", "?x=?", "?x=%26y=1", "?x=+"], ["?", "?X", "?xx", "?y=x"]),
    "GET /a?x&y": (
        ["?x=1&y=2", "?y=2&x=1", "?y", "?x=/a/../b"],
        [
            "?x=1&x=2",
            "?x&x",
            "?x&",
            "?&x",
            "?x&&y",
            "?x&y&z",
            "?=1",
            "?%78=1",
            "?x%3d=1",
            "?x;y",
            "?x=1;y=2",
            "?x+=1",
        ],
    ),
    "GET /a?dates[]&a.b:c": (["?dates[]=1", "?a.b:c=1&dates[]"], ["?dates%5b%5d=1", "?dates[0]=1"]),
}


@pytest.mark.parametrize(("rule", "query"), [(rule, query) for rule, (yes, _) in QUERIES.items() for query in yes])
def test_query_allowed(rule: str, query: str) -> None:
    boundary = AllowList.compile([rule])
    assert boundary.allows(b"GET", b"/a" + query.encode())
    assert boundary.allows(b"HEAD", b"/a" + query.encode())
    assert boundary.decide(b"GET", b"/a" + query.encode()) == Decision(
        True, rule, f"Allowed by the rule '{rule}'."
    )
    for method, path in ((b"POST", b"/a"), (b"GET", b"/b"), (b"GET", b"/a/"), (b"TRACE", b"/a"), (b"get", b"/a")):
        assert not boundary.allows(method, path + query.encode())
        assert not boundary.decide(method, path + query.encode()).allowed


@pytest.mark.parametrize(("rule", "query"), [(rule, query) for rule, (_, no) in QUERIES.items() for query in no])
def test_query_refused(rule: str, query: str) -> None:
    boundary = AllowList.compile([rule, "POST /a"])
    assert not boundary.allows(b"GET", b"/a" + query.encode())
    assert not boundary.allows(b"CONNECT", b"/a" + query.encode())
    decision = boundary.decide(b"GET", b"/a" + query.encode())
    assert (decision.allowed, decision.rule, decision.by_query) == (False, None, True)
    assert f"The rule '{rule}' fits, but the query " in decision.reason
    assert boundary.allows(b"POST", b"/a" + query.encode())


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?z=1", "holds a key that it does not name"),
        ("?x=1&x=2", "holds a key twice"),
        ("?%78=1", "holds an encoded key"),
        ("?x=1&", "holds an empty key"),
        ("?x=1;y=2", "holds a semicolon"),
    ],
)
def test_why_a_query_is_refused(query: str, reason: str) -> None:
    boundary = AllowList.compile(["GET /a?x&y", "GET /a?"])
    assert boundary.decide(b"GET", b"/a" + query.encode()).reason == (
        f"The rule 'GET /a?x&y' fits, but the query {reason}."
    )
    alone = AllowList.compile(["GET /a?"]).decide(b"GET", b"/a?z=1")
    assert alone.reason == "The rule 'GET /a?' fits, but the query is there, and it allows none."


def test_rules_with_keys_stand_beside_others() -> None:
    boundary = AllowList.compile(["GET /a/*?x", "GET /a/*?y", "* /a/b?z", "POST /a/**"])
    assert boundary.allows(b"GET", b"/a/1?x=1")
    assert boundary.allows(b"GET", b"/a/1?y=1")
    assert not boundary.allows(b"GET", b"/a/1?x=1&y=1"), "one rule must allow all of it"
    assert boundary.allows(b"PUT", b"/a/b?z")
    assert not boundary.allows(b"PUT", b"/a/c?z")
    assert boundary.allows(b"POST", b"/a/b?anything")
    assert boundary.decide(b"DELETE", b"/a/1").reason == "The path is allowed for GET, HEAD, POST only."
    assert not boundary.allows(b"GET", b"/a/..?x"), "the path policy holds under these rules too"
    assert not boundary.allows(b"GET", b"/a/1?x=#")
    assert boundary.rules == ("GET /a/*?x", "GET /a/*?y", "* /a/b?z", "POST /a/**")


BAD_RULES = {
    "": "METHODS PATTERN",
    "GET": "METHODS PATTERN",
    "/a": "write 'GET /a'",
    "GET /a b": "%20",
    "get /a": "write GET",
    "Get,POST /a": "write GET",
    "FETCH /a": "unknown method 'FETCH'",
    "GET, /a": "unknown method ''",
    "GET,* /a": "unknown method '*'",
    "CONNECT /a": "never carried",
    "GET,TRACE /a": "never carried",
    "trace /a": "never carried",
    "GET a": "write '/a'",
    "GET *": "write '/*'",
    "GET http://a/b": "does not begin with a slash",
    "GET /a?b=c": "leave the value out",
    "GET /a?b&c=": "leave the value out",
    "GET /a?*": "without wildcards",
    "GET /a?b*": "without wildcards",
    "GET /a?b%20c": "percent signs",
    "GET /a?b+c": "plus signs",
    "GET /a?b;c": "joined by &",
    "GET /a?b&&c": "joined by &",
    "GET /a?&b": "joined by &",
    "GET /a?b?c": "joined by &",
    "GET /a?b#c": "joined by &",
    "GET /a?é": "joined by &",
    "GET /a?b&b": "twice",
    "GET ?a": "does not begin with a slash",
    "GET /a**": "whole segments",
    "GET /**a/b": "whole segments",
    "GET /a/***": "whole segments",
    "GET /a/**/**": "repeats **",
    "GET /**/**/a": "repeats **",
    "GET //a": "empty segment",
    "GET /a/../b": "dot segment",
    "GET /a/./b": "dot segment",
    "GET /%2e%2e/b": "dot segment",
    "GET /a;b": "semicolon",
    "GET /a%2fb": "encoded slash",
    "GET /a%": "hexadecimal",
    "GET /a#b": "fragment",
    "GET /a\\b": "backslash",
    "GET /a{b}": "must encode",
    "GET /café": "percent-encoded",
}


@pytest.mark.parametrize(("rule", "hint"), BAD_RULES.items())
def test_bad_rules_are_refused_with_a_fix(rule: str, hint: str) -> None:
    with pytest.raises(RuleError) as caught:
        AllowList.compile(["GET /fine", rule])
    message = str(caught.value)
    assert hint in message
    assert rule in message
    assert message.endswith(".")


@pytest.mark.parametrize("rule", [None, 7, ["GET", "/a"], b"GET /a"])
def test_rules_are_text(rule: str) -> None:
    with pytest.raises(RuleError, match="METHODS PATTERN"):
        AllowList.compile([rule])


def test_what_an_exception_allows_may_stand_in_a_rule() -> None:
    assert AllowList.compile(["GET /a;b"], frozenset({";"})).allows(b"GET", b"/a;b")


# --- against a plain matcher that tries everything


def segment_fits(pattern: str, segment: str) -> bool:
    if not pattern:
        return not segment
    if pattern[0] == "*":
        return any(segment_fits(pattern[1:], segment[end:]) for end in range(1, len(segment) + 1))
    return segment[:1] == pattern[0] and segment_fits(pattern[1:], segment[1:])


def path_fits(patterns: list[str], segments: list[str]) -> bool:
    if not patterns:
        return not segments
    if patterns[0] == "**":
        if len(patterns) == 1:
            return bool(segments)  # at least the empty one behind a slash
        return any(path_fits(patterns[1:], segments[start:]) for start in range(len(segments) + 1))
    return bool(segments) and segment_fits(patterns[0], segments[0]) and path_fits(patterns[1:], segments[1:])


SEGMENTS = st.lists(st.text("ab", max_size=5), min_size=1, max_size=6)
PARTS = st.one_of(st.just("**"), st.text("ab*", min_size=1, max_size=5).filter(lambda text: "**" not in text))


@settings(max_examples=examples(3000), deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=6), st.booleans(), SEGMENTS)
@example(["**", "a*b", "**", "b*"], False, ["aab", "b", "ba"])
def test_agrees_with_a_matcher_that_tries_everything(parts: list[str], slash: bool, segments: list[str]) -> None:
    pattern = "/" + "/".join(parts) + "/" * slash
    path = "/" + "/".join(segments)
    if "//" in path or "**/**" in pattern:
        return
    expected = path_fits(pattern[1:].split("/"), path[1:].split("/"))
    boundary = AllowList.compile([f"GET {pattern}"])
    assert boundary.allows(b"GET", path.encode()) == expected
    assert boundary.decide(b"GET", path.encode()).allowed == expected
    assert boundary.allows(b"GET", f"{path}?{path}".encode()) == expected


# --- against a plain reading of queries


KEYS = st.text("ab", min_size=1, max_size=2)
PIECES = st.lists(
    st.tuples(st.one_of(KEYS, st.text("ab%;+A", max_size=2)), st.sampled_from(["", "=", "=a", "=b=a", "=%"]))
)
RULES = st.lists(
    st.tuples(st.sampled_from(["GET", "POST", "*"]), st.one_of(st.none(), st.sets(KEYS))), min_size=1, max_size=4
)


@settings(max_examples=examples(600), deadline=None)
@given(RULES, st.one_of(st.none(), PIECES))
def test_agrees_with_a_plain_reading_of_queries(
    rules: list[tuple[str, set[str] | None]], pieces: list[tuple[str, str]] | None
) -> None:
    target = "/a" if pieces is None else "/a?" + "&".join(key + value for key, value in pieces)
    keys = [key for key, _ in pieces or []] if pieces != [] else [""]
    unclear = len(set(keys)) != len(keys) or "" in keys or any(c in key for key in keys for c in "%;+")
    expected = any(
        method in ("GET", "*") and (allowed is None or (not unclear and set(keys) <= allowed))
        for method, allowed in rules
    )
    boundary = AllowList.compile(
        [f"{method} /a" + ("" if keys is None else "?" + "&".join(sorted(keys))) for method, keys in rules]
    )
    assert boundary.allows(b"GET", target.encode()) == expected
    decision = boundary.decide(b"GET", target.encode())
    assert decision.allowed == expected
    if decision.by_query:
        assert not decision.allowed


PATHOLOGICAL = [
    "GET /" + "/".join(["**", "a"] * 15) + "/z",
    "GET /" + "/".join(["**", "*a"] * 15) + "/z",
    "GET /" + "a*" * 30 + "z",
    "GET /" + "*a" * 30 + "z",
    "GET /**/" + "*a" * 15 + "/**/" + "a*" * 15 + "/z",
]
HOSTILE = [b"/a", b"/aa", b"/aaaaaaaaab", b"a", b"ab", b"/ba"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_the_length_of_the_path_only(unit: bytes) -> None:
    """Takes milliseconds. One quadratic rule would need minutes, a backtracking one the age of the universe."""
    target = b"/x" + unit * (100_000 // len(unit))
    for rule in PATHOLOGICAL:
        boundary = AllowList.compile([rule])
        for _ in range(10):
            assert not boundary.allows(b"GET", target)


@pytest.mark.timeout(60)
def test_time_grows_with_the_length_of_the_query_only() -> None:
    boundary = AllowList.compile([f"{rule}?a&b" for rule in PATHOLOGICAL])
    for query in (b"a&" * 50_000 + b"a", b"b" * 100_000, b"&".join(b"%x" % number for number in range(20_000))):
        for _ in range(10):
            assert not boundary.allows(b"GET", b"/a?" + query)
