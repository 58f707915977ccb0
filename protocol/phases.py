"""Where the time of an exchange went: the phases, and how the agent tells of its own (SPEC.md section 4.1).

Clocks of hub and agent are never compared: what travels are durations.
"""

from __future__ import annotations

from typing import Final

NAMES: Final = ("hub_queue", "tunnel", "agent_queue", "upstream_connect", "upstream_first_byte")
"""The phases of an exchange up to its answer's head, in order, under the names of logs, metrics and Server-Timing.

hub_queue: from the request's head to its being sent to the agent that answered. tunnel: what is left: the way both
ways, and what of the request's body was still to come. agent_queue: waiting for a connection to the upstream.
upstream_connect: opening one. upstream_first_byte: from the end of the request to the head of the answer.
"""

FIELD: Final = b"Tunnel-Phases"
"""Last among the fields of an ANSWER: the agent's own three phases, in microseconds. Never passed on."""

Phases = tuple[float, float, float, float, float]
"""Seconds, in the order of NAMES."""

_LENGTH_MAX: Final = 48
_MICROSECONDS_MAX: Final = 10**12


def encode(queue: float, connect: float, first_byte: float) -> bytes:
    """The value of FIELD; seconds in."""
    return b"%d %d %d" % (queue * 1e6, connect * 1e6, first_byte * 1e6)


def decode(value: bytes) -> tuple[float, float, float] | None:
    """Seconds; None for what no sound agent says, which is no violation, as it only misinforms."""
    if len(value) > _LENGTH_MAX:
        return None
    try:
        queue, connect, first_byte = map(int, value.split(b" "))
    except ValueError:
        return None
    if 0 <= queue < _MICROSECONDS_MAX and 0 <= connect < _MICROSECONDS_MAX and 0 <= first_byte < _MICROSECONDS_MAX:
        return queue / 1e6, connect / 1e6, first_byte / 1e6
    return None


def server_timing(phases: Phases) -> bytes:
    """The members of `Server-Timing` (W3C) for the phases that took any time; b"" where none did."""
    parts = [
        b"%b;dur=%.3f" % (name.encode("ascii"), seconds * 1000)
        for name, seconds in zip(NAMES, phases, strict=True)
        if seconds >= 1e-6
    ]
    return b", ".join(parts)
