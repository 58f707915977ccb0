"""The shape of a path: what may be an identifier becomes `*`, so that it can be kept and shown.

Which word of a path is a person's name nobody can tell from its form: a segment in lower-case letters counts as a
word of the API. Where that will not do, many paths must be looked at together, as the agent's `run --learn` does.
"""

from __future__ import annotations

import re
from typing import Final

WILD: Final = "*"

DEPTH_MAX: Final = 32
"""Segments of a shape; the rest is `**`."""

# Words as they stand in the paths of APIs: offenders, contact_list, echo-ws, availableDates, openapi.json, v1.
_word = re.compile(
    r"(?:v[0-9]{1,2}|[A-Z]?[a-z]{1,24}(?:(?:[_-]|(?=[A-Z]))[A-Z]?[a-z]{1,24}){0,4}(?:\.[a-z]{2,4})?)"
)
_hex = re.compile(r"[a-f]{8,}")


def generalised(segment: str) -> str:
    """The segment where it is a word of the API, `*` where it may be an identifier."""
    if not segment or (len(segment) <= 32 and _word.fullmatch(segment) and not _hex.fullmatch(segment)):
        return segment
    return WILD


def shape_of(target: bytes) -> str:
    """The shape of a request target in origin form, without its query; any other form is `*`."""
    path = target.partition(b"?")[0].decode("latin-1")
    if not path.startswith("/"):
        return WILD
    segments = path[1:].split("/", DEPTH_MAX)
    shape = "/" + "/".join(map(generalised, segments[:DEPTH_MAX]))
    return shape if len(segments) <= DEPTH_MAX else shape + "/**"
