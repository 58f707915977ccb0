"""The field Tunnel-Deadline: how long the caller will wait for the answer's head, as in `1800ms` or `2s`."""

from __future__ import annotations

import re
from typing import Final

FIELD: Final = b"tunnel-deadline"

_deadline = re.compile(rb"([0-9]{1,9})(ms|s)").fullmatch


class BadDeadline(ValueError):
    """The field cannot be understood; the message says how to write it."""


def stated_deadline(fields: list[bytes]) -> float | None:
    """Seconds that the caller asks for, or None. The field stays: the forwarder drops all of the tunnel's own.

    Raises BadDeadline for a malformed or repeated field, and for zero.
    """
    found: float | None = None
    for index in range(0, len(fields), 2):
        if fields[index].lower() != FIELD:
            continue
        match = _deadline(fields[index + 1])
        if match is None or found is not None or not int(match[1]):
            raise BadDeadline("Tunnel-Deadline must be there once and be a duration such as 1800ms or 2s")
        found = int(match[1]) / (1000 if match[2] == b"ms" else 1)
    return found
