"""The tables of `status`: what fits, what is left out, and that no word depends on its colour."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from protocol.ops.sheet import STYLES, Column, cells, headline, problems, round_trip, state, table, version

COLUMNS = [Column("name", prose=4), Column("count", 1, number=True), Column("id", 2), Column("why", 3, prose=12)]


def lines(part: Any, width: int, *, colour: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, highlight=False)
    console.print(part)
    file = console.file
    assert isinstance(file, io.StringIO)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def shown(width: int, *rows: tuple[Any, ...]) -> list[str]:
    return lines(table("Things", COLUMNS, [cells(*row) for row in rows], width), width)


def test_all_of_it_where_there_is_room() -> None:
    assert shown(80, ("leeds", 1200, "abc", "it rains")) == [
        "Things",
        "name   count  id   why",
        "leeds  1,200  abc  it rains",
        "",
    ]


def test_a_column_without_a_word_is_left_out_unless_it_always_stays() -> None:
    assert shown(80, ("", None, "abc", ""))[1] == "name  id"


def test_what_matters_least_goes_first() -> None:
    row = ("leeds", 1200, "abcdef", "a reason that is long")
    heads = [shown(width, row)[1].split() for width in (60, 34, 20, 12)]
    assert heads == [
        ["name", "count", "id", "why"],
        ["name", "count", "id", "why"],
        ["name", "count", "id"],
        ["name", "count"],
    ]


@pytest.mark.parametrize("width", range(30, 200, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = [("leeds" * 3, 1_000_000, "0123456789", "a long reason with many words " * 4)]
    assert max(map(len, shown(width, *rows))) <= width


def test_wide_characters_count_as_they_are_shown() -> None:
    assert shown(20, ("日本", 1, "", ""))[2] == "日本      1"


def test_markup_in_what_others_wrote_is_text() -> None:
    assert "[bold]x[/bold]" in lines(table("T", COLUMNS[:1], [cells("[bold]x[/bold]")], 60), 60)[2]


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    steer = "\x1b]0;x\x07\x9b2J\u202e\rx\ny"
    console = Console(file=io.StringIO(), width=200, highlight=False)
    for part in (
        table("T", COLUMNS[:1], [cells(steer, steer)], 100),
        headline("hub", steer, "up", [steer]),
        *problems([steer]),
        state("up", steer),
    ):
        console.print(part)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert not {*"\x1b\x07\x9b\u202e\r"} & {*said}
    assert said.count(r"\x1b]0;x\x07\x9b2J\u202e\rx\ny") == 5
    assert cells("1\u202f000")[0].plain == "1\u202f000"


@pytest.mark.parametrize("word", STYLES)
def test_a_state_is_a_word_first(word: str) -> None:
    assert state(word).plain.lower() == word
    assert state(word).plain.isupper() == ("red" in STYLES[word]), "what is bad stands out without colour too"


def test_what_is_wrong_stands_in_sentences() -> None:
    assert problems([]) == []
    [marked, _] = problems(["no session at ws://hub/tunnel: refused"])
    assert lines(marked, 24) == ["! no session at", "  ws://hub/tunnel:", "  refused"]


def test_the_headline() -> None:
    facts = [version("1.2", "0123456789abcdef"), "for 3 h"]
    assert lines(headline("tunnel-agent", "leeds-1", "down", facts), 80) == [
        "tunnel-agent leeds-1: DOWN",
        "version 1.2 (git 0123456), for 3 h",
        "",
    ]
    assert version("1.2", None) == "version 1.2"


def test_round_trips_below_what_the_clock_can_tell() -> None:
    assert [round_trip(each) for each in (None, 0.0, 0.001, 0.0402)] == [None, "<1 ms", "1.0 ms", "40 ms"]
