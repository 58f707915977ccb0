"""The relay's direction under a virtual clock, and the whole relay on real loopback sockets."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop

from tests.bench.relay import TIMER_STEP, Direction, Ending, Relay, address

WINDOW = 256 * 1024
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualLoop:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Callable[[], Any], Handle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], Any], /) -> Handle:
        handle = Handle()
        heapq.heappush(self._timers, (when, next(self._order), callback, handle))
        return handle

    def run_until(self, when: float) -> None:
        while self._timers and self._timers[0][0] <= when:
            due, _, callback, handle = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if not handle.cancelled:
                callback()
        self.now = when


class Far:
    """Records what a direction delivered, and when."""

    def __init__(self, *, delay: float, window: int, rate: float | None = None) -> None:
        self.loop = VirtualLoop()
        self.arrived: list[tuple[float, bytes | Ending]] = []
        self.reading = True
        self.direction = Direction(
            self.loop,
            delay=delay,
            window=window,
            rate=rate,
            write=self._take,
            on_ending=self._take,
            pause=lambda: self._set_reading(False),
            resume=lambda: self._set_reading(True),
        )

    def _take(self, item: bytes | Ending) -> None:
        self.arrived.append((self.loop.now, item))

    def _set_reading(self, reading: bool) -> None:
        assert self.reading is not reading, "paused twice or resumed twice"
        self.reading = reading

    @property
    def payload(self) -> bytes:
        return b"".join(item for _, item in self.arrived if isinstance(item, bytes))


def test_bytes_arrive_one_delay_later_in_the_order_sent() -> None:
    far = Far(delay=0.04, window=1000)
    far.direction.feed(b"one")
    far.loop.run_until(0.010)
    far.direction.feed(b"two")
    far.direction.finish(Ending.HALF_CLOSE)
    far.loop.run_until(0.0399)
    assert far.arrived == []
    far.loop.run_until(1.0)
    assert [item for _, item in far.arrived] == [b"one", b"two", Ending.HALF_CLOSE]
    times = [when for when, _ in far.arrived]
    assert times == pytest.approx([0.04, 0.05, 0.05], abs=TIMER_STEP)


def test_a_byte_never_arrives_early() -> None:
    far = Far(delay=0.04, window=10**9)
    rng = random.Random(1)
    sent: list[float] = []
    for _ in range(500):
        far.loop.run_until(far.loop.now + rng.random() / 200)
        sent.append(far.loop.now)
        far.direction.feed(b"x")
    far.loop.run_until(100.0)
    delays = [when - was for (when, _), was in zip(far.arrived, sent, strict=True)]
    assert min(delays) >= 0.04 - 1e-9
    assert max(delays) <= 0.04 + 2 * TIMER_STEP


def test_the_window_is_held_for_a_whole_round_trip() -> None:
    far = Far(delay=0.04, window=100)
    far.direction.feed(b"x" * 100)
    assert not far.reading
    assert far.direction.room() == 0
    far.loop.run_until(0.079)  # delivered at 0.04, but its acknowledgement is still under way
    assert len(far.payload) == 100
    assert not far.reading
    far.loop.run_until(0.082)
    assert far.reading
    assert far.direction.room() == 100


def test_throughput_is_the_window_over_the_round_trip() -> None:
    far = Far(delay=0.04, window=100_000)
    while far.loop.now < 8.0:
        if far.reading and far.direction.room():
            far.direction.feed(b"x" * min(10_000, far.direction.room()))
        else:
            far.loop.run_until(far.loop.now + TIMER_STEP)
    # 100 round trips of 80 ms; the timers' granularity costs at most a few per cent.
    assert 94 * 100_000 <= len(far.payload) <= 100 * 100_000


def test_the_rate_limit_spaces_bytes_out() -> None:
    far = Far(delay=0.04, window=10**6, rate=1000.0)
    for _ in range(5):
        far.direction.feed(b"x" * 100)
    far.loop.run_until(10.0)
    times = [when for when, _ in far.arrived]
    assert times == pytest.approx([0.14, 0.24, 0.34, 0.44, 0.54], abs=TIMER_STEP)


def test_a_far_end_that_stops_reading_stops_the_source_at_the_window() -> None:
    far = Far(delay=0.04, window=1000)
    far.direction.pause_target()
    fed = 0
    while far.reading:
        size = min(64, far.direction.room())
        far.direction.feed(b"x" * size)
        fed += size
        far.loop.run_until(far.loop.now + 0.01)
    assert fed == 1000
    far.loop.run_until(60.0)
    assert not far.reading
    assert far.arrived == []
    far.direction.resume_target()
    far.loop.run_until(61.0)
    assert len(far.payload) == 1000
    assert far.reading
    assert far.direction.in_flight == 0
    assert far.direction.peak_in_flight == 1000


def test_a_close_waits_for_the_bytes_before_it_and_an_abort_does_not() -> None:
    closed, aborted = Far(delay=0.04, window=1000), Far(delay=0.04, window=1000)
    for far, ending in ((closed, Ending.CLOSE), (aborted, Ending.ABORT)):
        far.direction.finish(ending)
        far.direction.pause_target()
        far.loop.run_until(1.0)
    assert closed.arrived == []
    assert [item for _, item in aborted.arrived] == [Ending.ABORT]


def test_a_lost_far_end_lets_the_source_run_into_the_void() -> None:
    far = Far(delay=0.04, window=100)
    far.direction.feed(b"x" * 100)
    assert not far.reading
    far.direction.drop_target()
    assert far.reading
    far.direction.feed(b"x" * 100)
    far.loop.run_until(1.0)
    assert far.arrived == []
    assert far.direction.in_flight == 0


@pytest.mark.parametrize(("delay", "window", "rate"), [(-1, 1, None), (0, 0, None), (0, 1, 0.0)])
def test_impossible_links_are_refused(delay: float, window: int, rate: float | None) -> None:
    with pytest.raises(ValueError, match="relay needs"):
        Relay(("127.0.0.1", 1), delay=delay, window=window, rate=rate)


def test_address() -> None:
    assert address("127.0.0.1:80") == ("127.0.0.1", 80)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Awaitable[None]], None]]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield lambda awaitable: runner.run(asyncio.wait_for(awaitable, 30))


@asynccontextmanager
async def relayed(handler: Handler, *, delay: float = 0.002) -> AsyncIterator[Relay]:
    """A server with `handler`, whose connections are closed at its end, and a relay in front of it."""
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        try:
            await handler(reader, writer)
        finally:
            await shut(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=64 * 1024)
    target = server.sockets[0].getsockname()
    async with server, Relay((target[0], target[1]), delay=delay, window=WINDOW) as relay:
        yield relay
    for result in await asyncio.gather(*served, return_exceptions=True):
        assert not isinstance(result, Exception), result


@asynccontextmanager
async def caller(
    relay: Relay, *, limit: int = 64 * 1024
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=limit)
    try:
        yield reader, writer
    finally:
        await shut(writer)


async def shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def test_megabytes_arrive_unchanged_both_ways_and_the_window_holds(run: Callable[..., None]) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(50_000):
            writer.write(data)
            await writer.drain()

    async def scenario() -> None:
        rng = random.Random(2)
        payload = rng.randbytes(3 * 1024 * 1024)
        async with relayed(echo) as relay, caller(relay) as (reader, writer):

            async def send() -> None:
                position = 0
                while position < len(payload):
                    size = rng.randrange(1, 200_000)
                    writer.write(payload[position : position + size])
                    await writer.drain()
                    position += size
                writer.write_eof()

            _, received = await asyncio.gather(send(), reader.read())
            assert hashlib.sha256(received).digest() == hashlib.sha256(payload).digest()
            assert len(relay.directions) == 2
            for direction in relay.directions:
                assert 1024 <= direction.peak_in_flight <= WINDOW

    run(scenario())


def test_a_server_that_speaks_first_is_heard(run: Callable[..., None]) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-hello\r\n")
        await reader.read()

    async def scenario() -> None:
        async with relayed(greet) as relay, caller(relay) as (reader, _):
            assert await reader.readline() == b"SSH-2.0-hello\r\n"

    run(scenario())


def test_a_half_close_is_passed_on_and_the_answer_still_comes_back(run: Callable[..., None]) -> None:
    async def answer_at_eof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()  # returns only at the far end's half-close
        writer.write(b"you said " + question)

    async def scenario() -> None:
        async with relayed(answer_at_eof) as relay, caller(relay) as (reader, writer):
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"you said hello"

    run(scenario())


def test_an_aborted_end_aborts_the_other(run: Callable[..., None]) -> None:
    async def scenario() -> None:
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def read_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"!")
            try:
                await reader.read()
            except ConnectionError:
                outcome.set_result("reset")
            else:
                outcome.set_result("ended cleanly")

        async with relayed(read_on) as relay, caller(relay) as (reader, writer):
            assert await reader.readexactly(1) == b"!"
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()  # with linger 0 the close is a reset
            assert await outcome == "reset"

    run(scenario())


def test_a_stalled_reader_leaves_only_a_window_in_the_relay(run: Callable[..., None]) -> None:
    async def scenario() -> None:
        finished = False

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal finished
            chunk = b"x" * 65536
            with suppress(ConnectionError):
                for _ in range(16 * 64):  # 64 MiB: more than all the kernel buffers on the way
                    writer.write(chunk)
                    await writer.drain()
                finished = True

        # With a limit of one byte the stream reader stops reading its socket at once.
        async with relayed(flood) as relay, caller(relay, limit=1) as (_, writer):
            while not any(d.peak_in_flight >= WINDOW for d in relay.directions):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            assert max(direction.peak_in_flight for direction in relay.directions) == WINDOW
            assert not finished
            writer.transport.abort()

    run(scenario())


def test_a_target_that_refuses_closes_the_caller(run: Callable[..., None]) -> None:
    async def scenario() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound and never listening: connections are refused
            async with Relay(unused.getsockname(), delay=0.001) as relay, caller(relay) as (reader, _):
                assert await closed(reader)

    async def closed(reader: asyncio.StreamReader) -> bool:
        with suppress(ConnectionError):
            return await reader.read() == b""
        return True

    run(scenario())
