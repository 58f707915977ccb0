"""Allow lists: what a caller may ask of a service, at the hub, and what the data centre lets in, at the agent.

What no rule allows is refused. Both ends match the very bytes that are forwarded.

A rule is `METHODS PATTERN`. METHODS is `*` or names joined by commas; GET allows HEAD as well, and CONNECT
and TRACE are never allowed. In a PATTERN

- `*` is a whole segment or part of one: at least one character, never a slash;
- `**` is any number of whole segments, also none, and must be a segment of its own;
- every other character is itself. Case counts, and so does percent-encoding: the pattern is compared with
  the path as sent, before any decoding, and the query plays no part.

So `/nomisapi/**` allows `/nomisapi/` and all below it, but not `/nomisapi`.

Every pattern becomes a regular expression whose time grows linearly with the path: after each wildcard the
earliest match of the fixed text that follows it is kept for good (an atomic group), because an earlier match
leaves more of the path to the wildcards that follow, so that a later one could never succeed instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from protocol.http.head import is_method
from protocol.http.target import NONE, BadTarget, check_target

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What a rule may name; any other method, but for those in NEVER, is allowed by `*` alone."""

NEVER: Final = frozenset({b"CONNECT", b"TRACE"})

_ANY: Final = b"*"

Match = Callable[[bytes], re.Match[bytes] | None]


class RuleError(ValueError):
    """A rule that cannot be used: what is wrong and how to write it, for the person who wrote it."""


class Decision(NamedTuple):
    """What the list says about one request: `rule` is the rule that allows it, as written, or None."""

    allowed: bool
    rule: str | None
    reason: str


class _Rule(NamedTuple):
    text: str
    methods: frozenset[bytes]
    expression: bytes
    match: Match


