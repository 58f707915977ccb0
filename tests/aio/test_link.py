"""The asyncio shell on real websockets over loopback: coalescing, pauses, and every way in which a link ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import Opcode

from protocol import frames
from protocol.aio import link as link_module
from protocol.aio.link import EAGER_STREAMS, Link
from protocol.aio.websocket import OPTIONS, AgentSocket, HubSocket, Messages
from protocol.aio.wheel import Wheel
from protocol.codec import encode
from protocol.errors import ProtocolViolation, SessionCode, SessionError, StreamCode
from protocol.events import (
    Answered,
    DataReceived,
    Event,
    InterimAnswered,
    Opened,
    PeerDraining,
    PeerGoodbye,
    StreamReset,
    StreamWritable,
    TrailersReceived,
)
from protocol.flow import MemoryBudget
from protocol.limits import KIB, MESSAGE_MAX, MIB, Limits
from protocol.session import Session
from protocol.stream import Stream
from tests.sim.pair import HEAD, frames_of, pack

WAIT = 20.0
LIMITS = Limits()

EVENTS: tuple[type[Event], ...] = (
    Opened,
    Answered,
    InterimAnswered,
    DataReceived,
    TrailersReceived,
    StreamReset,
    StreamWritable,
    PeerDraining,
    PeerGoodbye,
)


def both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test on asyncio's loop and on uvloop: they differ in what a closing transport allows."""

    @functools.wraps(test)
    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test(**arguments))

    wanted = inspect.signature(test)
    extra = inspect.Parameter("loop_factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = wanted.replace(parameters=[extra, *wanted.parameters.values()])  # type: ignore[attr-defined]
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("loop_factory", loops, ids=["asyncio", "uvloop"])(run)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition without a fixed sleep."""
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - readiness has many shapes here
            await asyncio.sleep(0.001)


class Shake:
    """A handshake that is none: the agent says hello, the hub says yes, or whatever the test asks."""

    def __init__(self, opener: bool, answers: bool = True) -> None:
        self.opener = opener
        self.answers = answers
        self.farewell = b""
        self.result: Any = None

    def receive(self, message: bytes) -> bytes:
        if not self.answers:
            return b""
        if message == b"refuse me":
            self.farewell = pack([31, SessionCode.NOT_REGISTERED, "not you"])
            raise SessionError(SessionCode.NOT_REGISTERED, "not you")
        if message[:1] == b"\x93" and frames_of(message)[0][0] == frames.GOODBYE:
            raise SessionError(SessionCode(frames_of(message)[0][1]), "refused by the peer")
        self.result = "established"
        return b"yes" if self.opener else b""


class Side:
    """An owner: it keeps what it was told, and runs what a test asks at an event."""

    def __init__(self, opener: bool, limits: Limits = LIMITS, theirs: Limits = LIMITS) -> None:
        self.opener = opener
        self.limits = limits
        self.theirs = theirs
        self.shake = Shake(opener)
        self.budget = MemoryBudget(64 * MIB)
        self.events: list[Event] = []
        self.lost: list[tuple[SessionError, list[Stream]]] = []
        self.failed: list[Stream] = []
        self.established = 0
        self.on: dict[type[Event], Callable[[Any], object]] = {}
        self.at_start: Callable[[Link], object] = lambda link: None
        self.link: Link
        self.handlers = dict.fromkeys(EVENTS, self._handle)

    def _handle(self, event: Event) -> None:
        assert not self.lost, f"{type(event).__name__} after on_lost"
        self.events.append(event)
        if type(event) in self.on:
            self.on[type(event)](event)

    def make_session(self, link: Link, result: Any) -> Session:
        assert result == "established"
        return Session(self.opener, self.limits, self.theirs, self.budget, link.loop.time())

    def on_established(self, link: Link) -> None:
        self.established += 1
        self.at_start(link)

    def on_stream_failed(self, stream: Stream) -> None:
        self.failed.append(stream)

    def on_lost(self, link: Link, error: SessionError, streams: list[Stream]) -> None:
        assert link is self.link
        self.lost.append((error, streams))

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    def open(self, **more: Any) -> Stream:
        stream = self.link.session.open(None, self.link.loop.time(), **{**HEAD, **more})
        self.link.wake()
        return stream

    @property
    def socket(self) -> Messages:
        return self.link._socket


class World:
    """A hub, an agent, and the lists of messages that came from each of them."""

    def __init__(self, hub: Side, agent: Side, wheel: Wheel) -> None:
        self.hub = hub
        self.agent = agent
        self.wheel = wheel
        self.server: Server
        self.problems: list[dict[str, Any]] = []
        self.from_hub: list[bytes] = []
        self.from_agent: list[bytes] = []

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.hub, self.agent

    async def established(self) -> None:
        await until(lambda: self.hub.established and self.agent.established)
        await until(lambda: all(side.link.session.liveness._sent is None for side in self.sides))  # PONGs are here

    async def stream(self, **more: Any) -> tuple[Stream, Stream]:
        before = len(self.agent.of(Opened))
        near = self.hub.open(**more)
        await until(lambda: len(self.agent.of(Opened)) > before)
        return near, self.agent.of(Opened)[-1].stream


@contextlib.asynccontextmanager
async def world(
    hub: Side | None = None, agent: Side | None = None, first: bytes = b"hello", **options: Any
) -> AsyncIterator[World]:
    """Both ends on loopback. On leaving: the links are closed, each told its owner once, and no task is left."""
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks()
    wheel = Wheel(loop)
    self = World(hub or Side(True), agent or Side(False), wheel)
    loop.set_exception_handler(lambda _loop, context: self.problems.append(context))

    async def accept(connection: ServerConnection) -> None:
        assert isinstance(connection, HubSocket)
        spy(connection, self.from_agent)
        self.hub.link = Link(connection, self.hub.shake, self.hub, wheel, loop)
        self.hub.link.start()
        await connection.wait_closed()

    async with serve(accept, "127.0.0.1", 0, create_connection=HubSocket, **OPTIONS) as server:
        self.server = server
        port = next(iter(server.sockets)).getsockname()[1]
        socket = await connect(f"ws://127.0.0.1:{port}/", create_connection=AgentSocket, proxy=None, **OPTIONS)
        assert isinstance(socket, AgentSocket)
        spy(socket, self.from_hub)
        self.agent.link = Link(socket, self.agent.shake, self.agent, wheel, loop)
        self.agent.link.start(first)
        await until(lambda: hasattr(self.hub, "link"))
        try:
            yield self
        finally:
            for side in self.sides:
                side.link.close(SessionCode.SHUTDOWN, "the test is over")
            await until(lambda: self.hub.lost and self.agent.lost)
            await asyncio.wait_for(socket.wait_closed(), WAIT)
    assert [len(side.lost) for side in self.sides] == [1, 1]
    assert len(wheel) == 0, "a timer was left"
    wheel.close()
    for side in self.sides:
        assert side.budget.used == 0
    await until(lambda: asyncio.all_tasks() <= tasks)
    assert not self.problems


def spy(socket: Messages, arrived: list[bytes]) -> None:
    """Note each message that arrives once the link is attached."""
    original = socket.attach

    def attach(on_message: Callable[[bytes], None], *others: Callable[..., None]) -> None:
        def on_message_noted(message: bytes) -> None:
            arrived.append(message)
            on_message(message)

        original(on_message_noted, *others)

    socket.attach = attach  # type: ignore[method-assign, assignment]


# -- Ordinary life -----------------------------------------------------------------------------------------


@both_loops
async def test_a_small_exchange() -> None:
    async with world() as w:
        await w.established()
        assert w.hub.link.usable
        assert w.hub.link.result == "established"
        assert w.hub.link.peer_address == "127.0.0.1"
        w.agent.on[Opened] = lambda event: w.agent.link.session.answer(
            event.stream, 200, b"OK", [], 2, b"hi", True
        )
        w.hub.open(end=True)
        await until(lambda: w.hub.of(Answered))
        assert w.hub.of(Answered)[0].body == b"hi"
        assert not w.hub.link.session.streams


@both_loops
async def test_what_becomes_ready_in_one_turn_leaves_in_one_message() -> None:
    async with world() as w:
        await w.established()
        first, *_ = [w.hub.open(chunked=True) for _ in range(EAGER_STREAMS)]
        await until(lambda: len(w.agent.of(Opened)) == EAGER_STREAMS)
        before = len(w.from_hub)
        streams = [w.hub.open(chunked=True) for _ in range(10)]
        for stream in streams:
            w.hub.link.session.send(stream, b"body")
            w.hub.link.wake()
        w.hub.link.session.reset(first, StreamCode.CANCELLED, w.hub.link.loop.time())
        w.hub.link.wake()
        assert w.hub.link.session.has_output()
        await until(lambda: len(w.from_hub) > before)
        kinds = [frame[0] for frame in frames_of(w.from_hub[before])]
        assert kinds == [frames.OPEN] * 10 + [frames.RESET] + [frames.DATA] * 10


@both_loops
async def test_what_the_handlers_of_one_message_say_leaves_in_one_message() -> None:
    async with world() as w:
        await w.established()

        def answer(event: Opened) -> None:
            w.agent.link.session.answer(event.stream, 200, b"OK", [], 2, b"hi", True)
            w.agent.link.wake()

        w.agent.on[Opened] = answer
        w.hub.socket.send_message(
            pack(*([5, n, 1, None, "s", b"", b"GET", b"", b"/", [], None, None, b""] for n in range(1, 20, 2)))
        )
        w.hub.link.session.last_opened = 19
        before = len(w.from_agent)
        await until(lambda: len(w.from_agent) > before)
        assert [frame[0] for frame in frames_of(w.from_agent[before])] == [frames.ANSWER] * 10
        w.agent.link.close(SessionCode.SHUTDOWN, "enough")


@both_loops
async def test_with_little_going_on_frames_leave_at_once() -> None:
    async with world() as w:
        await w.established()
        for _ in range(EAGER_STREAMS):
            w.hub.open(end=True)
            assert not w.hub.link.session.has_output()
        w.hub.open(end=True)
        assert w.hub.link.session.has_output()
        await until(lambda: len(w.agent.of(Opened)) == EAGER_STREAMS + 1)


@both_loops
async def test_bodies_arrive_whole_both_ways() -> None:
    size = 3 * MIB
    async with world() as w:
        await w.established()
        got = {"hub": bytearray(), "agent": bytearray()}
        for name, side in (("hub", w.hub), ("agent", w.agent)):

            def take(event: DataReceived, name: str = name, side: Side = side) -> None:
                got[name] += event.body
                side.link.session.consumed(event.stream, len(event.body), side.link.loop.time())

            side.on[DataReceived] = take
        near, far = await w.stream(chunked=True)
        w.agent.link.session.answer(far, 200, b"", [], None)
        body = bytes(range(256)) * (size // 256)
        w.hub.link.session.send(near, body, True)
        w.agent.link.session.send(far, body, True)
        for side in w.sides:
            side.link.wake()
        await until(lambda: near.closed and far.closed)
        assert got["hub"] == body
        assert got["agent"] == body
        assert max(map(len, w.from_hub)) <= MESSAGE_MAX


@both_loops
async def test_writing_stops_while_the_transport_is_paused() -> None:
    """A peer that does not read: what waits stays in the streams, not in the transport."""
    async with world(Side(True, theirs=Limits(window=64 * MIB)), Side(False, Limits(window=64 * MIB))) as w:
        await w.established()
        near, _far = await w.stream(chunked=True)
        w.agent.socket.transport.pause_reading()
        w.hub.link.session.inflight.allowance = 64 * MIB  # as after a while on a fast way
        w.hub.link.session.send(near, bytes(32 * MIB), True)
        w.hub.link.wake()
        await until(lambda: w.hub.socket.write_paused)
        transport = w.hub.socket.transport
        assert transport.get_write_buffer_size() <= 128 * KIB + 64 * KIB + 32 * KIB
        sent = w.hub.link.session.bytes_sent
        w.hub.link.wake()
        w.hub.link._flush()
        assert w.hub.link.session.bytes_sent == sent
        assert near.outbox is not None
        assert near.outbox.queued > 16 * MIB
        w.agent.socket.transport.resume_reading()
        await until(lambda: sum(len(event.body) for event in w.agent.of(DataReceived)) == 32 * MIB)
        assert not w.hub.socket.write_paused


@both_loops
async def test_fragmented_messages_are_put_together() -> None:
    async with world() as w:
        await w.established()
        message = pack([5, 1, 1, None, "s", b"", b"GET", b"", b"/", [], None, None, b""])
        w.hub.link.session.last_opened = 1
        protocol, transport = w.hub.socket.protocol, w.hub.socket.transport
        protocol.send_binary(message[:3], fin=False)
        protocol.send_continuation(message[3:9], fin=False)
        protocol.send_continuation(message[9:], fin=True)
        for data in protocol.data_to_send():
            transport.write(data)
        await until(lambda: w.agent.of(Opened))
        w.agent.link.close(SessionCode.SHUTDOWN, "enough")


@both_loops
async def test_messages_before_the_link_is_attached_are_kept() -> None:
    """The hub may speak before the agent's link has taken over the websocket."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    hub, agent = Side(True), Side(False)

    async def accept(connection: ServerConnection) -> None:
        assert isinstance(connection, HubSocket)
        connection.send_message(b"yes")
        connection.send_message(pack([12, 5]))
        await connection.wait_closed()

    async with serve(accept, "127.0.0.1", 0, create_connection=HubSocket, **OPTIONS) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        socket = await connect(f"ws://127.0.0.1:{port}/", create_connection=AgentSocket, proxy=None, **OPTIONS)
        assert isinstance(socket, AgentSocket)
        await until(lambda: socket._early is not None and len(socket._early) == 2)
        agent.link = Link(socket, agent.shake, agent, wheel, loop)
        agent.link.start()
        assert agent.established == 1
        assert agent.link.session.bytes_received > 0
        agent.link.close(SessionCode.SHUTDOWN, "enough")
        await asyncio.wait_for(socket.wait_closed(), WAIT)
    wheel.close()
    assert not hub.lost


@both_loops
async def test_too_much_before_the_link_is_attached_ends_the_connection() -> None:
    async def accept(connection: ServerConnection) -> None:
        assert isinstance(connection, HubSocket)
        for _ in range(50):
            connection.send_message(b"early")
        await connection.wait_closed()

    async with serve(accept, "127.0.0.1", 0, create_connection=HubSocket, **OPTIONS) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        socket = await connect(f"ws://127.0.0.1:{port}/", create_connection=AgentSocket, proxy=None, **OPTIONS)
        assert isinstance(socket, AgentSocket)
        await asyncio.wait_for(socket.wait_closed(), WAIT)
        assert len(socket._early or []) <= 4


# -- Handlers that fail or close ---------------------------------------------------------------------------


def fail(_event: Event) -> None:
    raise ValueError("the handler failed")


@both_loops
async def test_a_handler_that_raises_costs_its_stream_only() -> None:
    async with world() as w:
        await w.established()
        first, far = await w.stream(chunked=True)
        second, other = await w.stream(chunked=True)
        w.hub.on[Answered] = lambda event: fail(event) if event.stream is first else None
        w.agent.link.session.answer(far, 200, b"", [], None, b"first")
        w.agent.link.session.send(far, b"more", True)
        w.agent.link.session.answer(other, 200, b"", [], None, b"second")
        w.agent.link.session.send(other, b"more", True)
        w.agent.link.wake()
        await until(lambda: w.agent.of(StreamReset))
        (reset,) = w.agent.of(StreamReset)
        assert (reset.stream, reset.code) == (far, StreamCode.INTERNAL)
        assert w.hub.failed == [first], "whoever waits for it is told"
        assert [event.stream for event in w.hub.of(DataReceived)] == [second]
        assert [str(problem["exception"]) for problem in w.problems] == ["the handler failed"]
        assert w.hub.link.usable
        w.problems.clear()


@both_loops
async def test_a_writable_handler_that_raises_does_not_stop_the_others() -> None:
    async with world(Side(True, theirs=Limits(window=2 * MIB)), Side(False, Limits(window=2 * MIB))) as w:
        await w.established()
        streams = [(await w.stream(chunked=True))[0] for _ in range(5)]
        w.hub.on[StreamWritable] = lambda event: fail(event) if event.stream is streams[0] else None
        for stream in streams:
            assert not w.hub.link.session.send(stream, bytes(200 * KIB))
        w.hub.link.wake()
        await until(lambda: len(w.hub.of(StreamWritable)) == 5 and w.agent.of(StreamReset))
        (reset,) = w.agent.of(StreamReset)
        assert (reset.stream.id, reset.code) == (streams[0].id, StreamCode.INTERNAL)
        assert len(w.problems) == 1
        w.problems.clear()


@both_loops
async def test_no_event_of_a_stream_after_a_handler_reset_it() -> None:
    async with world() as w:
        await w.established()
        near, far = await w.stream(end=True)
        now = w.hub.link.loop.time()
        w.hub.on[Answered] = lambda event: w.hub.link.session.reset(near, StreamCode.CANCELLED, now)
        w.agent.link.session.answer(far, 200, b"", [], None, b"first")
        w.agent.link.session.send(far, b"more", True)
        w.agent.link.wake()
        await until(lambda: near.closed)
        assert w.hub.of(Answered)
        assert not w.hub.of(DataReceived)


@both_loops
async def test_a_handler_that_closes_the_link_is_told_no_more() -> None:
    async with world() as w:
        await w.established()
        w.agent.on[Opened] = lambda event: w.agent.link.close(SessionCode.SHUTDOWN, "enough")
        for _ in range(EAGER_STREAMS + 3):
            w.hub.open(end=True)
        await until(lambda: w.agent.lost and w.hub.lost)
        assert len(w.agent.of(Opened)) == 1
        assert w.hub.lost[0][0].code is SessionCode.SHUTDOWN


@both_loops
async def test_an_owner_may_use_and_close_the_link_as_soon_as_it_is_established() -> None:
    agent = Side(False)
    agent.at_start = lambda link: link.close(SessionCode.REPLACED, "a newer one")
    async with world(agent=agent) as w:
        await until(lambda: w.agent.lost and w.hub.lost)
        assert w.agent.lost[0][0].code is SessionCode.REPLACED
        assert w.hub.lost[0][0].code is SessionCode.REPLACED


# -- Every ending ------------------------------------------------------------------------------------------


@both_loops
async def test_our_close_reaches_the_peer_with_its_code() -> None:
    async with world() as w:
        await w.established()
        await w.stream(chunked=True)
        w.hub.link.close(SessionCode.REPLACED, "a newer session took over")
        assert not w.hub.link.usable
        assert len(w.hub.lost) == 1
        w.hub.link.close(SessionCode.INTERNAL, "not this one")
        await until(lambda: w.agent.lost)
        error, streams = w.agent.lost[0]
        assert error.code is SessionCode.REPLACED
        assert "a newer session took over" in error.message
        assert [stream.id for stream in streams] == [1]
        assert [stream.id for stream in w.hub.lost[0][1]] == [1]
        assert w.agent.of(PeerGoodbye)
        await until(lambda: w.agent.socket.close_code)
        assert w.agent.socket.close_code == 4000 + SessionCode.REPLACED


@both_loops
async def test_a_violation_is_answered_with_goodbye_and_close_code() -> None:
    async with world() as w:
        await w.established()
        near, _far = await w.stream(chunked=True)
        w.agent.socket.send_message(pack([8, near.id, 0, b"x"]))
        await until(lambda: w.agent.lost and w.hub.lost)
        assert w.hub.lost[0][0].code is SessionCode.PROTOCOL_ERROR
        assert [stream.id for stream in w.hub.lost[0][1]] == [near.id]
        (goodbye,) = w.agent.of(PeerGoodbye)
        assert goodbye.code == SessionCode.PROTOCOL_ERROR
        await until(lambda: w.agent.socket.close_code)
        assert w.agent.socket.close_code == 4001


@both_loops
async def test_the_error_of_a_lost_link_keeps_nothing_that_the_peer_sent() -> None:
    """A slot or a log may keep it; its frames would keep a message of up to 1 MiB, and the events before it."""
    async with world() as w:
        await w.established()
        near, _far = await w.stream(chunked=True)
        w.agent.socket.send_message(pack([6, near.id, 0, 200, b"", [], None, b"x"], [8, 99, 0, b"x"]))
        await until(lambda: w.agent.lost and w.hub.lost)
        error = w.hub.lost[0][0]
        assert isinstance(error, ProtocolViolation)
        assert error.__traceback__ is error.__context__ is None
        assert not error.events


@both_loops
async def test_events_before_a_violation_are_handled_first() -> None:
    async with world() as w:
        await w.established()
        _near, _far = await w.stream(end=True)
        w.agent.socket.send_message(pack([6, 1, 1, 200, b"", [], None, b"good"], [8, 1, 0, b"bad"]))
        await until(lambda: w.hub.lost)
        assert w.hub.of(Answered)[0].body == b"good"
        assert w.hub.lost[0][1] == []


@both_loops
async def test_goodbye_with_an_unknown_code() -> None:
    async with world() as w:
        await w.established()
        w.agent.socket.send_message(pack([31, 777, "what"]))
        await until(lambda: w.hub.lost)
        assert "777" in w.hub.lost[0][0].message


@pytest.mark.parametrize("who", ["hub", "agent"])
@both_loops
async def test_the_peers_connection_is_aborted(who: str) -> None:
    async with world() as w:
        await w.established()
        await w.stream(chunked=True)
        getattr(w, who).socket.transport.abort()
        await until(lambda: w.agent.lost and w.hub.lost)
        for side in w.sides:
            assert side.lost[0][0].code is SessionCode.INTERNAL
            assert len(side.lost[0][1]) == 1


@pytest.mark.parametrize(("code", "expected"), [(1000, SessionCode.INTERNAL), (4004, SessionCode.SILENT)])
@both_loops
async def test_the_peer_closes_the_websocket_without_goodbye(code: int, expected: SessionCode) -> None:
    async with world() as w:
        await w.established()
        w.agent.socket.close_soon(code, "so there")
        await until(lambda: w.hub.lost)
        assert w.hub.lost[0][0].code is expected
        assert "so there" in w.hub.lost[0][0].message


@both_loops
async def test_a_text_message_ends_the_websocket_with_1003() -> None:
    async with world() as w:
        await w.established()
        w.agent.socket.protocol.send_text(b"hello")
        for data in w.agent.socket.protocol.data_to_send():
            w.agent.socket.transport.write(data)
        await until(lambda: w.hub.lost and w.agent.lost)
        assert w.agent.socket.close_code == 1003


@pytest.mark.parametrize("pieces", [1, 3])
@both_loops
async def test_a_message_beyond_the_maximum(pieces: int) -> None:
    async with world() as w:
        await w.established()
        protocol, transport = w.agent.socket.protocol, w.agent.socket.transport
        size = (MESSAGE_MAX + 3) // pieces + 1
        for piece in range(pieces):
            opcode = Opcode.CONT if piece else Opcode.BINARY
            send = protocol.send_continuation if opcode is Opcode.CONT else protocol.send_binary
            send(bytes(size), fin=piece == pieces - 1)
            for data in protocol.data_to_send():
                transport.write(data)
        await until(lambda: w.hub.lost and w.agent.lost)
        assert w.agent.socket.close_code == 1009


@both_loops
async def test_a_silent_peer_is_condemned(monkeypatch: pytest.MonkeyPatch) -> None:
    from protocol import liveness

    monkeypatch.setattr(liveness, "PROBE_BUSY", 0.1)
    monkeypatch.setattr(liveness, "DEAD_BUSY", 0.3)
    async with world() as w:
        await w.established()
        await w.stream(chunked=True)
        w.agent.socket.transport.pause_reading()
        w.agent.socket.write_paused = True
        await until(lambda: w.hub.lost)
        assert w.hub.lost[0][0].code is SessionCode.SILENT
        w.agent.socket.write_paused = False
        w.agent.socket.transport.resume_reading()
        await until(lambda: w.agent.lost)
        assert w.agent.lost[0][0].code is SessionCode.SILENT


@both_loops
async def test_a_peer_that_never_ends_the_closing_handshake_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w:
        await w.established()
        w.hub.socket.close_timeout = 0.1
        w.agent.socket.transport.pause_reading()
        w.hub.link.close(SessionCode.SHUTDOWN, "bye")
        await asyncio.wait_for(w.hub.socket.wait_closed(), WAIT)
        w.agent.socket.transport.resume_reading()


# -- Handshake ---------------------------------------------------------------------------------------------


@both_loops
async def test_a_refused_handshake_tells_the_peer_why() -> None:
    async with world(first=b"refuse me") as w:
        await until(lambda: w.hub.lost and w.agent.lost)
        assert w.hub.lost[0] == (w.hub.lost[0][0], [])
        assert w.hub.lost[0][0].code is SessionCode.NOT_REGISTERED
        assert w.agent.lost[0][0].code is SessionCode.NOT_REGISTERED
        assert not w.hub.established
        assert not w.hub.link.usable


@both_loops
async def test_a_handshake_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "HANDSHAKE_TIMEOUT", 0.1)
    hub, agent = Side(True), Side(False)
    hub.shake.answers = False
    async with world(hub, agent) as w:
        await until(lambda: w.hub.lost and w.agent.lost)
        for side in w.sides:
            assert side.lost[0][0].code is SessionCode.HANDSHAKE_TIMEOUT
            assert not side.established


