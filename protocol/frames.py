"""The frames: their numbers, their flags and the layout of each (SPEC.md, "Frames").

A frame is a msgpack array whose first element is its type. Handshake frames (1 to 4, 16, 17) travel alone in their
message and are read by `handshake.py`; the others are read by `session.py`.
"""

from __future__ import annotations

from typing import Final

HELLO: Final = 1
CHALLENGE: Final = 2
PROOF: Final = 3
READY: Final = 4

OPEN: Final = 5
"""[5, stream, flags, deadline_ms|nil, service, request_id, method, authority, target, fields, length|nil,
upgrade|nil, body]: hub to agent, begins a stream."""

ANSWER: Final = 6
"""[6, stream, flags, status, reason, fields, length|nil, body]: the final answer's head and first bytes."""

INTERIM: Final = 7
"""[7, stream, status, fields]: a 1xx answer, before ANSWER."""

DATA: Final = 8
"""[8, stream, flags, body]: body bytes, or pipe bytes after a 101."""

TRAILERS: Final = 9
"""[9, stream, fields]: ends the sender's half with trailer fields."""

CREDIT: Final = 10
"""[10, stream, bytes]: the receiver accepts so many more body bytes on the stream."""

RESET: Final = 11
"""[11, stream, code, detail]: ends both halves; code is a `StreamCode`."""

PING: Final = 12
"""[12, number]: answered by PONG with the same number."""

PONG: Final = 13
"""[13, number]."""

DRAIN: Final = 14
"""[14, nil]: open nothing new here. [14, last]: streams above `last` were not and will not be looked at."""

OFFER: Final = 15
"""[15, service, state, limit|nil]: agent to hub, how it serves `service` from now on; state is an `OfferState`."""

ENROL: Final = 16
ROTATE: Final = 17

GOODBYE: Final = 31
"""[31, code, message]: the session ends; code is a `SessionCode`."""

END: Final = 1
"""Flag of OPEN, ANSWER and DATA: the sender's half ends with this frame."""

CHUNKED: Final = 2
"""Flag of OPEN: the body has no stated length."""

EXPECT: Final = 4
"""Flag of OPEN: the caller waits for 100 (Continue)."""

NAMES: Final = {
    number: name
    for name, number in list(globals().items())
    if isinstance(number, int) and name not in {"END", "CHUNKED", "EXPECT"}
}
