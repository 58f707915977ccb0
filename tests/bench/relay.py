"""A TCP relay that behaves like a long link: delay each way, a bounded window, an optional rate.

    python -m tests.bench.relay --listen 127.0.0.1:7000 --to 127.0.0.1:8081 --delay-ms 40 --rate-mbit 400

What it models, for each direction of each connection on its own:

- every byte arrives `delay` seconds after it has left the (rate-limited) near end, in order;
- at most `window` bytes are under way: a byte occupies the window from when it is read here until its
  acknowledgement would have come back, that is one further `delay` after the far end took it;
- a far end that stops reading therefore stops the near end after `window` bytes.

What it does not model: loss, slow start, and the round trip of TCP's own connection set-up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import enum
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

READ_SIZE = 64 * 1024
KERNEL_RECEIVE_BUFFER = 256 * 1024  # small, so that the window is held here and not in the kernel as well
CONNECT_SECONDS = 10.0
TIMER_STEP = 0.001  # uvloop's timers count whole milliseconds


class Ending(enum.Enum):
    """How one direction of a connection stopped."""

    HALF_CLOSE = "half-close"
    CLOSE = "close"
    ABORT = "abort"


class Timers(Protocol):
    """The two things a Direction needs of an event loop."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], Any], /) -> Any: ...


class Direction:
    """One way of one connection: a queue of bytes that become due, and a window that bounds it.

    The owner reads at most `room()` bytes and hands them to `feed`; this class pauses and resumes the
    reading side, and writes what is due to the writing side unless that side is paused.
    """

    __slots__ = (
        "_acks",
        "_delay",
        "_link_free",
        "_loop",
        "_on_ending",
        "_pause",
        "_queue",
        "_rate",
        "_resume",
        "_source_paused",
        "_target_gone",
        "_target_paused",
        "_timer",
        "_timer_at",
        "_window",
        "_write",
        "in_flight",
        "peak_in_flight",
    )

    def __init__(
        self,
        loop: Timers,
        *,
        delay: float,
        window: int,
        rate: float | None,
        write: Callable[[bytes], Any],
        on_ending: Callable[[Ending], Any],
        pause: Callable[[], Any],
        resume: Callable[[], Any],
    ) -> None:
        self._loop = loop
        self._delay = delay
        self._window = window
        self._rate = rate
        self._write = write
        self._on_ending = on_ending
        self._pause = pause
        self._resume = resume
        self._queue: deque[tuple[float, bytes | Ending]] = deque()
        self._acks: deque[tuple[float, int]] = deque()
        self._link_free = 0.0
        self._source_paused = False
        self._target_paused = False
        self._target_gone = False
        self._timer: Any = None
        self._timer_at = 0.0
        self.in_flight = 0
        self.peak_in_flight = 0

    def room(self) -> int:
        """Bytes that may be read now; never negative."""
        return self._window - self.in_flight

    def feed(self, data: bytes) -> None:
        """Take bytes that were just read; `len(data)` must not exceed `room()`."""
        if self._target_gone:
            return
        now = self._loop.time()
        self._link_free = max(now, self._link_free)
        if self._rate is not None:
            self._link_free += len(data) / self._rate
        self.in_flight += len(data)
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._queue.append((self._link_free + self._delay, data))
        if self.in_flight >= self._window and not self._source_paused:
            self._source_paused = True
            self._pause()
        self._arm(now)

    def finish(self, ending: Ending) -> None:
        """The source ended; the far end hears of it after everything fed before."""
        now = self._loop.time()
        self._queue.append((max(now, self._link_free) + self._delay, ending))
        self._arm(now)

    def pause_target(self) -> None:
        """The far end takes no more for now."""
        self._target_paused = True

    def resume_target(self) -> None:
        """The far end takes bytes again."""
        self._target_paused = False
        self._turn()

    def drop_target(self) -> None:
        """The far end is gone: forget what was under way, and let the source run into the void."""
        self._target_gone = True
        self._queue = deque(item for item in self._queue if isinstance(item[1], Ending))
        self._acks.clear()
        self.in_flight = 0
        self._target_paused = False
        self._turn()

    def _turn(self) -> None:
        now = self._loop.time()
        while self._acks and self._acks[0][0] <= now:
            self.in_flight -= self._acks.popleft()[1]
        while self._queue and self._queue[0][0] <= now:
            # An abort overtakes a far end that is not reading, as a reset does.
            if self._target_paused and self._queue[0][1] is not Ending.ABORT:
                break
            item = self._queue.popleft()[1]
            if isinstance(item, Ending):
                self._on_ending(item)
            else:
                self._acks.append((now + self._delay, len(item)))
                self._write(item)
        # Waiting for a whole read's room keeps a full window from being refilled a few bytes at a time.
        if self._source_paused and self.room() >= min(self._window, READ_SIZE):
            self._source_paused = False
            self._resume()
        self._arm(now)

    def _arm(self, now: float) -> None:
        dues = [self._acks[0][0]] if self._acks else []
        if self._queue and not self._target_paused:
            dues.append(self._queue[0][0])
        if not dues:
            return
        when = max(min(dues), now + TIMER_STEP)
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._turn()


