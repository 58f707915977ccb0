"""docs/bugs-of-others.md and the tests' `@pytest.mark.bug(N)` marks say the same."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "bugs-of-others.md"
BUGS = range(1, 26)
_ROW = re.compile(r"\| (\d+) \| (.+?) \| (.+) \|")
_TEST = re.compile(r"`(tests/[\w/]+\.py::\w+)`")
_WAITS = re.compile(r"waits for issue [3-6]\b")


def rows() -> dict[int, str]:
    """What stands in the last column, by bug."""
    found = [_ROW.fullmatch(line) for line in TABLE.read_text().splitlines()]
    return {int(row[1]): row[3] for row in found if row}


@functools.cache
def marked() -> dict[int, set[str]]:
    """The tests that carry the mark, by bug."""
    result: dict[int, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in _marks(function):
                    result[number].add(f"{path.relative_to(ROOT).as_posix()}::{function.name}")
    return result


def _marks(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.bug":
            yield int(ast.literal_eval(decorator.args[0]))


def test_every_bug_has_a_row_and_no_other() -> None:
    assert sorted(rows()) == list(BUGS)
    assert set(marked()) <= set(BUGS)


@pytest.mark.parametrize("number", BUGS)
def test_the_row_names_exactly_the_marked_tests(number: int) -> None:
    assert set(_TEST.findall(rows()[number])) == marked()[number]


@pytest.mark.parametrize("number", BUGS)
def test_a_bug_without_a_test_names_the_issue_it_waits_for(number: int) -> None:
    assert marked()[number] or _WAITS.search(rows()[number])
