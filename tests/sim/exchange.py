"""The two applications of one exchange: what the hub's and the agent's exchange objects do, without HTTP."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from protocol.errors import StreamCode
from protocol.events import Answered, DataReceived, InterimAnswered, Opened, StreamReset, TrailersReceived
from protocol.flow import ReceiveWindow
from protocol.limits import SEND_HIGH
from protocol.stream import Stream

from .facts import check_unsent, never_dispatched
from .ledger import Half, require
from .script import DEADLINE, Reader, Script, Source

if TYPE_CHECKING:
    from .peer import Peer

AGENT_DRAINS = "the agent is draining"


class End:
    """One side of one exchange: a source, a reader, and how it ended for this side (exactly once)."""

    stream: Stream

    def __init__(self, peer: Peer, script: Script, source: Source, reader: Reader, out: Half, inc: Half) -> None:
        self.peer = peer
        self.script = script
        self.source = source
        self.reader = reader
        self.out = out
        self.inc = inc
        self.over = ""
        self.confirming = False
        self.awaiting = False
        self.reset_code: int | None = None
        self.reset_turn = -1
        self._producing = False
        self._paused = False
        self.pauses = 0
        self._eating = False
        self.pending: deque[int] = deque()
        self.held = 0
        self.consumed = 0

    # -- How it ends ----------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        return self.out.ended and self.inc.end_seen

    @property
    def finished(self) -> bool:
        """Nothing more will happen here, as far as this side can know."""
        return bool(self.over) or self.complete

    def reset(self, code: StreamCode) -> None:
        """Reset our side, as an application may at any time before it knows the stream to be over."""
        if self.over:
            return
        alive = not self.stream.closed
        session, now, confirm = self.peer.session, self.peer.now, self.confirming
        self.awaiting = session.reset(self.stream, code, now, "test", confirm=confirm)
        again = session.reset(self.stream, StreamCode.INTERNAL, now, confirm=confirm)
        require(again is self.awaiting is not self.stream.closed, f"{self.out.name}: the answer is not awaited")
        if alive:
            self.reset_code = code
            if not self.out.ended:
                self.out.aborted = True
        self.over = "reset by us"
        self.reset_turn = self.peer.turn
        self._let_go()
        self.peer.wake()

    def reset_unless_finished(self, code: StreamCode) -> None:
        if not self.finished or not self.stream.closed or self.pending:
            self.peer.world.excuse(self)
            self.reset(code)

    def on_reset(self, event: StreamReset) -> None:
        require(not self.over, f"{self.out.name}: StreamReset after {self.over}")
        other = self.peer.other_end(self)
        if event.code == StreamCode.NOT_DISPATCHED and event.detail == AGENT_DRAINS:
            require(other is None, f"{self.out.name}: called not dispatched, yet the agent saw it")
            require(not self.peer.world.polite, f"{self.out.name}: refused by an agent whose drain was heard")
            self.peer.world.not_dispatched += 1
        else:
            require(other is not None and other.reset_code == event.code, f"{self.out.name}: code {event.code}")
        require(not (self.inc.end_seen and self._out_is_gone()), f"{self.out.name}: a reset after both ends")
        self.over = "reset by the peer"
        if not self.out.ended:
            self.out.aborted = True
        self._let_go()

    def _out_is_gone(self) -> bool:
        return self.out.end_seen

    def on_lost(self) -> None:
        """The session is lost, and has given the stream's memory back."""
        if not self.over and not (self.complete and self.stream.closed):
            self.over = "lost"
        self._let_go()

    def _let_go(self) -> None:
        """The far socket is gone; some applications report its last bytes as taken, late."""
        if not self.script.late_consumed or not self.reader.chunk:
            self.pending.clear()
        self.held = 0

    # -- Sending --------------------------------------------------------------------------------------

    def produce(self) -> None:
        """Send until told to pause, or until the next gap."""
        if self._producing or self._paused or self.over or self.out.ended:
            return
        source, out, session = self.source, self.out, self.peer.session
        while out.put < out.total:
            data = out.take(source.chunk)
            last = out.put == out.total and source.finish == "flag"
            go_on = session.send(self.stream, memoryview(data) if out.put & 1 else data, last)
            if last:
                out.end([])
            self.peer.wake()
            if source.pauses:
                outbox = self.stream.outbox
                queued = outbox.queued if outbox is not None else 0
                require(queued <= SEND_HIGH + source.chunk, f"{out.name}: {queued} bytes wait to be sent")
                if not go_on:
                    self._paused = True
                    self.pauses += 1
                    return
            if source.gap:
                self._resume_after(source.gap)
                return
        if not out.ended:
            if source.finish == "late" and not self._producing:
                self.peer.later(0.03, self._finish)
            else:
                self._finish()

    def _finish(self) -> None:
        if self.over or self.out.ended:
            return
        source = self.source
        if source.finish == "flag":
            self.peer.session.send(self.stream, b"", True)
        else:
            self.peer.session.end(self.stream, source.trailers or None)
        self.out.end([] if source.finish == "flag" else source.trailers)
        self.peer.wake()

    def _resume_after(self, gap: float) -> None:
        self._producing = True

        def resume() -> None:
            self._producing = False
            self.produce()

        self.peer.later(gap, resume)

    def on_writable(self) -> None:
        require(not self.over, f"{self.out.name}: StreamWritable after {self.over}")
        self._paused = False
        self.produce()

    # -- Receiving ------------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        if data:
            self.inc.on_bytes(data)
            self.pending.append(len(data))
            self.held += len(data)
            self._eat_soon()

    def end_seen(self, trailers: list[bytes]) -> None:
        self.inc.on_end(trailers)

    def _eat_soon(self) -> None:
        reader = self.reader
        if not reader.chunk or self._eating:
            return
        if reader.gap:
            self._eating = True
            self.peer.later(reader.gap, self._eat)
        else:
            self._eat()

    def _eat(self) -> None:
        self._eating = False
        left = self.reader.chunk
        while self.pending and left:
            size = min(self.pending[0], left)
            left -= size
            if size == self.pending[0]:
                self.pending.popleft()
            else:
                self.pending[0] -= size
            self.consumed += size
            self.held = max(self.held - size, 0)
            self.peer.session.consumed(self.stream, size, self.peer.now)
            self.peer.wake()
        if self.pending:
            self._eat_soon()

    # -- Checks after every step ----------------------------------------------------------------------

    def check(self) -> None:
        stream = self.stream
        window = stream.receive_window
        size = self.peer.session.ours.window
        if window is not None:
            size = max(window.window, size)
            require(size <= self.peer.session.ours.window_max, f"{self.inc.name}: a window of {size} bytes")
            if not self.over:
                window.check(stream.received)
                require(window.consumed == self.consumed, f"{self.inc.name}: consumed is not what was reported")
        if not self.over:
            require(self.held <= size, f"{self.inc.name}: {self.held} bytes held, window {size}")

    def growth(self) -> int:
        window: ReceiveWindow | None = getattr(self, "stream", None) and self.stream.receive_window
        return window.window - self.peer.session.ours.window if window is not None else 0


