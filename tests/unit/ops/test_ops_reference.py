"""The reference is made from the models: nothing in it is written twice."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from protocol.ops import reference
from protocol.ops.model import Table, doc
from protocol.ops.values import Duration, Size


class Part(Table, frozen=True, kw_only=True):
    wait: Annotated[Duration, doc("How long | or not")] = 1.5
    most: Annotated[Size | None, doc("How much")] = None
    on: Annotated[bool, doc("Whether")] = True


class Whole(Table, frozen=True, kw_only=True):
    part: Annotated[Part, doc("One")] = Part()
    parts: Annotated[dict[str, Part], doc("Many")] = msgspec.field(default_factory=dict)
    rows: Annotated[tuple[Part, ...], doc("More")] = ()
    words: Annotated[tuple[str, ...], doc("Words")] = ("a", "b")
    free: Annotated[dict[str, str], doc("Free")] = msgspec.field(default_factory=dict)
    must: Annotated[int, doc("Number", ge=1, le=2)]


def test_tables() -> None:
    text = reference.markdown(Whole)
    assert '| `wait` | duration | `"1500ms"` | How long \\| or not |' in text
    assert "| `most` | size | – | How much |" in text
    assert "| `on` | true or false | `true` | Whether |" in text
    assert '| `words` | list of text | `["a", "b"]` | Words |' in text
    assert "| `free` | table of text | `{}` | Free |" in text
    assert "| `must` | integer from 1 to 2 | must be given | Number |" in text
    headings = [line for line in text.splitlines() if line.startswith("###")]
    assert headings == ["### `[part]`", "### `[parts.NAME]`", "### `[[rows]]`"]


def test_only_marked_sections_are_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "doc.md"
    start = f"<!-- keys: {__name__}:Whole -->"
    file.write_text(f"# Title\n{start}\nold\n<!-- end of keys -->\ntail\n")
    monkeypatch.setattr(sys, "argv", ["reference", str(file)])
    runpy.run_path(reference.__file__, run_name="__main__")
    text = file.read_text()
    assert text.startswith(f"# Title\n{start}\n")
    assert text.endswith("<!-- end of keys -->\ntail\n")
    assert "old" not in text
    assert reference.markdown(Whole) in text
    assert reference.rewrite(text) == text
