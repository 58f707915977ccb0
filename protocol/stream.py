"""One stream's state: two halves, each following one table (SPEC.md, "Stream states").

Transitions are data; what is absent is a protocol violation when the peer does it and a programming error
when we do. Each half ends exactly once on the wire: by END, by TRAILERS or by RESET.
"""

from __future__ import annotations

from typing import Final

from .flow import ReceiveWindow
from .scheduler import Outbox

AWAIT: Final = 0
"""Nothing of this half's message has passed."""
BODY: Final = 1
"""The head has passed; body or pipe bytes may follow."""
ENDED: Final = 2
"""The half ended cleanly."""
ABORTED: Final = 3
"""The half ended by RESET."""

STATE_NAMES: Final = ("await", "body", "ended", "aborted")

ON_INTERIM: Final = 0
ON_HEAD: Final = 1
ON_HEAD_END: Final = 2
ON_DATA: Final = 3
ON_END: Final = 4
ON_RESET: Final = 5

SIGNAL_NAMES: Final = ("interim", "head", "head+end", "data", "end", "reset")

TRANSITIONS: Final[dict[tuple[int, int], int]] = {
    (AWAIT, ON_INTERIM): AWAIT,
    (AWAIT, ON_HEAD): BODY,
    (AWAIT, ON_HEAD_END): ENDED,
    (AWAIT, ON_RESET): ABORTED,
    (BODY, ON_DATA): BODY,
    (BODY, ON_END): ENDED,
    (BODY, ON_RESET): ABORTED,
    (ENDED, ON_RESET): ABORTED,
}

NEXT: Final = tuple(
    tuple(TRANSITIONS.get((state, signal)) for signal in range(len(SIGNAL_NAMES)))
    for state in range(len(STATE_NAMES))
)
"""NEXT[state][signal]: the table laid out for look-up; None is a violation."""


class Stream:
    """One HTTP exchange or upgraded connection inside a session. `owner` belongs to the session's user."""

    __slots__ = (
        "confirm",
        "credit",
        "dispatched",
        "id",
        "interims",
        "outbox",
        "owner",
        "receive_window",
        "received",
        "receiving",
        "reset_deadline",
        "sending",
        "silent",
    )

    def __init__(self, stream_id: int, credit: int, sending: int, receiving: int, owner: object) -> None:
        self.id = stream_id
        self.owner = owner
        self.sending = sending
        self.receiving = receiving
        self.credit = credit
        self.received = 0
        self.interims = 0
        self.outbox: Outbox | None = None
        self.receive_window: ReceiveWindow | None = None
        self.reset_deadline = 0.0
        self.silent = False
        """We reset it: its events concern nobody any more, but for `ResetAnswered`."""
        self.confirm = False
        """We reset it and want to hear what the peer answers to that."""
        self.dispatched = False
        """For the answerer to set before a byte of the request may reach an upstream; not after `StreamReset`."""

    @property
    def closed(self) -> bool:
        """Both halves have ended: the session forgets the stream."""
        return self.sending >= ENDED and self.receiving >= ENDED

    def __repr__(self) -> str:
        return f"<Stream {self.id} sending={STATE_NAMES[self.sending]} receiving={STATE_NAMES[self.receiving]}>"


def diagram() -> str:
    """The table as a Mermaid state diagram, for SPEC.md; a test keeps the two equal."""
    lines = ["stateDiagram-v2", "    [*] --> await"]
    lines += [
        f"    {STATE_NAMES[state]} --> {STATE_NAMES[target]}: {SIGNAL_NAMES[signal]}"
        for (state, signal), target in TRANSITIONS.items()
    ]
    return "\n".join(lines)
