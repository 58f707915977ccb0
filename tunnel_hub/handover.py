"""One hub process takes the listening sockets over from another, so that no connection is refused meanwhile.

A hub that runs listens on a socket of its own for its successor: a process of the same user with the same hub id
and the same address for callers. It hands its listening sockets over; when the successor is ready it says so, and
the old one drains and ends. A successor that fails before leaves everything as it was.

The name is in Linux's abstract namespace, which like ports belongs to a network namespace and leaves no file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from protocol.ops import log
from protocol.ops.values import Address

ASK_TIMEOUT: Final = 2.0
"""Seconds for each message of the two, which are on one machine."""

READY_TIMEOUT: Final = 60.0
"""Seconds that a successor may take to start."""

BIND_EVERY: Final = 0.05
MESSAGE_MAX: Final = 4096
_READY: Final = b"ready"
_CREDENTIALS: Final = struct.Struct("iII")

_log = log.get("handover")


def _name(callers: Address) -> str:
    return f"\0tunnel-hub/{os.getuid()}/{callers}"


def available(callers: Address) -> bool:
    """Whether hubs with this address can follow each other: on Linux, at a port that was chosen."""
    return sys.platform == "linux" and callers.port != 0


def _user(connection: socket.socket) -> int:
    """Whose process is at the other end."""
    _, user, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return int(user)


def _is_ours(connection: socket.socket) -> bool:
    return _user(connection) in (os.getuid(), 0)


class Predecessor:
    """The process whose sockets were taken over. Call `release` once everything is served, or `close`."""

    def __init__(self, connection: socket.socket, listeners: dict[str, socket.socket]) -> None:
        self._connection = connection
        self.listeners = listeners
        """By name: callers, agents, admin."""

    def release(self) -> None:
        """Tell it to drain and end."""
        with contextlib.suppress(OSError):
            self._connection.send(_READY)
        self.close()

    def close(self) -> None:
        self._connection.close()


def take_over(hub_id: str, callers: Address) -> Predecessor | None:
    """Ask a hub that runs for its sockets; None when there is none, or when it is another hub. Blocks briefly."""
    if not available(callers):
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(ASK_TIMEOUT)
    try:
        connection.connect(_name(callers))
        message, numbers = _ask(connection, hub_id)
    except OSError:
        connection.close()
        return None
    received = [socket.socket(fileno=number) for number in numbers]
    for listener in received:
        listener.setblocking(False)
    try:
        answer = msgspec.json.decode(message, type=dict[str, Any])
        names = [str(name) for name in answer["listeners"]]
    except (msgspec.DecodeError, KeyError, TypeError):
        names = []
    if not names or len(names) != len(received):
        for listener in received:
            listener.close()
        connection.close()
        return None
    return Predecessor(connection, dict(zip(names, received, strict=True)))


def _ask(connection: socket.socket, hub_id: str) -> tuple[bytes, list[int]]:
    """The running hub's answer; nothing is taken from a stranger, who could listen along on it."""
    if not _is_ours(connection):
        return b"", []
    connection.send(msgspec.json.encode({"hub": hub_id}))
    message, numbers, _, _ = socket.recv_fds(connection, MESSAGE_MAX, 16)
    return message, numbers


class Handover:
    """The running hub's side. `serve` in a task of the process; `close` at the end."""

    def __init__(self, hub_id: str, callers: Address, on_replaced: Callable[[], None]) -> None:
        """on_replaced: a successor serves; drain and end."""
        self._hub_id = hub_id
        self._callers = callers
        self._on_replaced = on_replaced
        self._listeners: Mapping[str, socket.socket] = {}
        self._socket: socket.socket | None = None

    async def serve(self, listeners: Mapping[str, socket.socket]) -> None:
        """Wait for a successor to hand these to, for ever. The name is free once a predecessor let go of it."""
        self._listeners = listeners
        loop = asyncio.get_running_loop()
        self._socket = server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server.setblocking(False)
        while True:
            try:
                server.bind(_name(self._callers))
                break
            except OSError:
                await asyncio.sleep(BIND_EVERY)
        server.listen(1)
        while True:
            connection, _ = await loop.sock_accept(server)
            try:
                if await self._serve_one(loop, connection):
                    self.close()
                    self._on_replaced()
                    return
            except (OSError, TimeoutError, msgspec.DecodeError) as error:
                _log.warning("a successor did not take over", reason=type(error).__name__)
            finally:
                connection.close()

    def close(self) -> None:
        """Let go of the name. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _serve_one(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bool:
        """Whether the other process has taken over and is ready."""
        connection.setblocking(False)
        async with asyncio.timeout(ASK_TIMEOUT):
            asked = msgspec.json.decode(await loop.sock_recv(connection, MESSAGE_MAX), type=dict[str, str])
        if not _is_ours(connection) or asked.get("hub") != self._hub_id:
            _log.warning(
                "refused to hand over: another user or another hub id",
                user=_user(connection),
                hub=asked.get("hub"),
            )
            return False
        numbers = [listener.fileno() for listener in self._listeners.values()]
        socket.send_fds(connection, [msgspec.json.encode({"listeners": list(self._listeners)})], numbers)
        _log.info("listening sockets handed over; waiting for the successor to be ready")
        async with asyncio.timeout(READY_TIMEOUT):
            ready = await loop.sock_recv(connection, MESSAGE_MAX) == _READY
        if not ready:
            _log.warning("a successor did not take over", reason="it ended before it was ready")
        return ready
