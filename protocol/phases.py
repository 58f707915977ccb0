"""Where the time of an exchange went: the phases, and how the agent tells of its own (SPEC.md section 4.1).

Clocks of hub and agent are never compared: what travels are durations.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final

NAMES: Final = ("hub_queue", "tunnel", "agent_queue", "upstream_connect", "upstream_first_byte")
"""The phases of an exchange up to its answer's head, in order, under the names of logs, metrics and Server-Timing.

hub_queue: from the request's head to its being sent to the agent that answered. tunnel: what is left: the way both
ways, and what of the request's body was still to come. agent_queue: waiting for a connection to the upstream.
upstream_connect: opening one. upstream_first_byte: from the end of the request to the head of the answer.
"""

FIELD: Final = b"Tunnel-Phases"
"""Last among the fields of an ANSWER: the agent's own three phases. Never passed on."""

Phases = tuple[int, int, int, int, int]
"""Microseconds, in the order of NAMES."""

Own = tuple[int, int, int]
"""Those of the agent, in microseconds."""

_THREE: Final = Struct(">III")
_MOST: Final = 2**32 - 1


def encode(own: Own) -> bytes:
    """The value of FIELD: three unsigned 32-bit integers; more than those hold, 71 minutes, is not said."""
    try:
        return _THREE.pack(*own)
    except error:
        return _THREE.pack(*(min(max(part, 0), _MOST) for part in own))


def decode(value: bytes) -> Own | None:
    """None for what no sound agent says, which is no violation, as it only misinforms."""
    if len(value) != _THREE.size:
        return None
    queue, connect, first_byte = _THREE.unpack(value)
    return queue, connect, first_byte


def server_timing(phases: Phases) -> bytes:
    """The members of `Server-Timing` (W3C) for the phases that took any time; b"" where none did."""
    parts = [
        b"%b;dur=%.3f" % (name.encode("ascii"), part / 1000)
        for name, part in zip(NAMES, phases, strict=True)
        if part
    ]
    return b", ".join(parts)
