"""Allow lists: what a caller may ask of a service, at the hub, and what the data centre lets in, at the agent.

What no rule allows is refused. Both ends match the very bytes that are forwarded.

A rule is `METHODS PATTERN` or `METHODS PATTERN?KEYS`. METHODS is `*` or names joined by commas; GET allows HEAD
as well, and CONNECT and TRACE are never allowed. In a PATTERN

- `*` is a whole segment or part of one: at least one character, never a slash;
- `**` is any number of whole segments, also none, and must be a segment of its own;
- every other character is itself. Case counts, and so does percent-encoding: the pattern is compared with
  the path as sent, before any decoding.

Behind `?` stand the keys that the query may hold, joined by `&`: each at most once, in any order, with any value
(`protocol.http.query`). A `?` without keys means no query at all, a rule without `?` allows any query.

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
from protocol.http.query import BadQuery, keys_of, rule_keys
from protocol.http.target import NONE, BadTarget, check_target

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What a rule may name; any other method, but for those in NEVER, is allowed by `*` alone."""

NEVER: Final = frozenset({b"CONNECT", b"TRACE"})

_ANY: Final = b"*"

Match = Callable[[bytes], re.Match[bytes] | None]


class RuleError(ValueError):
    """A rule that cannot be used: what is wrong and how to write it, for the person who wrote it."""


class Decision(NamedTuple):
    """What the list says about one request.

    rule: the rule that allows it, as written, or None. by_query: it is refused for nothing but its query.
    """

    allowed: bool
    rule: str | None
    reason: str
    by_query: bool = False


class _Rule(NamedTuple):
    text: str
    methods: frozenset[bytes]
    expression: bytes
    match: Match
    keys: frozenset[bytes] | None  # None: any query


class AllowList:
    """The compiled rules of one service. Made by `compile`; immutable."""

    __slots__ = ("_any", "_by_method", "_exceptions", "_rules", "_with_keys")

    def __init__(self, rules: tuple[_Rule, ...], exceptions: frozenset[str]) -> None:
        self._rules = rules
        self._exceptions = exceptions
        plain = tuple(rule for rule in rules if rule.keys is None)
        self._with_keys = tuple(rule for rule in rules if rule.keys is not None)
        named = {method for rule in plain for method in rule.methods} - {_ANY}
        # One alternation for each method, with the rules for any method in it: a single match decides.
        self._by_method = {method: _combined(plain, method) for method in named}
        self._any = _combined(plain, _ANY)

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
            if method in NEVER or not is_method(method):
                return False
        if (match is None or match(target) is None) and not (
            self._with_keys and self._allows_query(method, target)
        ):
            return False
        try:
            check_target(target, self._exceptions)
        except BadTarget:
            return False
        return True

    def _allows_query(self, method: bytes, target: bytes) -> bool:
        """Whether a rule with keys allows it, as far as the path policy does."""
        try:
            keys = keys_of(target)
        except BadQuery:
            return False
        return any(
            rule.keys is not None and keys <= rule.keys and _is_for(rule, method) and rule.match(target)
            for rule in self._with_keys
        )

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
        nearly = ""
        for rule in self._rules:
            if _is_for(rule, method) and rule.match(target):
                problem = _query_problem(rule, target)
                if not problem:
                    return Decision(True, rule.text, f"Allowed by the rule '{rule.text}'.")
                nearly = nearly or f"The rule '{rule.text}' fits, but the query {problem}."
        if nearly:
            return Decision(False, None, nearly, by_query=True)
        if not self._rules:
            return Decision(False, None, "The service has no rules, so nothing is allowed.")
        others = sorted({m.decode() for rule in self._rules if rule.match(target) for m in rule.methods})
        if others:
            return Decision(False, None, f"The path is allowed for {', '.join(others)} only.")
        return Decision(False, None, "No rule allows this path.")


def _is_for(rule: _Rule, method: bytes) -> bool:
    return method in rule.methods or _ANY in rule.methods


def _query_problem(rule: _Rule, target: bytes) -> str:
    """What of the query the rule does not allow, "" for nothing."""
    if rule.keys is None:
        return ""
    try:
        keys = keys_of(target)
    except BadQuery as error:
        return str(error)
    if keys <= rule.keys:
        return ""
    return "holds a key that it does not name" if rule.keys else "is there, and it allows none"


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
    path, mark, query = pattern.partition("?")
    expression = _translate(rule, path, exceptions)
    named = _parse_methods(rule, methods)
    try:
        keys = rule_keys(query) if mark else None
    except ValueError as error:
        raise RuleError(f"The rule '{rule}' {error}.") from None
    return _Rule(rule, named, expression, re.compile(expression).match, keys)


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
