"""The two ends of a handover, and strangers at either of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace

import pytest

from protocol.ops.values import Address
from tests.support.ports import free_port
from tunnel_hub import handover
from tunnel_hub.handover import Handover, available, take_over

pytestmark = pytest.mark.skipif(not available(Address("127.0.0.1", 1)), reason="needs Linux")


@pytest.fixture
def callers() -> Address:
    return Address("127.0.0.1", free_port())


@contextlib.asynccontextmanager
async def running(callers: Address, hub_id: str = "hub-1") -> AsyncIterator[SimpleNamespace]:
    """A hub that can be followed, with one listening socket."""
    replaced = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hub = Handover(hub_id, callers, replaced.set)
        task = asyncio.create_task(hub.serve({"callers": listener}))
        await asyncio.sleep(0)
        yield SimpleNamespace(replaced=replaced, task=task, port=listener.getsockname()[1])
        task.cancel()
        hub.close()
        hub.close()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_sockets_go_over_and_the_old_one_is_told(callers: Address) -> None:
    async with running(callers) as old:
        found = await asyncio.to_thread(take_over, "hub-1", callers)
        assert found is not None
        assert not old.replaced.is_set()
        with found.listeners["callers"] as taken:
            assert taken.getsockname()[1] == old.port
            assert not taken.getblocking()
            found.release()
            await asyncio.wait_for(old.replaced.wait(), 5)
        await asyncio.wait_for(old.task, 5)
    assert take_over("hub-1", callers) is None, "the name is free"


async def test_a_successor_that_fails_may_be_followed_by_one_that_does_not(callers: Address) -> None:
    async with running(callers) as old:
        for _ in range(2):
            failed = await asyncio.to_thread(take_over, "hub-1", callers)
            assert failed is not None
            failed.listeners["callers"].close()
            failed.close()
        found = await asyncio.to_thread(take_over, "hub-1", callers)
        assert found is not None
        assert not old.replaced.is_set()
        found.listeners["callers"].close()
        found.release()
        await asyncio.wait_for(old.replaced.wait(), 5)


@pytest.mark.parametrize("hub_id", ["hub-2", ""])
async def test_another_hub_gets_nothing(callers: Address, hub_id: str) -> None:
    async with running(callers) as old:
        assert await asyncio.to_thread(take_over, hub_id, callers) is None
        assert not old.replaced.is_set()
        assert not old.task.done()


@pytest.mark.parametrize("message", [b"", b"garbage", b"[]", b'{"hub": 1}', b"{}", b"\xff" * 4000])
async def test_whatever_is_said_to_a_running_hub_does_not_end_it(callers: Address, message: bytes) -> None:
    async with running(callers) as old:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.connect(handover._name(callers))
            if message:
                stranger.send(message)
        found = await asyncio.to_thread(take_over, "hub-1", callers)
        assert found is not None
        found.listeners["callers"].close()
        found.close()
        assert not old.replaced.is_set()


@contextlib.contextmanager
def pretender(callers: Address, act: Callable[[socket.socket], object]) -> Iterator[None]:
    """Somebody has the name first and does `act` with whoever connects."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(BrokenPipeError):
            connection.recv(4096)
            act(connection)

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(handover._name(callers))
        server.listen(1)
        server.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join(10)


def _sends(message: bytes, sockets: int) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            given = [stack.enter_context(socket.socket()) for _ in range(sockets)]
            socket.send_fds(connection, [message], [each.fileno() for each in given])

    return act


@pytest.mark.parametrize(
    ("message", "sockets"),
    [
        (b"garbage", 0),
        (b'{"listeners": ["callers"]}', 0),
        (b'{"listeners": ["callers"]}', 2),
        (b'{"listeners": []}', 1),
        (b'{"listeners": 5}', 1),
        (b"{}", 1),
    ],
)
def test_nonsense_from_a_predecessor_is_no_predecessor(callers: Address, message: bytes, sockets: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pretender(callers, _sends(message, sockets)):
        assert take_over("hub-1", callers) is None
    assert len(os.listdir("/proc/self/fd")) == before, "sockets are left open"


def test_a_predecessor_that_hangs_delays_the_start_only(callers: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "ASK_TIMEOUT", 0.1)
    asked = threading.Event()
    with pretender(callers, lambda _: asked.wait(5)):
        assert take_over("hub-1", callers) is None
        asked.set()


def test_sockets_of_another_user_are_not_taken(callers: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may bind the name; who did could listen along on what it hands over."""
    monkeypatch.setattr(handover, "_user", lambda _: os.getuid() + 1)
    with pretender(callers, _sends(b'{"listeners": ["callers"]}', 1)):
        assert take_over("hub-1", callers) is None


async def test_sockets_are_not_given_to_another_user(callers: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(callers) as old:
        monkeypatch.setattr(handover, "_user", lambda connection: os.getuid() if blind else os.getuid() + 1)
        blind = True
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.connect(handover._name(callers))
            blind = False
            stranger.send(b'{"hub": "hub-1"}')
            message, sockets, _, _ = await asyncio.to_thread(socket.recv_fds, stranger, 4096, 16)
            assert (message, sockets) == (b"", [])
        assert not old.replaced.is_set()


def test_a_port_that_the_system_chooses_cannot_be_followed() -> None:
    assert not available(Address("127.0.0.1", 0))
    assert take_over("hub-1", Address("127.0.0.1", 0)) is None
