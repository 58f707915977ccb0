"""The harness itself: the oracle by tables, the generators by their seeds, the ledger by what it must notice."""

from __future__ import annotations

import random

import pytest

from tests.hostility import frames_of_agents, frames_of_hubs
from tests.hostility.frames_of_hubs import Numbers
from tests.hostility.ledger import LedgerUpstream, Malformed, read_head
from tests.hostility.oracle import Rules, ambiguous
from tests.hostility.paths import Expected
from tests.hostility.variants import RULES, Variant, generate
from tests.support.loop import backstage
from tests.support.rawhttp import RawClient

# -- the oracle ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        (b"GET", b"/nomisapi/offenders/A1/location", True),
        (b"HEAD", b"/nomisapi/offenders/A1/location?x=/env", True),
        (b"GET", b"/nomisapi/offenders//location", False),
        (b"GET", b"/nomisapi/offenders/location", False),
        (b"GET", b"/nomisapi/offenders/A1/Location", False),
        (b"GET", b"/nomisapi/offenders/A1/locatio%6e", False),
        (b"GET", b"/nomisapi/offenders/%41/location", True),
        (b"GET", b"/nomisapi/offenders/A%2fB/location", False),
        (b"GET", b"/nomisapi/visits/", True),
        (b"GET", b"/nomisapi/visits", False),
        (b"PUT", b"/nomisapi/visits/1", False),
        (b"PUT", b"/nomisapi/offenders/A1/alerts/x-1", True),
        (b"PUT", b"/nomisapi/offenders/A1/alerts/x-", False),
        (b"PROPFIND", b"/open/end", True),
        (b"GET", b"/open/a/b/end", True),
        (b"TRACE", b"/open/end", False),
        (b"GE T", b"/open/end", False),
        (b"GET", b"/open/../end", False),
    ],
)
def test_the_oracles_rules(method: bytes, target: bytes, allowed: bool) -> None:
    assert Rules(RULES).allow(method, target) is allowed


@pytest.mark.parametrize(
    "target",
    [
        *(b"", b"x", b"http://h/", b"/a//b", b"/a/../b", b"/a/%2e%2E/b", b"/a/.", b"/a\\b", b"/a%5cb", b"/a%2Fb"),
        *(b"/a;b", b"/a%3bb", b"/a#b", b"/a?b#c", b"/a b", b"/a\0", b"/a%00", b"/a%0a", b"/a%7f", b"/a%c2%85"),
        *(b"/a%252e", b"/a%25%32%65", b"/%25u002e", b"/%u002e", b"/a%", b"/a%2", b"/a%zz", b"/%c0%af", b"/%ff"),
        *(b"/\xc3\xa9", b"/a?\xff", b'/a"', b"/%ed%a0%80", b"/..%2f", b"/.%2e/"),
    ],
)
def test_what_the_oracle_calls_ambiguous(target: bytes) -> None:
    assert ambiguous(target)


@pytest.mark.parametrize("target", [b"/", b"/a/b?x=..//;%00", b"/...", b"/a%20b", b"/%c3%a9", b"/~a:@!$&'()*+,="])
def test_what_it_does_not(target: bytes) -> None:
    assert not ambiguous(target)


def test_an_absolute_uri_counts_from_its_path_on() -> None:
    expected = Expected(Rules(RULES), Rules(["GET /nomisapi/**"]))
    assert (
        expected.through(Variant(b"GET", b"HTTP://Visits.Internal:80/nomisapi/visits/1")) == b"/nomisapi/visits/1"
    )
    assert expected.through(Variant(b"GET", b"http://evil.example/nomisapi/visits/1")) is None
    assert expected.through(Variant(b"GET", b"/open/end")) is None, "the caller's own list does not allow it"
    assert expected.straight(Variant(b"GET", b"http://visits.internal/nomisapi/visits/1")) is None


# -- the generators -----------------------------------------------------------------------------------------------


def test_variants_are_distinct_and_the_same_for_a_seed() -> None:
    made = generate(12_000, 7)
    assert len(set(made)) == len(made) == 12_000
    assert made == generate(12_000, 7)
    assert made != generate(12_000, 8)
    allowed = [variant for variant in made if Rules(RULES).allow(*variant)]
    assert len(allowed) > 200, "else the runs would show nothing"


def test_frames_are_the_same_for_a_seed() -> None:
    def hubs(seed: int) -> list[bytes]:
        rng, numbers = random.Random(seed), Numbers(0)
        return [message for move in frames_of_hubs.MOVES for message in move(rng, numbers)]

    def agents(seed: int) -> list[bytes]:
        rng = random.Random(seed)
        return [message for move in frames_of_agents.MOVES for message in move(rng, [1, 3, 5])]

    for frames in (hubs, agents):
        assert frames(1) == frames(1) != frames(2)


# -- the ledger ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: evil",
        b"Host: h\r\nHost: h",
        b"Host: h\r\nX-A:  b\x00",
        b"Host: h\r\nX-A : b",
        b"Host: h\r\n folded",
        b"Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"Host: h\r\nContent-Length: 1\r\nContent-Length: 1",
        b"Host: h\r\nContent_Length: 1",
        b"Host: h\r\nConnection: close",
        b"Host: h\r\nConnection: Upgrade\r\nUpgrade: h2c",
        b"Host: h\r\nX_Original.URL: /env",
    ],
)
def test_the_ledger_reads_strictly(lines: bytes) -> None:
    with pytest.raises(Malformed):
        read_head(b"GET / HTTP/1.1\r\n" + lines + b"\r\n\r\n", b"h", frozenset({b"websocket"}))


def test_the_ledger_judges_what_comes_and_notices_bytes_that_are_no_request() -> None:
    upstream = LedgerUpstream(lambda seen: "" if seen.target == b"/good" else "not allowed")
    try:
        with RawClient(upstream.port) as caller:
            host = f"127.0.0.1:{upstream.port}"
            assert caller.get("/good", "X-Case: 1", host=host).body == b"/good"
            assert not upstream.problems
            assert caller.get("/bad", host=host).body == b"/bad"
            assert [problem.partition(":")[0] for problem in upstream.problems] == ["not allowed"]
            caller.start("POST", "/good", "Content-Length: 1", host=host, body=b"xGARBAGE")
            assert caller.answer().status == 200
            caller.send(b"\0")
            caller.read_to_end()
        assert "no request" in upstream.problems[-1]
        assert [seen.target for seen in upstream.seen] == [b"/good", b"/bad", b"/good"]
    finally:
        upstream.close()
        backstage.call(upstream.open.clear)
