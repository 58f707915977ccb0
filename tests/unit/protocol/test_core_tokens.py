"""Enrolment tokens: one spelling, no other way in, and nothing shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.tokens import EnrolToken, parse_token


@given(st.binary(min_size=48, max_size=48))
def test_a_token_is_one_line_that_reads_back(random: bytes) -> None:
    token = EnrolToken(random)
    assert token.text.startswith("et1_")
    assert len(token.text) == 68
    assert token.text.isascii()
    assert not set(token.text) & set(" +/=\n")
    again = parse_token(token.text)
    assert (again.id, again.public, again.text) == (token.id, token.public, token.text)
    assert again.id == random[:16]
    assert token.public.verify(again.sign(b"x"), b"x")


def test_nothing_of_the_secret_is_shown() -> None:
    token = EnrolToken(bytes(range(48)))
    assert repr(token) == "<EnrolToken 00010203>"
    assert str(token) == repr(token)


GOOD = EnrolToken(bytes(range(48))).text


@pytest.mark.parametrize(
    "text",
    [
        "", "et1_", GOOD[4:], GOOD[:-1], GOOD + "A", GOOD + "=", GOOD + "\n", " " + GOOD, "et2_" + GOOD[4:],
        GOOD.replace("et1_", "ET1_"), GOOD[:-1] + "+", GOOD[:-1] + "é", GOOD[:-4], GOOD + GOOD[4:],
    ],
)  # fmt: skip
def test_anything_else_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="no enrolment token; copy the whole line") as caught:
        parse_token(text)
    assert GOOD[8:20] not in str(caught.value)


@pytest.mark.parametrize("size", [0, 47, 49])
def test_the_size_is_exact(size: int) -> None:
    with pytest.raises(ValueError, match="48"):
        EnrolToken(bytes(size))