class HubEnd(End):
    """The side that opens."""

    def begin(self, number: int) -> None:
        script, source, out, peer = self.script, self.source, self.out, self.peer
        whole = source.with_head == source.total and source.finish == "flag"
        fields = [b"X-N", b"%d" % number, b"X-Large", b"h" * script.large_head]
        out.begin((b"POST", b"/%d" % number, fields))
        self.stream = peer.session.open(
            self,
            peer.now,
            service="s",
            request_id=b"%d" % number,
            method=b"POST",
            authority=b"a",
            target=b"/%d" % number,
            fields=fields,
            length=None if script.chunked else source.total,
            chunked=script.chunked,
            expect=script.expect,
            upgrade=b"echo" if script.upgrade else None,
            deadline_ms=int(DEADLINE * 1000),
            body=out.take(source.with_head),
            end=whole,
        )
        if whole:
            out.end([])
        peer.wake()
        self.produce()
        peer.later(DEADLINE, self.reset_unless_finished, StreamCode.DEADLINE)
        if script.hub_reset is not None:
            peer.later(script.hub_reset, self.reset, script.hub_code)
        elif script.regretted:
            self.reset(script.hub_code)

    never_left = False
    answered_with: int | None = None

    def reset(self, code: StreamCode) -> None:
        if not self.over and self.peer.lost is None:
            check_unsent(self)
            self.never_left = not self.stream.closed and self.peer.session.unsent(self.stream)
            self.peer.world.withdrawn += self.never_left
            self.confirming = self.script.confirm and not self.stream.closed
        super().reset(code)

    def on_lost(self) -> None:
        check_unsent(self)
        self.never_left = self.never_left or self.peer.session.unsent(self.stream)
        super().on_lost()

    def on_interim(self, event: InterimAnswered) -> None:
        self.inc.on_interim(event.status)

    def on_answered(self, event: Answered) -> None:
        self.inc.on_head((event.status, event.reason, event.fields, event.length))
        if self.script.hub_refuses:
            self.reset(self.script.hub_code)
            return
        self.take(event.body)
        if event.end:
            self.end_seen([])


