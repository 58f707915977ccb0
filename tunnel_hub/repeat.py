"""Whether a request whose attempt failed may be sent again, and where to. Pure; the failure contract in code.

A request is held (at the hub), sent (to an agent), dispatched (by the agent, to an upstream) or answered (the
caller has seen something of an answer). Whether a sent one was dispatched the hub knows only when the agent says
so: by a code of the NOT_DISPATCHED class that it was not, by any other that it may have been.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from protocol.errors import FAILURES, StreamCode

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods that may be sent twice (RFC 9110 section 9.2.2); TRACE never travels."""

REPEATS_MAX: Final = 5
"""Repeats of one request that was never dispatched."""

LOST_MAX: Final = 2
"""Repeats after the loss of a session: a request that ends agents must not go round for ever."""


class Again(Enum):
    """Where a request may be sent again."""

    NO = "nowhere"
    ANYWHERE = "on any session"
    ELSEWHERE = "on another agent's session"


_ELSEWHERE: Final = frozenset(
    {
        StreamCode.NOT_DISPATCHED,
        StreamCode.UNKNOWN_SERVICE,
        StreamCode.OVERLOADED,
        StreamCode.CONNECT_FAILED,
        StreamCode.CONNECT_TIMEOUT,
        StreamCode.UPSTREAM_TLS,
    }
)
"""Not dispatched, and another agent may do better. A refusal by a boundary is an answer, not a failure."""


def again(
    code: StreamCode, method: bytes, *, unsent: bool, answered: bool, body_held: bool, repeats: int
) -> Again:
    """The decision.

    unsent: no byte of the request has left the hub; answered: the caller has seen something of an answer, interim
    ones included; body_held: all that has come of the body is still here; repeats: how often it was sent again.
    """
    if answered or not body_held:
        return Again.NO
    if code in _ELSEWHERE:
        assert FAILURES[code].retry_safe
        return Again.ELSEWHERE if repeats < REPEATS_MAX else Again.NO
    if code is StreamCode.SESSION_LOST:
        if unsent:
            return Again.ANYWHERE if repeats < REPEATS_MAX else Again.NO
        if method in IDEMPOTENT and repeats < LOST_MAX:
            return Again.ANYWHERE
    return Again.NO
