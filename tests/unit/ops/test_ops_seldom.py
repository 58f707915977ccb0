"""Log lines that strangers cause are bounded, and none is forgotten."""

from __future__ import annotations

from protocol.ops.seldom import KINDS_MAX, Seldom


def test_so_many_a_second_and_the_next_line_counts_the_rest() -> None:
    seldom = Seldom(most=2)
    assert [seldom.leftover("a", 10.0 + step / 10) for step in range(5)] == [0, 0, None, None, None]
    assert seldom.leftover("b", 10.9) == 0
    assert [seldom.leftover("a", 11.0) for _ in range(3)] == [3, 0, None]
    assert seldom.leftover("a", 50.0) == 1
    assert seldom.leftover("a", 51.0) == 0


def test_kinds_are_bounded() -> None:
    seldom = Seldom(most=1)
    for number in range(5 * KINDS_MAX):
        seldom.leftover(f"kind {number}", 1.0)
    assert len(seldom._seconds) <= KINDS_MAX
