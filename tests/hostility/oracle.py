"""What may reach the upstream, written a second time and as plainly as can be: nothing of the product is used.

The path policy is that of docs/http.md without exceptions, the rules are those of docs/configuration.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

NEVER = (b"CONNECT", b"TRACE")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}|%u")


class Rules:
    """An allow list, each rule `METHODS PATTERN`."""

    def __init__(self, rules: Sequence[str]) -> None:
        self.text = list(rules)
        self._rules = [
            (methods.encode().split(b","), pattern.encode().split(b"/")[1:])
            for methods, pattern in (rule.split() for rule in rules)
        ]

    def allow(self, method: bytes, target: bytes) -> bool:
        """Whether some rule matches the raw path literally and the path policy has nothing against it."""
        if not _TOKEN.fullmatch(method) or method in NEVER or ambiguous(target):
            return False
        path = target.split(b"?")[0].split(b"/")[1:]
        return any(_named(method, methods) and _match(pattern, path) for methods, pattern in self._rules)


def _named(method: bytes, methods: list[bytes]) -> bool:
    return method in methods or b"*" in methods or (method == b"HEAD" and b"GET" in methods)


def _match(pattern: list[bytes], path: list[bytes]) -> bool:
    if not pattern:
        return not path
    if pattern == [b"**"]:
        return bool(path)
    if pattern[0] == b"**":
        return any(_match(pattern[1:], path[skipped:]) for skipped in range(len(path) + 1))
    return bool(path) and _fits(pattern[0], path[0]) and _match(pattern[1:], path[1:])


def _fits(pattern: bytes, segment: bytes) -> bool:
    literal, star, rest = pattern.partition(b"*")
    if not star:
        return segment == literal
    if not segment.startswith(literal):
        return False
    segment = segment[len(literal) :]
    return any(_fits(rest, segment[used:]) for used in range(1, len(segment) + 1))


def ambiguous(target: bytes) -> str:
    """Why the path policy refuses an origin-form target; empty if it does not."""
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        return "no path"
    if any(octet < 0x21 or octet > 0x7E for octet in target) or b"#" in target:
        return "a control character, a space, a fragment or an octet outside ASCII"
    del query  # printable ASCII is all that is asked of it
    if re.search(rb"%(?![0-9A-Fa-f]{2})", path) or any(octet in b'"<>\\^`{|}[]' for octet in path):
        return "characters that no path may hold"
    lower = path.lower()
    for never in (b"//", b"%2f", b"%5c", b";", b"%3b"):
        if never in lower:
            return f"it holds {never.decode()}"
    decoded = unquote_to_bytes(path)
    if _ESCAPE.search(decoded):
        return "an escape of an escape"
    try:
        text = decoded.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    if _CONTROL.search(text):
        return "an encoded control character"
    if {".", ".."} & set(re.split(r"[/\\]", text)):
        return "a dot segment"
    return ""
