"""Who switched something, and why: as hub and agent keep it, serve it and show it."""

from __future__ import annotations

import time
from typing import Final

import msgspec

REASON_MAX: Final = 200
"""Characters of an operator's reason."""


class Switched(msgspec.Struct, frozen=True, kw_only=True):
    """by: "file" for the configuration, else the operator's name with "operator " before it.
    at: seconds since the epoch, None where it is the file's.
    """

    by: str
    at: float | None = None
    reason: str = ""


BY_FILE: Final = Switched(by="file")


def by_operator(operator: str, reason: str) -> Switched:
    """Now, by an operator."""
    return Switched(by=f"operator {operator}", at=time.time(), reason=reason)


def reason_problem(reason: str) -> str:
    """What is wrong with a reason that was typed in, "" for nothing."""
    if reason and len(reason) <= REASON_MAX and reason.isprintable():
        return ""
    return f"Say why, in at most {REASON_MAX} characters: it is kept in the audit."