class AllowList:
    """The compiled rules of one service. Made by `compile`; immutable."""

    __slots__ = ("_any", "_by_method", "_exceptions", "_rules")

    def __init__(self, rules: tuple[_Rule, ...], exceptions: frozenset[str]) -> None:
        self._rules = rules
        self._exceptions = exceptions
        named = {method for rule in rules for method in rule.methods} - {_ANY}
        # One alternation for each method, with the rules for any method in it: a single match decides.
        self._by_method = {method: _combined(rules, method) for method in named}
        self._any = _combined(rules, _ANY)

    @classmethod
    def compile(cls, allow: Iterable[str], exceptions: frozenset[str] = NONE) -> AllowList:
        """Compiles the rules of `allow`; `exceptions` is what the service's path policy lets through.

        Raises:
            RuleError: a rule is malformed or could never match.
        """
        return cls(tuple(_parse(rule, exceptions) for rule in allow), exceptions)

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules as written, in order."""
        return tuple(rule.text for rule in self._rules)

    def allows(self, method: bytes, target: bytes) -> bool:
        """Whether the request may go to the upstream. Runs `check_target` as well: False if that refuses."""
        match = self._by_method.get(method)
        if match is None:
            match = self._any
            if match is None or method in NEVER or not is_method(method):
                return False
        if match(target) is None:
            return False
        try:
            check_target(target, self._exceptions)
        except BadTarget:
            return False
        return True

    def decide(self, method: bytes, target: bytes) -> Decision:
        """The same as `allows`, with the rule and the reason: for audits, refusals and `explain`."""
        if not is_method(method):
            return Decision(False, None, "The method is not a valid HTTP method.")
        if method in NEVER:
            return Decision(False, None, f"{method.decode()} is never allowed.")
        try:
            check_target(target, self._exceptions)
        except BadTarget as error:
            return Decision(False, None, f"{error}, which no rule can allow.")
        for rule in self._rules:
            if (method in rule.methods or _ANY in rule.methods) and rule.match(target):
                return Decision(True, rule.text, f"Allowed by the rule '{rule.text}'.")
        if not self._rules:
            return Decision(False, None, "The service has no rules, so nothing is allowed.")
        others = sorted({m.decode() for rule in self._rules if rule.match(target) for m in rule.methods})
        if others:
            return Decision(False, None, f"The path is allowed for {', '.join(others)} only.")
        return Decision(False, None, "No rule allows this path.")


def _combined(rules: tuple[_Rule, ...], method: bytes) -> Match | None:
    expressions = [rule.expression for rule in rules if method in rule.methods or _ANY in rule.methods]
    return re.compile(b"|".join(expressions)).match if expressions else None


def _parse(rule: str, exceptions: frozenset[str]) -> _Rule:
    parts = rule.split() if isinstance(rule, str) else []
    if len(parts) == 1 and parts[0].startswith("/"):
        raise RuleError(f"The rule '{rule}' names no method: write 'GET {rule}', or '* {rule}' for any method.")
    if len(parts) != 2:
        raise RuleError(
            f"The rule {rule!r} is not 'METHODS PATTERN': write it like 'GET,POST /path/*/more/**', "
            "and a space in a path as %20."
        )
    methods, pattern = parts
    expression = _translate(rule, pattern, exceptions)
    return _Rule(rule, _parse_methods(rule, methods), expression, re.compile(expression).match)


def _parse_methods(rule: str, methods: str) -> frozenset[bytes]:
    if methods == "*":
        return frozenset({_ANY})
    names = methods.split(",")
    for name in names:
        if name.upper().encode() in NEVER:
            raise RuleError(f"The rule '{rule}' allows {name.upper()}, which is never carried: take it out.")
        if name not in METHODS:
            fix = f"write {name.upper()}" if name.upper() in METHODS else f"use {', '.join(METHODS)} or *"
            raise RuleError(f"The rule '{rule}' names the unknown method '{name}': {fix}.")
    return frozenset(name.encode() for name in (*names, *(["HEAD"] if "GET" in names else [])))


def _translate(rule: str, pattern: str, exceptions: frozenset[str]) -> bytes:
    """The expression that matches a target from its start to the end of its path."""
    if not pattern.startswith("/"):
        raise RuleError(f"The path of the rule '{rule}' does not begin with a slash: write '/{pattern}'.")
    if "?" in pattern:
        raise RuleError(
            f"The rule '{rule}' holds a question mark: rules are about paths only, so leave the query out."
        )
    segments = pattern[1:].split("/")
    for segment in segments:
        if "**" in segment and segment != "**":
            raise RuleError(
                f"The rule '{rule}' has ** inside a segment: ** stands for whole segments, "
                "use * for a part of one."
            )
    if "/**/**" in pattern:
        raise RuleError(f"The rule '{rule}' repeats **: one ** already stands for any number of segments.")
    try:
        check_target(pattern.replace("**", "x").replace("*", "x").encode("ascii"), exceptions)
    except UnicodeEncodeError:
        raise RuleError(
            f"The path of the rule '{rule}' is not ASCII: write other characters percent-encoded, "
            "as callers send them."
        ) from None
    except BadTarget as error:
        raise RuleError(f"The rule '{rule}' can never match, because such paths are refused: {error}.") from None

    open_ended = segments[-1] == "**"
    if open_ended:
        segments.pop()
    end = rb"/[^?]*+(?:\?|\Z)" if open_ended else rb"(?:\?|\Z)"
    first, *chunks = (b"".join(map(_segment, chunk)) for chunk in _chunks(segments))
    expression = first
    for number, chunk in enumerate(chunks, 1):
        scan = rb"(?:/[^/?]*+)*?" + chunk
        last = number == len(chunks) and not open_ended
        expression += scan if last else rb"(?>" + scan + rb"(?=[/?]|\Z))"
    return expression + end


def _chunks(segments: list[str]) -> list[list[str]]:
    """The runs of segments between one `**` and the next; the first may be empty."""
    chunks: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            chunks.append([])
        else:
            chunks[-1].append(segment)
    return chunks


def _segment(segment: str) -> bytes:
    """A slash and one segment; what follows begins with a slash or demands the end of the path."""
    head, *rest = segment.split("*")
    expression = b"/" + re.escape(head.encode())
    if not rest:
        return expression
    *middle, tail = (re.escape(part.encode()) for part in rest)
    for part in middle:
        expression += rb"(?>[^/?]+?" + part + rb")"
    return expression + (rb"(?>[^/?]+" + tail + rb"(?=[/?]|\Z))" if tail else rb"[^/?]++")
