"""Reads a TOML file into a frozen model and reports everything that is wrong with it at once."""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from protocol.ops.model import Shape, Table, as_key, in_words, is_table, item_shape, nearest, shapes
from protocol.ops.values import Context, parse_name, quoted

FILE_MAX = 1024 * 1024
"""Bytes a configuration file may have."""

_MISSING: Any = None
"""Stands for a required value that was wrong; the table that holds it skips its own `check`."""


class Problem(NamedTuple):
    """One mistake: the file's name, the dotted key ("" for the whole file) and a sentence with the remedy."""

    file: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


class ConfigError(ValueError):
    """The file cannot be used. `problems` holds every mistake found; `str()` is one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


ModelT = TypeVar("ModelT", bound=Table)


def load(path: str | Path, model: type[ModelT], *, check_files: bool = True) -> ModelT:
    """The configuration in `path`. Raises ConfigError.

    With `check_files=False` the files it names (keys, certificates, secrets) need not exist on this machine.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX + 1)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        problem = Problem(str(path), "", f"cannot be read: {reason}; name the file with --config")
        raise ConfigError([problem]) from None
    if len(raw) > FILE_MAX:
        raise ConfigError([Problem(path.name, "", "is larger than 1 MiB; this is not a configuration file")])
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(path.name, "", f"line {line} is not UTF-8; save the file as UTF-8")]) from None
    return parse(text, model, name=path.name, context=Context(path.absolute().parent, check_files))


def parse(text: str, model: type[ModelT], *, name: str, context: Context) -> ModelT:
    """The configuration in `text`; `name` stands for the file in messages. Raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(name, "", f"is not TOML: {_lower(str(error))}")]) from None
    except RecursionError:
        raise ConfigError([Problem(name, "", "is not TOML: nested too deeply")]) from None
    reader = _Reader(name, context)
    result = reader.table(model, raw, ())
    if reader.problems:
        raise ConfigError(reader.problems)
    return typing.cast("ModelT", result)


class _Reader:
    """Walks one file along its model and collects the problems."""

    def __init__(self, name: str, context: Context) -> None:
        self._name = name
        self._context = context
        self.problems: list[Problem] = []

    def table(self, model: type[Table], raw: object, at: tuple[str, ...]) -> Table:
        """Read one table; `at` is its place in the file, each part written as TOML wants it."""
        silent = not isinstance(raw, dict)
        if not isinstance(raw, dict):
            self._problem(at, f"{quoted(raw)} is not a table; write [{'.'.join(at)}] and its keys below it")
            raw = {}
        known = shapes(model)
        for name in raw:
            if name not in known:
                self._problem((*at, as_key(name)), f"unknown key; {nearest(name, known)}")
        values: dict[str, Any] = {}
        complete = not silent
        for field in msgspec.structs.fields(model):
            shape, place = known[field.name], (*at, field.name)
            if field.name in raw:
                value, right = self._value(shape, raw[field.name], place)
                if not right and not field.required:
                    continue
            elif not field.required:
                continue
            elif is_table(shape.type) and not silent:
                value, right = self.table(shape.type, {}, place), True
            else:
                value, right = _empty(shape), False
                if not silent:
                    self._problem(place, _missing(shape, place))
            values[field.name] = value
            complete = complete and right
        result = model(**values)
        if complete:
            for name, message in result.check(self._context):
                self._problem((*at, name) if name else at, message)
        return result

    def _value(self, shape: Shape, raw: object, at: tuple[str, ...]) -> tuple[Any, bool]:
        """The value and whether it is right; a wrong one is reported and stands as something harmless."""
        if is_table(shape.type):
            return self.table(shape.type, raw, at), True
        item = item_shape(shape)
        if item is None:
            return self._leaf(shape, raw, at)
        if typing.get_origin(shape.type) is tuple and isinstance(raw, list):
            return self._list(shape, item, raw, at), True
        if typing.get_origin(shape.type) is dict and isinstance(raw, dict):
            return self._dict(item, raw, at), True
        self._problem(at, f"{quoted(raw)} is not a {in_words(shape)}; {_collection_hint(shape, item, at)}")
        return _empty(shape), False

    def _list(self, shape: Shape, item: Shape, raw: list[Any], at: tuple[str, ...]) -> tuple[Any, ...]:
        low, high = shape.meta.min_length or 0, shape.meta.max_length
        if len(raw) < low or (high is not None and len(raw) > high):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            self._problem(at, f"has {len(raw)} entries; {bounds} must be there")
        read = (self._value(item, entry, (*at[:-1], f"{at[-1]}[{n}]")) for n, entry in enumerate(raw))
        return tuple(value for value, right in read if right)

    def _dict(self, item: Shape, raw: dict[str, Any], at: tuple[str, ...]) -> dict[str, Any]:
        result = {}
        for name, entry in raw.items():
            place = (*at, as_key(name))
            if is_table(item.type):
                try:
                    parse_name(name)
                except ValueError as error:
                    self._problem(place, str(error))
            value, right = self._value(item, entry, place)
            if right:
                result[name] = value
        return result

    def _leaf(self, shape: Shape, raw: object, at: tuple[str, ...]) -> tuple[Any, bool]:
        try:
            if shape.kind is not None:
                return shape.kind.parse(raw, self._context), True
            return msgspec.convert(raw, Annotated[shape.type, shape.meta]), True
        except msgspec.ValidationError:
            refused = (shape.meta.extra or {}).get("refused", {})
            message = refused.get(raw) if isinstance(raw, str) else None
            self._problem(at, message or f"{quoted(raw)} is not possible; expected: {in_words(shape)}")
        except ValueError as error:
            self._problem(at, str(error))
        return _MISSING, False

    def _problem(self, at: tuple[str, ...], message: str) -> None:
        self.problems.append(Problem(self._name, ".".join(at), message))


def _empty(shape: Shape) -> Any:
    origin = typing.get_origin(shape.type)
    return () if origin is tuple else {} if origin is dict else _MISSING


def _missing(shape: Shape, at: tuple[str, ...]) -> str:
    item = item_shape(shape)
    if item is not None and is_table(item.type):
        return f"is missing; {_collection_hint(shape, item, at)}"
    if shape.meta.extra and shape.meta.extra["missing"]:
        return str(shape.meta.extra["missing"])
    example = (shape.meta.examples or [None])[0]
    return f"is missing; write for example {at[-1]} = {example}"


def _collection_hint(shape: Shape, item: Shape, at: tuple[str, ...]) -> str:
    if is_table(item.type):
        required = [f.name for f in msgspec.structs.fields(item.type) if f.required]
        head = f"[[{'.'.join(at)}]]" if typing.get_origin(shape.type) is tuple else f"[{'.'.join(at)}.NAME]"
        return f"write {head} with {' and '.join(required)} below it" if required else f"write {head}"
    example = (shape.meta.examples or [None])[0]
    if example is not None:
        return f"write for example {at[-1]} = {example}"
    return "write [...]" if typing.get_origin(shape.type) is tuple else "write {...}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
