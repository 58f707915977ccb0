"""What `run --learn` writes: minimal rules that fit what was seen, and nothing that could be an identifier."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.http.allow import AllowList
from protocol.http.shape import DEPTH_MAX, generalised
from tests.support.effort import examples
from tunnel_agent.learn import PLACES_MAX, VALUES_MAX, Learner

WORDS = [
    "nomisapi", "offenders", "contact_list", "available_dates", "active_offender", "unavailability", "echo-ws",
    "availableDates", "AvailableDates", "openapi.json", "index.html", "v1", "v2", "image", "a", "",
]  # fmt: skip
IDENTIFIERS = [
    "1", "1057307", "A1484AE", "a1484ae", "A1475AE", "LEI", "2018-04-05", "1979-04-23", "20180405", "v123",
    "0f8fad5b-d9cb-469f-a165-70867728950e", "deadbeef", "cafebabe", "DEADBEEF", "d41d8cd98f00b204e9800998ecf8427e",
    "QWxhZGRpbjpvcGVu", "bm9tcw==", "user@example.org", "john.smith", "caf%c3%a9", "a%20b", "x" * 33, "elite2api",
    "O'Brien", "a,b", "a:b", "~smith", "$", "12:30", "+447700900000", "JSmith", "smithJ", "a.b.c",
]  # fmt: skip


@pytest.mark.parametrize("segment", WORDS)
def test_words_of_the_api_stay(segment: str) -> None:
    assert generalised(segment) == segment


@pytest.mark.parametrize("segment", IDENTIFIERS)
def test_what_may_be_an_identifier_does_not(segment: str) -> None:
    assert generalised(segment) == "*"


def learned(*requests: str, refused: tuple[str, ...] = ()) -> str:
    learner = Learner()
    for allowed, asked in ((True, requests), (False, refused)):
        for request in asked:
            method, target = request.split(" ", 1)
            learner.note("visits", method.encode(), target.encode(), allowed=allowed)
    return learner.text()


def rules(text: str) -> list[str]:
    table: dict[str, Any] = tomllib.loads(text)
    found: list[str] = table["services"]["visits"]["allow"]
    return found


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        (["GET /"], ["GET /?"]),
        (["GET /health", "GET /health", "HEAD /health"], ["GET /health?"]),
        (["HEAD /health"], ["HEAD /health?"]),
        (["GET /a/", "GET /a"], ["GET /a?", "GET /a/?"]),
        (["GET /offenders/A1484AE/image", "GET /offenders/A1475AE/image"], ["GET /offenders/*/image?"]),
        (
            ["GET /offenders/A1484AE", "GET /offenders/events?limit=1&from_datetime=2017-10-24%2015:36"],
            ["GET /offenders/*?", "GET /offenders/events?from_datetime&limit"],
        ),
        (["POST /x", "GET /x", "PUT /x"], ["GET,POST,PUT /x?"]),
        (["POST /x", "GET /x?limit=1"], ["POST /x?", "GET /x?limit"]),
        (["GET /x?a=1", "GET /x?b=1", "GET /x"], ["GET /x?a&b"]),
        (["GET /x?a=1&a=2"], ["GET /x"]),
        (["GET /x?a=1", "GET /x?A1484AE"], ["GET /x"]),
        (["GET /x?"], ["GET /x"]),
        (["GET /x?" + "&".join(f"{a}{b}" for a in "abcde" for b in "abcde")], ["GET /x"]),
        (["PROPFIND /x", "GET /y"], ["GET /y?"]),
        (["GET /a/../b", "GET /y"], ["GET /y?"]),
        (["GET /" + "a/" * DEPTH_MAX, "GET /y"], ["GET /y?"]),
    ],
)
def test_rules(requests: list[str], expected: list[str]) -> None:
    assert rules(learned(*requests)) == expected


def names(count: int) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [letters[number // 26 % 26] + letters[number % 26] + "smith" for number in range(count)]


def test_many_words_at_one_place_are_one() -> None:
    few = learned(*(f"GET /users/{name}/visits" for name in names(VALUES_MAX)))
    assert len(rules(few)) == VALUES_MAX
    many = learned(*(f"GET /users/{name}/visits" for name in names(VALUES_MAX + 1)), "GET /users/late/visits?x")
    assert rules(many) == ["GET /users/*/visits?x"]
    assert "smith" not in many


def test_places_below_are_joined() -> None:
    both = [f"GET /users/{name}/{what}" for name in names(VALUES_MAX + 1) for what in ("visits", "A1484AE", "")]
    assert rules(learned(*both, "GET /users/")) == [
        "GET /users/?",
        "GET /users/*/?",
        "GET /users/*/*?",
        "GET /users/*/visits?",
    ]
    deep = [f"GET /a/{one}/{two}" for one in names(VALUES_MAX + 1) for two in names(3)]
    assert len(rules(learned(*deep))) == 3
    wide = [f"GET /a/{one}/{one}x" for one in names(VALUES_MAX + 5)]
    assert rules(learned(*wide)) == ["GET /a/*/*?"]


def test_what_was_refused_is_marked_and_never_widens_what_was_allowed() -> None:
    text = learned("GET /health", refused=("GET /env", *(f"GET /{name}" for name in names(40)), "POST /health?a"))
    assert rules(text) == ["GET /health?"]
    assert '    # refused: "GET /*?",' in text
    assert '    # refused: "POST /*?a",' in text
    assert rules(learned(refused=("GET /env",))) == []


def test_it_is_bounded() -> None:
    learner = Learner()
    words = names(26 * 26)
    for first in words[:VALUES_MAX]:
        for second in words[:VALUES_MAX]:
            for third in words[:VALUES_MAX]:
                learner.note("visits", b"GET", f"/{first}/{second}/{third}".encode(), allowed=True)
    text = learner.text()
    assert "more allowed ones are left out" in text
    assert len(rules(text)) <= PLACES_MAX
    learner.note("visits", b"GET", b"/a/../b", allowed=True)
    assert "1 requests had ambiguous paths" in learner.text()


SEGMENT = st.one_of(
    st.sampled_from(["a", "b", "health", "A1484AE", "", "x.json", "1"]),
    st.text("abAB1.-_", min_size=1, max_size=4),
).filter(lambda text: text not in {".", ".."})
TARGET = st.tuples(
    st.lists(SEGMENT, min_size=1, max_size=3),
    st.sampled_from(["", "?", "?a=1", "?b&a", "?a&a", "?1", "?a;b", "?%61"]),
).map(lambda parts: "/" + "/".join(parts[0]) + parts[1])
REQUEST = st.tuples(st.sampled_from(["GET", "POST", "HEAD"]), TARGET)


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(REQUEST, max_size=60))
def test_the_list_serves_what_it_was_learned_from(requests: list[tuple[str, str]]) -> None:
    learner = Learner()
    sound = [(method, target) for method, target in requests if "//" not in target]
    for method, target in sound:
        learner.note("visits", method.encode(), target.encode(), allowed=True)
    if not sound:
        return
    boundary = AllowList.compile(rules(learner.text()))
    for method, target in sound:
        assert boundary.allows(method.encode(), target.encode()), (method, target, boundary.rules)


STORY = [
    "GET /nomisapi/lookup/active_offender?noms_id=A1475AE&date_of_birth=1979-04-23",
    "GET /nomisapi/offenders/A1484AE/location",
    "GET /nomisapi/offenders/A1484AE/image",
    "GET /nomisapi/offenders/1057307/visits/available_dates?start_date=2018-04-05&end_date=2018-04-06",
    "GET /nomisapi/offenders/1057307/visits/unavailability?dates=2018-04-07",
    "GET /nomisapi/prison/LEI/slots?start_date=2018-04-05&end_date=2018-04-06",
    "POST /nomisapi/offenders/1057307/visits/booking",
    "PATCH /nomisapi/offenders/1057307/visits/booking/5905/cancel",
    "GET /nomisapi/prison/LEI/offenders/A1484AE/accounts",
    "GET /nomisapi/offenders/events?from_datetime=2017-10-24%2015:36:24.380&limit=1000",
]


def test_no_identifier_of_the_visits_story_survives() -> None:
    text = learned(*STORY, refused=tuple(STORY))
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# "))
    assert not any(character.isdigit() for character in body)
    for identifier in ("A1475AE", "A1484AE", "LEI", "1979", "1057307", "5905"):
        assert identifier not in body
    boundary = AllowList.compile(rules(text))
    for request in STORY:
        method, target = request.split(" ")
        assert boundary.allows(method.encode(), target.encode())
    assert not boundary.allows(b"GET", b"/nomisapi/lookup/active_offender?noms_id=A1475AE&more=1")
    assert not boundary.allows(b"GET", b"/env")
