"""A caller's connection without sockets: a clock, a transport and exchanges that the test moves by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

from protocol.aio.wheel import Wheel
from tunnel_hub.ingress.connection import CallerConnection
from tunnel_hub.ingress.context import IngressContext
from tunnel_hub.ingress.limits import IngressLimits
from tunnel_hub.ingress.request import Reply, Request

GET = b"GET /a HTTP/1.1\r\nHost: visits.internal\r\n\r\n"


class Clock:
    """The part of an event loop that the ingress uses; time passes only by `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.soon: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.timers: list[Handle] = []
        self.faults: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.soon.append((callback, args))

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        handle = Handle(when, callback)
        self.timers.append(handle)
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context)

    def turn(self) -> None:
        """Let the loop turn until nothing is left to do at once."""
        while self.soon:
            callback, args = self.soon.pop(0)
            callback(*args)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self.turn()
            due = min((handle for handle in self.timers if handle.when <= end), default=None, key=lambda h: h.when)
            if due is None:
                break
            self.timers.remove(due)
            self.now = max(self.now, due.when)
            due.callback()
        self.now = end


class Handle:
    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback: Callable[[], object] = callback

    def cancel(self) -> None:
        self.callback = lambda: None


class FakeSocket:
    def __init__(self) -> None:
        self.resets = False

    def setsockopt(self, level: int, name: int, value: bytes | int) -> None:
        if (level, name) != (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT):
            assert (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER)
            self.resets = True


class FakeTransport(asyncio.Transport):
    """Keeps what is written; `stuck` bytes are pretended to wait for the caller."""

    def __init__(self, clock: Clock, protocol: CallerConnection, *, tls: bool = False) -> None:
        super().__init__()
        self.clock = clock
        self.protocol = protocol
        self.tls = tls
        self.written: list[bytes] = []
        self.reading = True
        self.eof_written = False
        self.ended = ""
        """"", "close", "abort" or "reset"."""
        self.stuck = 0
        self.sock = FakeSocket()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.7", 4711), "socket": self.sock}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof_written, "write after write_eof"
        assert not self.ended, "write after the end"
        assert isinstance(data, bytes)
        self.written.append(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return not self.tls

    def write_eof(self) -> None:
        assert not self.tls
        self.eof_written = True

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.stuck

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self._end("close")

    def abort(self) -> None:
        self._end("reset" if self.sock.resets else "abort")

    def _end(self, how: str) -> None:
        if not self.ended:
            self.ended = how
            self.clock.call_soon(self.protocol.connection_lost, None)


class Recorder:
    """An exchange that writes down what the connection tells it and leaves the answer to the test."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self.request = request
        self.reply = reply
        self.events: list[tuple[str, Any]] = []

    def on_body(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert data
        self.events.append(("body", data))

    def on_body_end(self, trailers: list[bytes]) -> None:
        self.events.append(("end", trailers))

    def on_caller_writable(self) -> None:
        self.events.append(("writable", None))

    def on_caller_gone(self) -> None:
        self.events.append(("gone", None))

    @property
    def told(self) -> list[str]:
        return [name for name, _ in self.events]

    @property
    def whole_body(self) -> bytes:
        return self.request.body + b"".join(data for name, data in self.events if name == "body")

    @property
    def complete(self) -> bool:
        return self.request.complete or "end" in self.told

    @property
    def trailers(self) -> list[bytes]:
        ends: list[list[bytes]] = [data for name, data in self.events if name == "end"]
        return ends[0] if ends else self.request.trailers

    def answer(self, body: bytes = b"", status: int = 200, fields: list[bytes] | None = None) -> bool:
        return self.reply.head(status, b"OK", fields or [], len(body), body, True)


class Rig:
    """One connection with everything round it. `answer_at_once` is called for each request as it starts."""

    def __init__(
        self,
        limits: IngressLimits | None = None,
        *,
        answer_at_once: Callable[[Recorder], object] | None = None,
        tls: bool = False,
    ) -> None:
        self.clock = Clock()
        self.limits = limits or IngressLimits()
        self.exchanges: list[Recorder] = []
        self.refused: list[tuple[str, int, str, str, str]] = []
        self.answer_at_once = answer_at_once
        self.wheel = Wheel(self.clock)  # type: ignore[arg-type]
        self.context = IngressContext(
            self._start,
            self.clock,  # type: ignore[arg-type]
            self.wheel,
            self.limits,
            "hub-1",
            lambda: "0123456789abcdef",
            lambda *refused: self.refused.append(refused),
        )
        self.connection, self.transport = self.connect(tls=tls)

    def connect(self, *, tls: bool = False) -> tuple[CallerConnection, FakeTransport]:
        connection = CallerConnection(self.context)
        transport = FakeTransport(self.clock, connection, tls=tls)
        connection.connection_made(transport)
        return connection, transport

    def _start(self, request: Request, reply: Reply) -> Recorder:
        exchange = Recorder(request, reply)
        self.exchanges.append(exchange)
        if self.answer_at_once is not None:
            self.answer_at_once(exchange)
        return exchange

    def feed(self, *reads: bytes) -> None:
        """What the transport delivers: nothing while reading is paused or after the end."""
        for data in reads:
            assert self.transport.reading, "fed while paused"
            if not self.transport.ended:
                self.connection.data_received(data)
            self.clock.turn()

    def eof(self) -> bool:
        keep = bool(self.connection.eof_received())
        if not keep:
            self.transport.close()
        self.clock.turn()
        return keep

    def lose(self) -> None:
        self.transport.ended = self.transport.ended or "lost"
        self.connection.connection_lost(None)
        self.clock.turn()

    @property
    def last(self) -> Recorder:
        return self.exchanges[-1]

    @property
    def sent(self) -> bytes:
        return b"".join(self.transport.written)

    def take(self) -> bytes:
        """What was sent since the last `take`."""
        data = self.sent
        self.transport.written.clear()
        return data
