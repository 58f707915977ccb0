"""What the upstream is told of the caller."""

from __future__ import annotations

import pytest

from tunnel_hub.gateway.onward import Onward


def fields(*lines: str) -> list[bytes]:
    return [part.encode() for line in lines for part in line.split(": ", 1)]


def test_the_name_is_added() -> None:
    assert Onward().tell(fields("Accept: */*"), b"booking") == fields("Accept: */*", "X-Client-Name: booking")


def test_without_authentication_nobody_is_named() -> None:
    assert Onward().tell(fields("Accept: */*"), b"") == fields("Accept: */*")


@pytest.mark.parametrize("copy", ["X-Consumer", "x-consumer", "X_Consumer", "x.consumer", "X-CONSUMER"])
@pytest.mark.parametrize("caller", ["booking", ""])
def test_copies_of_a_header_of_its_own_are_dropped(copy: str, caller: str) -> None:
    told = Onward("X-Consumer").tell(fields(f"{copy}: evil", "Accept: */*", f"{copy}: evil"), caller.encode())
    assert told == fields("Accept: */*", *(["X-Consumer: booking"] if caller else []))


def test_renaming_takes_the_place_of_the_callers_own() -> None:
    onward = Onward(renames={"Elite-Authorization": "Authorization"})
    told = onward.tell(fields("authorization: mine", "elite-authorization: Bearer user", "A: b"), b"booking")
    assert told == fields("Authorization: Bearer user", "A: b", "X-Client-Name: booking")


def test_what_is_not_there_is_not_renamed_and_takes_nothing_away() -> None:
    onward = Onward(renames={"Elite-Authorization": "Authorization"})
    assert onward.tell(fields("Authorization: mine"), b"") == fields("Authorization: mine")


@pytest.mark.parametrize("copy", ["X-Consumer", "x-consumer", "X_Consumer"])
def test_trailers_claim_no_name(copy: str) -> None:
    assert Onward("X-Consumer").trailers(fields("X-Sum: 1", f"{copy}: evil", "X-More: 2")) == fields(
        "X-Sum: 1", "X-More: 2"
    )
    assert Onward().trailers(fields("X-Sum: 1")) == fields("X-Sum: 1")
    assert Onward("X-Consumer").trailers([]) == []
