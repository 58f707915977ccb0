"""The lines of an audit file: each names the hash of the one before it, so that a changed line is found.

A line is one JSON object with the keys seq, time, event, whatever belongs to the event, then prev and hash. `hash`
is the SHA-256 of the line's own bytes without `,"hash":"..."`; `prev` is the hash of the line before, 64 zeros in
the very first. A new file after a rotation begins with a line `continued`, whose prev is the last hash of the
former file. A last line without its end was torn by a crash: the next line is then `torn` and holds the size and
the SHA-256 of what is left of it.

What the chain cannot show: lines cut off at the end, and a file written anew from some line on by somebody who may
write it. Keep a copy of the last hash elsewhere; both programs log it when they start and stop.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

ZEROS: Final = "0" * 64
"""`prev` of the first line of all."""

LINE_MAX: Final = 256 * 1024
"""Bytes of the longest line; of a longer one only its length is told."""

TORN_MAX: Final = 2 * LINE_MAX
"""Bytes at the end of a file that may be torn."""

TEXT_MAX: Final = 1024
"""Characters of one text in a line; what is longer is cut."""

ENTRIES_MAX: Final = 32
"""Fields of one line, and entries of one list; the rest is left out."""

CONTINUED: Final = "continued"
TORN: Final = "torn"

_seal = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}\n', re.DOTALL).fullmatch


class ChainError(ValueError):
    """A line that is not as it was written, or not where it was: half a sentence about it."""


class Link(NamedTuple):
    """Where a chain stands: number and hash of its last line."""

    seq: int
    hash: str


START: Final = Link(0, ZEROS)


class Line(NamedTuple):
    """What a whole line says."""

    link: Link
    prev: str
    time: str
    event: str
    values: dict[str, Any]


def forge(last: Link, time: str, event: str, values: dict[str, Any]) -> tuple[bytes, Link]:
    """The next line behind `last`, with its end, and where the chain stands then. `values` must be `clean`."""
    seq = last.seq + 1
    head, tail = {"seq": seq, "time": time, "event": event}, {"prev": last.hash}
    body = msgspec.json.encode({**head, **values, **tail})
    if len(body) > LINE_MAX // 2:
        body = msgspec.json.encode({**head, "left_out": len(body), **tail})
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + b',"hash":"%s"}\n' % digest.encode(), Link(seq, digest)


def clean(values: dict[str, Any]) -> dict[str, Any]:
    """Values as a line may hold them: numbers and truth values, bounded text, bounded lists of text."""
    return {name: _clean(value) for name, value in list(values.items())[:ENTRIES_MAX]}


def _clean(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(str(entry)) for entry in list(value)[:ENTRIES_MAX]]
    return str(value)[:TEXT_MAX].encode("utf-8", "backslashreplace").decode()


def read(raw: bytes) -> Line:
    """What a line says, its end included. Raises ChainError for one that is not as it was written."""
    match = _seal(raw)
    if match is None:
        raise ChainError("is not a line of an audit file")
    body = match[1] + b"}"
    if hashlib.sha256(body).hexdigest().encode() != match[2]:
        raise ChainError("was changed: its hash is not that of its content")
    try:
        values = msgspec.json.decode(body, type=dict[str, Any])
        seq, time, event, prev = (values.pop(key) for key in ("seq", "time", "event", "prev"))
    except (msgspec.DecodeError, KeyError):
        raise ChainError("is not a line of an audit file") from None
    return Line(Link(seq, match[2].decode()), prev, time, event, values)


def end_of(data: bytes) -> tuple[Link | None, bytes]:
    """Where the chain stands at the end of a file, of which `data` is the last part, and what is torn behind it.

    None: no whole line is in it. What is torn is nothing, or one line without an end behind the last sound one;
    and before that, beginnings of lines of ours, where the note of a crash was itself torn.

    Raises:
        ChainError: the last whole line is not a crash's work: it was changed, or the file is another's.
    """
    torn = b""
    for raw in reversed(io.BytesIO(data).readlines()):
        try:
            return read(raw).link, torn
        except ChainError:
            if raw.endswith(b"\n") and (_seal(raw) or not raw.startswith(b'{"seq":')):
                raise
        torn = raw + torn
    return None, torn


def torn_values(torn: bytes) -> dict[str, Any]:
    """What the line `torn` says of what is torn before it, without the line end that closes that."""
    left = torn.removesuffix(b"\n")
    return {"bytes": len(left), "sha256": hashlib.sha256(left).hexdigest()}


class Report(NamedTuple):
    """What `verify` found. wrong: the file, the line's number in it and what is wrong there; None: all is well."""

    lines: int
    first: str
    last: str
    link: Link
    notes: tuple[str, ...]
    wrong: tuple[str, int, str] | None


class _Walk:
    """Follows one chain over several files."""

    def __init__(self) -> None:
        self.lines = 0
        self.first = self.last = ""
        self.link: Link | None = None
        self.notes: list[str] = []
        self.number = 0

    def walk(self, file: BinaryIO, name: str) -> None:
        """Raises ChainError at the line `number`."""
        self.number = 0
        torn, torn_at = b"", 0  # lines that are well only if the next sound one accounts for them
        while raw := file.readline(LINE_MAX + 1):
            self.number += 1
            try:
                line = read(raw)
            except ChainError:
                torn_at = torn_at or self.number
                torn += raw
                if len(torn) > TORN_MAX:
                    break
                continue
            if torn:
                if not _accounts(line, torn):
                    break
                self.notes.append(f"{name}: line {torn_at} was torn by a crash, as line {self.number} says")
                torn, torn_at = b"", 0
            elif line.event == TORN:
                raise ChainError("speaks of a torn line that is not before it: lines were taken out or moved")
            self._take(line, name)
        if torn:
            self.number = torn_at
            if b"\n" not in torn:
                raise ChainError(
                    "breaks off: torn by a crash while it was written, which the program notes when it starts "
                    "again, or cut by hand"
                )
            read(torn[: torn.index(b"\n") + 1])  # says what is wrong with it

    def _take(self, line: Line, name: str) -> None:
        """One sound line: is it in its place?"""
        before = self.link
        if before is not None:
            if (line.link.seq, line.prev) != (before.seq + 1, before.hash):
                where = "the last line of the file before" if self.number == 1 else "the line before it"
                raise ChainError(f"does not follow {where}: lines were taken out, put in or moved")
        elif line.event == CONTINUED:
            self.notes.append(f"{name} continues a file whose last hash is {line.prev}")
        elif (line.link.seq, line.prev) != (1, ZEROS):
            raise ChainError("is not the first of a chain: lines before it are missing")
        self.lines += 1
        self.first = self.first or line.time
        self.last = line.time
        self.link = line.link


def _accounts(line: Line, torn: bytes) -> bool:
    """Whether the line says of the one before it that a crash tore it just so."""
    left = torn_values(torn)
    return line.event == TORN and {key: line.values.get(key) for key in left} == left


def verify(paths: Iterable[Path]) -> Report:
    """Follow the chain through the files, oldest first. Raises OSError for a file that cannot be read."""
    walk = _Walk()
    wrong = None
    for path in paths:
        with path.open("rb") as file:
            try:
                walk.walk(file, str(path))
            except ChainError as error:
                wrong = (str(path), walk.number, str(error))
                break
    return Report(walk.lines, walk.first, walk.last, walk.link or START, tuple(walk.notes), wrong)
