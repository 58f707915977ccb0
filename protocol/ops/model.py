"""What a configuration model is made of: tables, their keys, and how to look at them.

A model is a `Table` whose fields carry a type, a default and, by `doc(...)`, one line of documentation. Types:
another Table, `dict[str, Table]`, `tuple[Table, ...]`, bool, int, str, Literal, an annotated kind of value
(`protocol.ops.values`), a tuple or dict of those, and any of them `| None`.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union

import msgspec

from protocol.ops.values import Context, Kind


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every configuration table."""

    def check(self, context: Context) -> Iterable[tuple[str, str]]:
        """What is wrong across keys, as (key relative to this table, sentence).

        Called once per table when its own required values are right. Values inside other tables may be their
        defaults or None where the file was wrong, so look at their lists and tables only.
        """
        del context
        return ()


def doc(
    description: str,
    *,
    example: str | None = None,
    ge: int | None = None,
    le: int | None = None,
    at_least: int | None = None,
    at_most: int | None = None,
    missing: str | None = None,
    refused: Mapping[str, str] | None = None,
) -> msgspec.Meta:
    """What a key of a Table means, for `Annotated`.

    example: a value as it stands in the file, for messages about this key. ge, le: bounds of an integer.
    at_least, at_most: bounds of a list's length. missing: the message when the key is not there.
    refused: messages for particular values that are not allowed.
    """
    bounds: dict[str, Any] = {"ge": ge, "le": le, "min_length": at_least, "max_length": at_most}
    return msgspec.Meta(
        description=description,
        examples=None if example is None else [example],
        extra={"missing": missing, "refused": refused or {}},
        **{name: bound for name, bound in bounds.items() if bound is not None},
    )


class Shape(NamedTuple):
    """A field's type taken apart: the bare type without None, its kind of value and its Meta."""

    type: Any
    kind: Kind | None
    meta: msgspec.Meta


def shapes(model: type[Table]) -> dict[str, Shape]:
    """Every key of a table with its type taken apart."""
    hints = typing.get_type_hints(model, include_extras=True)
    return {field.name: shape_of(hints[field.name]) for field in msgspec.structs.fields(model)}


def shape_of(annotation: Any) -> Shape:
    kind: Kind | None = None
    meta = msgspec.Meta()
    while True:
        origin = typing.get_origin(annotation)
        if origin is Annotated:
            annotation, *extras = typing.get_args(annotation)
            for extra in extras:
                kind = extra if isinstance(extra, Kind) else kind
                meta = extra if isinstance(extra, msgspec.Meta) else meta
        elif kind is None and origin in (Union, types.UnionType):
            members = [member for member in typing.get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                raise TypeError("a key has one type, or one type and None")
            annotation = members[0]
        else:
            return Shape(annotation, kind, meta)


def is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Table)


def item_shape(shape: Shape) -> Shape | None:
    """The shape of the entries when `shape` is a list or a table with free keys, else None."""
    if shape.kind is None and typing.get_origin(shape.type) in (tuple, dict):
        return shape_of(typing.get_args(shape.type)[0 if typing.get_origin(shape.type) is tuple else 1])
    return None


def in_words(shape: Shape) -> str:
    """What may stand there, for messages and for the reference."""
    if shape.kind is not None:
        return shape.kind.name
    if (item := item_shape(shape)) is not None:
        words = "tables" if is_table(item.type) else in_words(item)
        return f"{'list' if typing.get_origin(shape.type) is tuple else 'table'} of {words}"
    if typing.get_origin(shape.type) is Literal:
        return " or ".join(f'"{choice}"' for choice in typing.get_args(shape.type))
    if shape.type is int:
        low, high = shape.meta.ge, shape.meta.le
        return "integer" if low is None or high is None else f"integer from {low} to {high}"
    return {bool: "true or false", str: "text"}.get(shape.type, "table")


def nearest(name: str, known: Iterable[str]) -> str:
    """ "did you mean ..." or the list of what is known, to end a sentence with."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    if not names:
        return "there is none to choose from"
    return "known here: " + ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def as_key(name: str) -> str:
    """A key as it has to stand in TOML, for a message."""
    if name and all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
        return name
    return '"' + "".join(c if c.isprintable() else "?" for c in name[:64]) + '"'


def iterate(model: type[Table], at: str = "") -> Iterator[tuple[str, msgspec.structs.FieldInfo, Shape]]:
    """Every key of a model: dotted (NAME for free names), field and shape; a table comes before its keys."""
    known = shapes(model)
    for field in msgspec.structs.fields(model):
        shape = known[field.name]
        dotted = f"{at}{field.name}"
        yield dotted, field, shape
        item = item_shape(shape)
        inner = shape.type if is_table(shape.type) else item.type if item and is_table(item.type) else None
        if inner is not None:
            named = typing.get_origin(shape.type) is dict
            yield from iterate(inner, f"{dotted}.NAME." if named else f"{dotted}.")
