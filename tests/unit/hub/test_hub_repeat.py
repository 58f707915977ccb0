"""Every failure of every kind of request: repeated only where the failure contract allows it."""

from __future__ import annotations

import itertools

import pytest

from protocol.errors import FAILURES, Delivered, StreamCode
from tunnel_hub.repeat import LOST_MAX, REPEATS_MAX, Again, again

METHODS = (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"POST", b"PATCH", b"BREW", b"get")
SAFE_TWICE = METHODS[:5]
CERTAINLY_NOT_SENT = {
    StreamCode.NOT_DISPATCHED,
    StreamCode.UNKNOWN_SERVICE,
    StreamCode.OVERLOADED,
    StreamCode.CONNECT_FAILED,
    StreamCode.CONNECT_TIMEOUT,
    StreamCode.UPSTREAM_TLS,
}
ROWS = list(itertools.product(METHODS, (False, True), (False, True), (False, True), range(8)))


def expected(code: StreamCode, method: bytes, unsent: bool, answered: bool, held: bool, repeats: int) -> Again:
    """The contract (design, section 5), said another way."""
    possible = held and not answered
    if code in CERTAINLY_NOT_SENT:
        return Again.ELSEWHERE if possible and repeats < 5 else Again.NO
    if code != StreamCode.SESSION_LOST or not possible:
        return Again.NO
    most = 5 if unsent else 2 if method in SAFE_TWICE else 0
    return Again.ANYWHERE if repeats < most else Again.NO


@pytest.mark.parametrize("code", StreamCode)
def test_every_case(code: StreamCode) -> None:
    for method, unsent, answered, held, repeats in ROWS:
        verdict = again(code, method, unsent=unsent, answered=answered, body_held=held, repeats=repeats)
        row = (code.name, method, unsent, answered, held, repeats)
        assert verdict is expected(code, method, unsent, answered, held, repeats), row
        if verdict is not Again.NO:
            nowhere = FAILURES[code].delivered == Delivered.NO or unsent
            assert nowhere or method in SAFE_TWICE, row
            assert repeats < max(LOST_MAX, REPEATS_MAX), row


def test_whatever_is_called_undelivered_is_known_here() -> None:
    """A new code of that class must be looked at: is it an answer, or may another agent do better?"""
    final = {
        StreamCode.BOUNDARY_REFUSED,
        StreamCode.INVALID_REQUEST,
        StreamCode.UPGRADE_REFUSED,
        StreamCode.SIGNATURE_REFUSED,
    }
    assert {code for code, failure in FAILURES.items() if failure.retry_safe} == CERTAINLY_NOT_SENT | final
