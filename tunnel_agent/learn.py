"""`run --learn`: from the requests that come, a minimal `allow` list to review. Pure.

What is kept are shapes: method, path and the names of query keys. A segment that may be an identifier becomes `*`,
and so does every segment of a place where more than VALUES_MAX different ones were seen; values are never kept.
Allowed and refused requests are kept apart, so that what a hostile hub asks for cannot widen what is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protocol.http.allow import METHODS
from protocol.http.query import NAMES_MAX, BadQuery, keys_of, names_of
from protocol.http.shape import DEPTH_MAX, WILD, generalised
from protocol.http.target import BadTarget, check_target

VALUES_MAX: Final = 16
"""Different segments at one place that are written as they are."""

PLACES_MAX: Final = 2000
"""Places kept of one service, allowed ones and refused ones apart; requests beyond are only counted."""

Keys = set[str] | None
"""The query keys seen; None: queries were seen that no rule with keys can allow."""


class _Place:
    """A node of the tree of paths."""

    __slots__ = ("ends", "next", "wild")

    def __init__(self) -> None:
        self.next: dict[str, _Place] = {}
        self.ends: dict[str, Keys] = {}
        self.wild = False
        """There were too many different segments behind it: all of them count as one."""

    def step(self, segment: str) -> tuple[_Place, int]:
        """The place behind a segment, and how many places more there are now."""
        name = WILD if self.wild and segment else generalised(segment)  # the empty one is a slash at the end
        following = self.next.get(name)
        if following is not None:
            return following, 0
        following = self.next[name] = _Place()
        if len(self.next) <= VALUES_MAX:
            return following, 1
        before = sum(place.size() for place in self.next.values())
        self._narrow()
        return self.next.get(name) or self.next[WILD], 1 + sum(p.size() for p in self.next.values()) - before

    def end(self, method: str, keys: Keys) -> None:
        known = self.ends.get(method, set())
        both = None if known is None or keys is None else known | keys
        self.ends[method] = None if both is None or len(both) > NAMES_MAX else both

    def size(self) -> int:
        return 1 + sum(place.size() for place in self.next.values())

    def shapes(self, path: str = "") -> Iterator[tuple[str, str, Keys]]:
        """Path, method, keys."""
        for method, keys in self.ends.items():
            yield path, method, keys
        for segment, place in self.next.items():
            yield from place.shapes(f"{path}/{segment}")

    def _narrow(self) -> None:
        self.wild = True
        wild = _Place()
        for segment in list(self.next):
            if segment:
                wild._merge(self.next.pop(segment))
        self.next[WILD] = wild

    def _merge(self, other: _Place) -> None:
        for method, keys in other.ends.items():
            self.end(method, keys)
        self.wild |= other.wild
        for segment, place in other.next.items():
            if segment in self.next:
                self.next[segment]._merge(place)
            else:
                self.next[segment] = place
        if self.wild or len(self.next) > VALUES_MAX:
            self._narrow()


class _Shapes:
    """The shapes of one service that were allowed, or refused."""

    def __init__(self) -> None:
        self._root = _Place()
        self._places = 1
        self.left_out = 0

    def note(self, method: str, path: str, keys: Keys) -> None:
        segments = path[1:].split("/")
        if len(segments) > DEPTH_MAX or "" in segments[:-1] or method not in METHODS or self._places > PLACES_MAX:
            self.left_out += 1
            return
        place = self._root
        for segment in segments:
            place, more = place.step(segment)
            self._places += more
        place.end(method, keys)

    def rules(self) -> Iterator[tuple[str, str]]:
        """Rules, and a remark about each."""
        together: dict[tuple[str, str, str], list[str]] = {}
        for path, method, keys in self._root.shapes():
            query = "" if keys is None else "?" + "&".join(sorted(keys))
            remark = "any query: some keys cannot stand in a rule" if keys is None else ""
            together.setdefault((path, query, remark), []).append(method)
        for (path, query, remark), methods in sorted(together.items()):
            named = [m for m in METHODS if m in methods and not (m == "HEAD" and "GET" in methods)]
            yield f"{','.join(named)} {path}{query}", remark


class Learner:
    """`note` each request; `text` is what the file should hold then."""

    def __init__(self) -> None:
        self._allowed: dict[str, _Shapes] = {}
        self._refused: dict[str, _Shapes] = {}
        self.ambiguous = 0

    def note(self, service: str, method: bytes, target: bytes, *, allowed: bool) -> None:
        """A request for a service of this agent came, and the boundary let it in or not."""
        try:
            check_target(target)
        except BadTarget:
            self.ambiguous += 1  # no rule can allow it
            return
        path = target.partition(b"?")[0].decode("ascii")
        shapes = (self._allowed if allowed else self._refused).setdefault(service, _Shapes())
        shapes.note(method.decode("ascii", "replace"), path, _keys(target))

    def text(self) -> str:
        """The file: TOML to copy from."""
        lines = [
            "# What was asked of this agent, as rules to review before they go into agent.toml.",
            "# A * stands where identifiers or many different words were seen, the keys of queries behind a ?.",
            "# Lines marked `refused` are what the boundary did not let in: uncomment what should be.",
        ]
        if self.ambiguous:
            lines.append(f"# {self.ambiguous} requests had ambiguous paths, which no rule can allow.")
        for service in sorted({*self._allowed, *self._refused}):
            lines += ["", f'[services."{service}"]', "allow = ["]
            for table, mark in ((self._allowed, ""), (self._refused, "# refused: ")):
                shapes = table.get(service)
                if shapes is None:
                    continue
                for rule, remark in shapes.rules():
                    lines.append(f'    {mark}"{rule}",' + (f"  # {remark}" if remark else ""))
                if shapes.left_out:
                    lines.append(
                        f"    # {shapes.left_out} more {'refused' if mark else 'allowed'} ones are left out."
                    )
            lines.append("]")
        return "\n".join(lines) + "\n"


def _keys(target: bytes) -> Keys:
    try:
        keys = keys_of(target)
    except BadQuery:
        return None
    if len(keys) > NAMES_MAX:
        return None
    names = names_of(target) if keys else []
    return None if "*" in names else set(names)
