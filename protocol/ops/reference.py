"""The reference of all keys, made from the models: `python -m protocol.ops.reference docs/configuration.md`.

Rewrites the text between `<!-- keys: MODULE:MODEL -->` and `<!-- end of keys -->`; what is outside stays. A test
fails while the file is not what this would write, so that a default stands once, in the model.
"""

from __future__ import annotations

import importlib
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from protocol.ops.model import Shape, Table, in_words, is_table, item_shape, shapes

_SECTION = re.compile(r"(<!-- keys: ([\w.]+):(\w+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def rewrite(text: str) -> str:
    """`text` with every marked section made anew."""

    def section(match: re.Match[str]) -> str:
        model = getattr(importlib.import_module(match[2]), match[3])
        return f"{match[1]}\n{markdown(model)}\n{match[4]}"

    return _SECTION.sub(section, text)


def markdown(model: type[Table]) -> str:
    """One heading and table of keys for each table of the model."""
    return "\n".join(_tables(model, "", ""))


def _tables(model: type[Table], place: str, heading: str) -> Iterator[str]:
    known = shapes(model)
    fields = msgspec.structs.fields(model)
    rows = [field for field in fields if _inner(known[field.name]) is None]
    if heading:
        yield f"### `{heading}`\n"
    if rows:
        yield "| key | type | default | meaning |\n|---|---|---|---|"
        for field in rows:
            shape = known[field.name]
            default = "must be given" if field.required else _default(field, shape)
            yield f"| `{field.name}` | {_cell(in_words(shape))} | {default} | {_cell(shape.meta.description)} |"
        yield ""
    for field in fields:
        shape = known[field.name]
        inner = _inner(shape)
        if inner is not None:
            dotted = f"{place}{field.name}"
            origin = typing.get_origin(shape.type)
            name = f"{dotted}.NAME" if origin is dict else dotted
            yield from _tables(inner, f"{name}.", f"[[{name}]]" if origin is tuple else f"[{name}]")


def _inner(shape: Shape) -> type[Table] | None:
    item = item_shape(shape)
    return shape.type if is_table(shape.type) else item.type if item and is_table(item.type) else None


def _default(field: msgspec.structs.FieldInfo, shape: Shape) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "–" if value is None else f"`{show(value, shape)}`"


def show(value: Any, shape: Shape) -> str:
    """A value as it stands in the file."""
    if shape.kind is not None:
        return shape.kind.show(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    item = item_shape(shape)
    if item is not None and isinstance(value, tuple):
        return "[" + ", ".join(show(entry, item) for entry in value) + "]"
    return "{}" if value == {} else str(value)


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def main(path: str) -> None:
    file = Path(path)
    file.write_text(rewrite(file.read_text()))


if __name__ == "__main__":
    main(sys.argv[1])
