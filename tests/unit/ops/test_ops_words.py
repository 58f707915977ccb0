"""Numbers and lists in words."""

from __future__ import annotations

import pytest

from protocol.ops.words import SHOWN, count, some


@pytest.mark.parametrize(("number", "text"), [(0, "0 hubs"), (1, "1 hub"), (2, "2 hubs")])
def test_count(number: int, text: str) -> None:
    assert count(number, "hub") == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, ""),
        (2, "0, 1"),
        (SHOWN, "0, 1, 2, 3, 4, 5"),
        (SHOWN + 2, "0, 1, 2, 3, 4, 5, 2 more"),
    ],
)
def test_some(number: int, text: str) -> None:
    assert some([str(each) for each in range(number)]) == text
