"""docs/security.md names only what is there: tests, files, and at least one test for each threat."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
_TEST = re.compile(r"`(tests/[\w/]+\.py)::((?:\w+::)?\w+)`")
_FILE = re.compile(r"`((?:protocol|tunnel_hub|tunnel_agent|tests)/[\w/.]+\.(?:py|md))`")
_ROW = re.compile(r"\| (?!threat \||---)(.+?) \| (.+) \| (.+) \| (.+) \|")

NAMED = sorted(set(_TEST.findall(PAGE)))
THREATS = [row.groups() for row in map(_ROW.fullmatch, PAGE.splitlines()) if row]


@functools.cache
def known_in(file: str) -> frozenset[str]:
    """As pytest names them, without parameters."""
    found = set()
    for node in ast.parse((ROOT / file).read_bytes()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if _is_test(each)}
        elif _is_test(node):
            found.add(node.name)
    return frozenset(found)


def _is_test(node: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in known_in(file)


def test_no_test_is_named_in_another_form() -> None:
    """A spelling that the check above passes over would hold nothing."""
    assert PAGE.count("::test_") == len(_TEST.findall(PAGE))


def test_each_file_that_is_named_exists() -> None:
    assert [file for file in _FILE.findall(PAGE) if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("threat", THREATS, ids=lambda row: str(row[0]))
def test_each_threat_has_a_control_a_place_and_a_test(threat: tuple[str, str, str, str]) -> None:
    _, control, where, held_by = threat
    assert control
    assert _FILE.findall(where)
    assert _TEST.findall(held_by)


def test_the_tables_are_read() -> None:
    assert len(THREATS) == sum(line.startswith("| ") for line in PAGE.splitlines()) - PAGE.count("| threat |")
    assert len(THREATS) > 30