@both_loops
async def test_a_connection_lost_in_the_handshake() -> None:
    hub, agent = Side(True), Side(False)
    hub.shake.answers = False
    async with world(hub, agent) as w:
        w.agent.socket.transport.abort()
        await until(lambda: w.hub.lost and w.agent.lost)
        assert w.hub.lost[0][1] == []


@both_loops
async def test_a_connection_lost_before_the_link_was_attached() -> None:
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    agent = Side(False)

    async def accept(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with serve(accept, "127.0.0.1", 0, create_connection=HubSocket, **OPTIONS) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        socket = await connect(f"ws://127.0.0.1:{port}/", create_connection=AgentSocket, proxy=None, **OPTIONS)
        assert isinstance(socket, AgentSocket)
        await asyncio.wait_for(socket.wait_closed(), WAIT)
        agent.link = Link(socket, agent.shake, agent, wheel, loop)
        agent.link.start(b"hello")
        await until(lambda: agent.lost)
    assert len(agent.lost) == 1
    assert len(wheel) == 0
    wheel.close()


@both_loops
async def test_what_comes_behind_a_goodbye_in_its_message_is_not_lost() -> None:
    """A peer may break the rule; a stream that ends there is over for its owner, too."""
    async with world() as w:
        await w.established()
        stream, far = await w.stream(end=True)
        w.agent.link.session.answer(far, 200, b"", [], None)
        w.agent.link.wake()
        await until(lambda: w.hub.of(Answered))
        ending = (frames.GOODBYE, SessionCode.SHUTDOWN, "over"), (frames.DATA, stream.id, 1, b"tail")
        w.agent.socket.send_message(b"".join(map(encode, ending)))
        await until(lambda: w.hub.lost)
        assert [(event.body, event.end) for event in w.hub.of(DataReceived)] == [(b"tail", True)]
        ((error, streams),) = w.hub.lost
        assert (error.code, streams) == (SessionCode.SHUTDOWN, [])
