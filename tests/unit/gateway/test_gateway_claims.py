from __future__ import annotations

import math

import pytest

from tunnel_hub.gateway import claims


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0.0),
        (-1, -1.0),
        (1.5, 1.5),
        (2**60, float(2**60)),
        (True, None),
        (False, None),
        (None, None),
        ("1", None),
        ([1], None),
        ({}, None),
        (math.inf, None),
        (-math.inf, None),
        (math.nan, None),
        (10**400, None),
        (-(10**400), None),
    ],
)
def test_seconds(value: object, number: float | None) -> None:
    assert claims.seconds(value) == number


@pytest.mark.parametrize("value", ["a", "A b", "x" * 128, "~!", "svc/visits:1"])
def test_a_name(value: str) -> None:
    assert claims.name(value) == value


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", " a", "a ", "\ta", "a\n", "a\r\nX: y", "a\x00", "a\x7f", "caf\u00e9", "\u2028", "\ud800"),
        *("x" * 129, 1, None, True, ["a"]),
    ],
)
def test_not_a_name(value: object) -> None:
    assert claims.name(value) is None