class _End(asyncio.BufferedProtocol):
    """One socket of a relayed connection: the source of `outbound`, the target of the other end's."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._buffer = bytearray(READ_SIZE)
        self._early = b""
        self._early_end = False
        self.transport: Any = None
        self.closed = False
        self.half_closed = False
        self.outbound: Direction | None = None
        self.inbound: Direction | None = None
        self.peer: _End | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._relay.ends.add(self)

    def join(self, peer: _End) -> None:
        """Make the direction from this end to `peer`; both must be connected."""
        relay = self._relay
        self.peer = peer
        self.outbound = peer.inbound = Direction(
            asyncio.get_running_loop(),
            delay=relay.delay,
            window=relay.window,
            rate=relay.rate,
            write=peer.write,
            on_ending=peer.take_ending,
            pause=self.pause_reading,
            resume=self.resume_reading,
        )
        relay.directions.append(self.outbound)

    def begin(self) -> None:
        """Both ends are joined: pass on what came before that (some servers speak first), and read on."""
        assert self.outbound is not None
        if self._early:
            self.outbound.feed(self._early)
            self._early = b""
        if self._early_end:
            self.outbound.finish(Ending.HALF_CLOSE)
        if self.outbound.room():
            self.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        room = self.outbound.room() if self.outbound is not None else self._relay.window
        return memoryview(self._buffer)[: max(1, min(READ_SIZE, room))]

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(memoryview(self._buffer)[:nbytes])
        if self.outbound is None:
            # Not in connection_made: uvloop starts to read after it, paused or not.
            self._early += data
            self.pause_reading()
        else:
            self.outbound.feed(data)

    def eof_received(self) -> bool:
        if self.outbound is None:
            self._early_end = True
        else:
            self.outbound.finish(Ending.HALF_CLOSE)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._relay.forget(self)
        if self.inbound is not None:
            self.inbound.drop_target()
        if self.outbound is not None and self.peer is not None and not self.peer.closed:
            self.outbound.finish(Ending.CLOSE if exc is None else Ending.ABORT)

    def pause_writing(self) -> None:
        if self.inbound is not None:
            self.inbound.pause_target()

    def resume_writing(self) -> None:
        if self.inbound is not None:
            self.inbound.resume_target()

    def write(self, data: bytes) -> None:
        if not self.closed and not self.transport.is_closing():
            self.transport.write(data)

    def take_ending(self, ending: Ending) -> None:
        """What the far end did arrives here, `delay` later."""
        if self.closed or self.transport.is_closing():
            return
        if ending is Ending.ABORT:
            # abort() alone sends a FIN when nothing is left unread; lingering for 0 s makes it a reset.
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif ending is Ending.CLOSE:
            self.transport.close()
        elif not self.half_closed:
            self.half_closed = True
            self.transport.write_eof()
            if self.peer is not None and self.peer.half_closed:
                self.transport.close()
                self.peer.transport.close()

    def pause_reading(self) -> None:
        if not self.closed and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.closed and not self.transport.is_closing():
            self.transport.resume_reading()


class Relay:
    """An async context manager: listens on a loopback port and relays to `target`."""

    def __init__(
        self,
        target: tuple[str, int],
        *,
        delay: float,
        window: int = 6 * 1024 * 1024,
        rate: float | None = None,
        listen: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        """`delay` in seconds each way, `window` in bytes per direction, `rate` in bytes per second."""
        if delay < 0 or window < 1 or (rate is not None and rate <= 0):
            raise ValueError("a relay needs delay >= 0, window >= 1 and a positive rate (or none)")
        self.target = target
        self.delay = delay
        self.window = window
        self.rate = rate
        self.ends: set[_End] = set()
        self.directions: list[Direction] = []
        self._listen = listen
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._empty: asyncio.Future[None] | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "the relay is not started"
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Relay:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_RECEIVE_BUFFER)
        listener.bind(self._listen)
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in tuple(self.ends):
            end.transport.abort()
        await self._server.wait_closed()
        if self.ends:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty

    def forget(self, end: _End) -> None:
        """An end's connection is lost."""
        self.ends.discard(end)
        if self._empty is not None and not self.ends and not self._empty.done():
            self._empty.set_result(None)

    def _accept(self) -> _AcceptedEnd:
        return _AcceptedEnd(self)

    def connect_onward(self, near: _End) -> None:
        task = asyncio.get_running_loop().create_task(self._connect_onward(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect_onward(self, near: _End) -> None:
        loop = asyncio.get_running_loop()
        onward = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        onward.setblocking(False)
        onward.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_RECEIVE_BUFFER)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(onward, self.target)
                _, far = await loop.create_connection(lambda: _End(self), sock=onward)
        except (OSError, TimeoutError):
            onward.close()
            near.transport.abort()
            return
        if near.closed:
            far.transport.abort()
            return
        near.join(far)
        far.join(near)
        near.begin()
        far.begin()


class _AcceptedEnd(_End):
    """The side that connected to the relay."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._relay.connect_onward(self)


def address(text: str) -> tuple[str, int]:
    """`host:port` as a pair; raises ValueError."""
    host, _, port = text.rpartition(":")
    return host, int(port)


async def _serve(arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    rate = arguments.rate_mbit * 1e6 / 8 if arguments.rate_mbit else None
    relay = Relay(
        arguments.to,
        delay=arguments.delay_ms / 1000,
        window=arguments.window,
        rate=rate,
        listen=arguments.listen,
    )
    async with relay:
        await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", type=address, required=True)
    parser.add_argument("--to", type=address, required=True)
    parser.add_argument("--delay-ms", type=float, default=40.0, help="one way")
    parser.add_argument("--window", type=int, default=6 * 1024 * 1024, help="bytes under way per direction")
    parser.add_argument("--rate-mbit", type=float, default=None, help="per direction; default: no limit")
    arguments = parser.parse_args()
    import uvloop

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(arguments))


if __name__ == "__main__":
    main()
