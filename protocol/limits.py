"""Every bound of the wire protocol in one place (SPEC.md, "Limits").

Sizes are bytes, times seconds. What a peer must know is exchanged in the handshake; the rest each side
enforces by itself.
"""

from __future__ import annotations

from typing import NamedTuple

KIB = 1024
MIB = 1024 * KIB

SUBPROTOCOL = "tunnel.v1"

MESSAGE_TARGET = 64 * KIB
"""Soft cap of the coalescing writer: a message is closed once it holds this much."""

MESSAGE_MAX = 1 * MIB
"""A websocket message above this ends the session."""

DATA_MAX = 32 * KIB
"""Most body bytes in one DATA frame that a peer accepts."""

DATA_FRAME = 16 * KIB
"""Body bytes this implementation puts into one frame while several streams want to send."""

OFFER_LIMIT_MAX = 1_000_000
"""Most requests at once that an OFFER may name."""

STREAM_ID_MAX = 2**31 - 1

SEND_HIGH = 64 * KIB
"""Queued body bytes of one stream above which its source is told to pause."""

SEND_LOW = 16 * KIB
"""Queued body bytes of one stream at which its source may go on."""


class Limits(NamedTuple):
    """What one side grants the other on a session; `max_streams` and `window` travel in the handshake."""

    max_streams: int = 256
    window: int = 256 * KIB
    window_max: int = 16 * MIB
    fields_bytes: int = 80 * KIB
    fields_count: int = 256
    target_bytes: int = 16 * KIB
    interims: int = 16
    pings_per_second: float = 100.0
    resets_per_second: float = 10_000.0
    offers_per_second: float = 300.0
    reset_timeout: float = 30.0
