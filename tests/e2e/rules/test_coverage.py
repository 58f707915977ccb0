"""The tables are whole: every rule has its rows or its test, every row its rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import test_answer_rules, test_exchange_rules, test_request_rules, test_websocket_rules
from .path_rows import EXCEPTIONS, PATHS
from .request_forwarding import LISTED
from .rules import ELSEWHERE, RULES, SHOWN

TESTS = Path(__file__).parents[2]
ROWS = [
    *test_request_rules.ROWS,
    *test_answer_rules.ROWS,
    *test_websocket_rules.ROWS,
    *PATHS,
    *EXCEPTIONS,
    *LISTED,
]


def test_every_rule_has_its_rows() -> None:
    assert test_exchange_rules.shows is not None  # its tests register themselves
    shown = {row.rule for row in ROWS} | SHOWN
    assert set(RULES) - shown == set(), "rules without a row"
    assert shown - set(RULES) == set(), "rows of no rule"


def test_no_row_stands_twice() -> None:
    tables = (
        test_request_rules.ROWS,
        test_answer_rules.ROWS,
        test_websocket_rules.ROWS,
        PATHS,
        EXCEPTIONS,
        LISTED,
    )
    for table in tables:
        ids = [row.id for row in table]
        assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("rule", ELSEWHERE)
def test_what_is_shown_elsewhere_is_there(rule: str) -> None:
    for place in ELSEWHERE[rule]:
        file, _, name = place.partition("::")
        text = (TESTS / file).read_text()
        assert not name or f"def {name}(" in text, place


def test_the_guide_names_every_rule() -> None:
    guide = (TESTS.parent / "docs" / "http.md").read_text()
    assert [rule for rule in RULES if f"`{rule}`" not in guide] == []
