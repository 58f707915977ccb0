"""What each code of a failure means: for the page to which every code links."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..problems import HUB_PROBLEMS, STREAM_PROBLEMS


class Meaning(NamedTuple):
    code: str
    status: int
    origin: str
    delivered: str
    title: str


def _all() -> tuple[Meaning, ...]:
    found = {
        each.code: Meaning(each.code, each.status, each.origin, str(each.delivered), each.title)
        for each in (*HUB_PROBLEMS.values(), *STREAM_PROBLEMS.values())
    }
    found["caller_gone"] = Meaning(
        "caller_gone", 499, "caller", "no or unknown", "The caller went away before its answer was complete"
    )
    return tuple(sorted(found.values()))


MEANINGS: Final = _all()
