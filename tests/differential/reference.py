"""A strict reader of HTTP/1.1, written apart from the product: which requests do these bytes of a caller hold?

It stops at the first thing that RFC 9112 forbids. What an upstream sees beyond its findings was never sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~\x80-\xff]+) HTTP/1\.([01])").fullmatch
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*", re.DOTALL).fullmatch
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_SIZE: Final = re.compile(rb"(0*[0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?").fullmatch
_CLEAN: Final = re.compile(r"[a-z0-9-]+\.w?[0-9]+(-[a-z0-9-]+)?").fullmatch
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*(.*)", re.IGNORECASE | re.DOTALL).fullmatch


@dataclass(frozen=True)
class Found:
    """One request. `target`: in origin form; `cases`: its X-Case fields; `length`: of its body, None if cut."""

    method: str
    target: str
    cases: tuple[str, ...]
    length: int | None

    def is_case(self, told: str) -> bool:
        """Whether a server that got this request may tell `told` as its case: servers join fields, or take one."""
        return told in self.cases or told in {",".join(self.cases), ", ".join(self.cases)} or not is_clean(told)


def is_clean(case: str) -> bool:
    """Whether `case` is as we write it; what the mutator has spoilt says nothing about whose it is."""
    return _CLEAN(case) is not None


def read(data: bytes) -> list[Found]:
    """The requests in `data`, in order, up to the first violation, end of persistence or missing byte."""
    found: list[Found] = []
    while True:
        while data.startswith(b"\r\n"):
            data = data[2:]
        head, blank, rest = data.partition(b"\r\n\r\n")
        if not blank:
            return found
        read_head = _head(head)
        if read_head is None:
            return found
        method, target, minor, fields = read_head
        length, chunked = _framing(fields, minor)
        if length is None and not chunked:
            return found
        size, left = _chunks(rest) if chunked else _counted(rest, length or 0)
        if size == _BROKEN:
            size = None  # begun, but never to be completed
        found.append(Found(method, target, tuple(_all(fields, b"x-case")), size))
        options = ",".join(_all(fields, b"connection")).lower().replace(" ", "").split(",")
        persists = "close" not in options and (minor == 1 or "keep-alive" in options)
        if left is None or not persists:
            return found
        data = left


_BROKEN: Final = -1
Fields = list[tuple[bytes, bytes]]


def _head(head: bytes) -> tuple[str, str, int, Fields] | None:
    first, *lines = head.split(b"\r\n")
    line = _REQUEST_LINE(first)
    if line is None:
        return None
    fields: Fields = []
    for each in lines:
        field = _FIELD(each)
        if field is None or _CONTROL(each):
            return None
        fields.append((field[1].lower(), field[2]))
    minor = int(line[3])
    if len([1 for name, _ in fields if name == b"host"]) != 1 and minor:
        return None
    target = line[2]
    absolute = _ABSOLUTE(target)
    if absolute is not None:
        target = absolute[1] if absolute[1].startswith(b"/") else b"/" + absolute[1]
    return line[1].decode(), target.decode("latin-1"), minor, fields


def _framing(fields: Fields, minor: int) -> tuple[int | None, bool]:
    """The body's length, and whether it is chunked; (None, False): refused."""
    lengths, codings = _all(fields, b"content-length"), _all(fields, b"transfer-encoding")
    if codings:
        sound = minor == 1 and not lengths and [coding.lower() for coding in codings] == ["chunked"]
        return None, sound
    if not lengths:
        return 0, False
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", lengths[0], re.ASCII):
        return None, False
    return int(lengths[0]), False


def _counted(rest: bytes, length: int) -> tuple[int | None, bytes | None]:
    return (length, rest[length:]) if len(rest) >= length else (None, None)


def _chunks(rest: bytes) -> tuple[int | None, bytes | None]:
    total = 0
    while True:
        line, end, rest = rest.partition(b"\r\n")
        size = _SIZE(line)
        if not end or size is None:
            return _BROKEN, None
        number = int(size[1], 16)
        if number == 0:
            break
        if rest[number : number + 2] != b"\r\n":
            return _BROKEN, None
        total += number
        rest = rest[number + 2 :]
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return _BROKEN, None
        if not line:
            return total, rest
        if _FIELD(line) is None or _CONTROL(line):
            return _BROKEN, None


def _all(fields: Fields, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in fields if key == name]
