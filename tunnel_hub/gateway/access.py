"""The path list of a legacy client token: regular expressions that are searched for in a request's path.

RE2 does it, in time linear in the path whatever the pattern. The path is the bytes as sent, so patterns are
ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import re2  # type: ignore[import-untyped]

PATTERNS: Final = 64
PATTERN_CHARS: Final = 1024
PATTERN_MEMORY: Final = 128 * 1024
"""Bytes that RE2 may take for one pattern: one that compiles to more is refused."""

PATTERN_STEPS: Final = 1000
"""Instructions of a compiled pattern: at worst a search takes their number times the path's length."""

REMEMBERED: Final = 1024
"""Paths whose answer is kept: a search takes as long as the rest of the gate."""

REMEMBERED_BYTES: Final = 256
"""The longest of them."""


class AccessError(ValueError):
    """A pattern that cannot be used: one sentence with the pattern and what is wrong with it."""


class AccessList:
    """What one client token may ask for. Made by `compile`; immutable but for what it remembers of short paths."""

    __slots__ = ("_found", "_searches", "patterns")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.patterns = patterns
        self._found: dict[bytes, bool] = {}
        self._searches = tuple(_compiled(pattern).search for pattern in patterns)

    @classmethod
    def compile(cls, patterns: Iterable[str]) -> AccessList:
        """Compiles `patterns`, each on its own.

        Raises:
            AccessError: one of them, or their number, cannot be used.
        """
        listed = tuple(patterns)
        if len(listed) > PATTERNS:
            raise AccessError(f"There are {len(listed)} path patterns, and {PATTERNS} are allowed.")
        return cls(listed)

    def allows(self, target: bytes) -> bool:
        """Whether a pattern is found in the path of an origin-form target; the query plays no part."""
        path = target.partition(b"?")[0]
        found = self._found.get(path)
        if found is None:
            found = any(search(path) is not None for search in self._searches)
            if len(path) <= REMEMBERED_BYTES:
                if len(self._found) >= REMEMBERED:
                    self._found.clear()
                self._found[path] = found
        return found

    @property
    def unanchored(self) -> tuple[str, ...]:
        """The patterns that may be found inside a longer path; in doubt a pattern counts as one of them."""
        return tuple(pattern for pattern in self.patterns if not is_anchored(pattern))


def _compiled(pattern: str) -> re2._Regexp:
    shown = pattern if len(pattern) <= 60 else f"{pattern[:60]}..."
    if len(pattern) > PATTERN_CHARS:
        raise AccessError(f"The path pattern {shown!r} is longer than {PATTERN_CHARS} characters.")
    if not pattern.isascii():
        raise AccessError(
            f"The path pattern {shown!r} is not ASCII: write other characters percent-encoded, as they are sent."
        )
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they are
    options.max_mem = PATTERN_MEMORY
    options.never_capture = True
    options.log_errors = False
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        said = reason.decode("ascii", "replace") if isinstance(reason, bytes) else str(reason)
        raise AccessError(f"The path pattern {shown!r} cannot be used: {said[:100]}.") from None
    if compiled.programsize > PATTERN_STEPS:
        raise AccessError(f"The path pattern {shown!r} repeats too much: write smaller numbers in its braces.")
    return compiled


_TOKENS: Final = re.compile(
    r"""
    \\.                                                        # an escape
  | (?>\[\^?+\]?+(?:\\.|\[:.*?:\]|[^\]\\])*+\])                # a class
  | .
    """,
    re.VERBOSE | re.DOTALL,
)


def is_anchored(pattern: str) -> bool:
    r"""Whether every alternative of a pattern begins with ^ or \A and ends with $ or \z; False in doubt."""
    if r"\Q" in pattern or re.search(r"\(\?[A-Za-z-]*m", pattern):
        return False
    alternatives: list[list[str]] = [[]]
    depth = 0
    for part in _TOKENS.findall(pattern):
        depth += (part == "(") - (part == ")")
        if part == "|" and not depth:
            alternatives.append([])
        else:
            alternatives[-1].append(part)
    return all(map(_holds_both_ends, alternatives))


def _holds_both_ends(parts: list[str]) -> bool:
    if len(parts) < 2 or parts[1] in ("*", "?", "+", "{"):  # ^* is no anchor
        return False
    return parts[0] in ("^", r"\A") and parts[-1] in ("$", r"\z")
