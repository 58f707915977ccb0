"""A caller without sockets: what it is told, and what it sends piece by piece."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from tunnel_hub.exchange import Exchange

if TYPE_CHECKING:
    from tests.unit.hub.rig import Visit


class FakeReply:
    """A caller: notes what it is told and checks that it is told one answer."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.certificate = b""
        self.bytes_sent = 0
        self.interims: list[int] = []
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.content = b""
        self.ending = ""
        """"", "end", "abort" or "gone": the answer is complete, broken off, or nobody waits for it any more."""
        self.paused = False
        self.flowing = True
        """What `head` and `body` return."""

    @property
    def delivered(self) -> str:
        return self.fields.get(b"Tunnel-Delivered", b"").decode()

    @property
    def over(self) -> bool:
        return bool(self.ending)

    def interim(self, status: int, _fields: list[bytes]) -> None:
        if not self.over:
            assert not self.status, "an interim answer behind the final one"
            self.interims.append(status)

    def head(
        self, status: int, _reason: bytes, fields: list[bytes], _length: int | None, body: bytes, end: bool
    ) -> bool:
        if self.over:
            return True
        assert not self.status, "a second answer"
        self.status = status
        self.fields = dict(zip(fields[::2], fields[1::2], strict=True))
        return self._more(body, end=end)

    def body(self, data: bytes) -> bool:
        assert self.status or self.over, "a body before its head"
        return self.over or self._more(data, end=False)

    def end(self, _trailers: list[bytes]) -> None:
        if not self.over:
            assert self.status
            self.ending = "end"

    def abort(self) -> None:
        half_closed = self.status == 101 and self.ending == "end"
        if not self.over or half_closed:
            assert self.status, "an abort in the place of an answer"
            self.ending = "abort"

    def pause_body(self) -> None:
        self.paused = True

    def resume_body(self) -> None:
        self.paused = False

    def close_after(self) -> None:
        """Nothing that these tests look at."""

    def _more(self, data: bytes, *, end: bool) -> bool:
        self.content += data
        self.bytes_sent += len(data)
        if end:
            self.ending = "end"
        return self.flowing


class Call:
    """One request: what the caller sends, and what became of it at the agents."""

    def __init__(self, name: str, method: bytes, reply: FakeReply, body: bytes, pieces: list[bytes]) -> None:
        self.name = name
        self.method = method
        self.reply = reply
        self.body = body
        self.pieces = deque(pieces)
        """What the caller has not sent yet."""
        self.exchange: Exchange = cast("Exchange", None)
        self.finished_sending = False
        self.visits: list[Visit] = []

    @property
    def over(self) -> bool:
        """Nothing more can happen; of an upgraded connection both directions must have ended."""
        reply = self.reply
        return reply.over and (reply.status != 101 or reply.ending != "end" or self.finished_sending)

    @property
    def dispatched(self) -> int:
        """How often an agent passed it on to an upstream."""
        return sum(visit.dispatched for visit in self.visits)

    def send_piece(self) -> None:
        """The caller sends the next piece of its body, or of its half of a pipe, then the end of it."""
        if self.over or self.finished_sending:
            return
        if self.pieces:
            self.exchange.on_body(self.pieces.popleft())
        if not self.pieces:
            over = self.over
            self.finished_sending = True
            if not over:
                self.exchange.on_body_end([])

    def go(self) -> None:
        """The caller goes away."""
        if not self.over:
            self.reply.ending = "gone"
            self.exchange.on_caller_gone()