class AgentEnd(End):
    """The side that answers."""

    answered = False
    dispatched = False

    def dispatch(self) -> None:
        """A byte of the request may reach an upstream now."""
        if not self.over:
            self.dispatched = self.stream.dispatched = True

    def reset(self, code: StreamCode) -> None:
        """An agent does not deny what it has dispatched."""
        super().reset(StreamCode.UPSTREAM_CLOSED if self.dispatched and never_dispatched(code) else code)

    def begin(self, event: Opened) -> None:
        self.stream = event.stream
        event.stream.owner = self
        self.inc.on_head((event.method, event.target, event.fields))
        script = self.script
        self.peer.later(DEADLINE + 1, self.reset_unless_finished, StreamCode.DEADLINE)
        require(event.chunked is script.chunked and event.expect is script.expect, "flags of OPEN changed")
        require(event.length == (None if script.chunked else self.inc.total), "length of OPEN changed")
        if script.dispatch == "pool":
            self.peer.pool.append(self)
        elif script.dispatch is not None:
            self.peer.later(script.dispatch, self.dispatch) if script.dispatch else self.dispatch()
        if script.agent_reset is not None:
            self.peer.later(script.agent_reset, self.reset, script.agent_code)
        self.take(event.body)
        if event.end:
            self.end_seen([])
        if not self.over and (script.upgrade or script.answer_when in {"at once", "echo"}):
            self.peer.later(script.think, self.answer)

    def end_seen(self, trailers: list[bytes]) -> None:
        super().end_seen(trailers)
        if not self.script.upgrade and self.script.answer_when == "after request":
            self.peer.later(self.script.think, self.answer)

    def answer(self) -> None:
        if self.over or self.answered:
            return
        self.answered = True
        script, source, out, session = self.script, self.source, self.out, self.peer.session
        for status in script.interims:
            out.interims.append(status)
            session.interim(self.stream, status, [])
        whole = source.with_head == source.total and source.finish == "flag"
        status = 101 if script.upgrade else 200
        fields = [b"X-Answer", self.inc.name.encode(), b"X-Large", b"h" * script.large_head]
        length = None if script.upgrade else source.total
        out.begin((status, b"Fine", fields, length))
        go_on = session.answer(self.stream, status, b"Fine", fields, length, out.take(source.with_head), whole)
        if whole:
            out.end([])
        self.peer.wake()
        if source.pauses and not go_on:
            self._paused = True
        self.produce()
        if script.unwanted == "reset" and not script.upgrade:
            self.peer.later(0.1, self._unwanted)

    def _unwanted(self) -> None:
        """The answer is complete and the request body is not wanted any more."""
        if self.over or self.inc.end_seen:
            return
        if self.out.ended:
            self.reset(StreamCode.NO_ERROR)
        else:
            self.peer.later(0.3, self._unwanted)


HANDLERS = {
    Answered: lambda event: event.stream.owner.on_answered(event),
    InterimAnswered: lambda event: event.stream.owner.on_interim(event),
    StreamReset: lambda event: event.stream.owner.on_reset(event),
    DataReceived: lambda event: _on_data(event),  # noqa: PLW0108 - defined below
    TrailersReceived: lambda event: event.stream.owner.end_seen(event.fields),
}


def _on_data(event: DataReceived) -> None:
    end: End = event.stream.owner  # type: ignore[assignment]
    end.take(event.body)
    if event.end and not end.over:
        end.end_seen([])
