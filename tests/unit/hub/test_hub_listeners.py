"""Which of the sockets that were handed to a hub it listens on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.ops import sockets
from protocol.ops.sockets import StartError
from protocol.ops.values import Address
from tests.support.logs import Logged, kept
from tunnel_hub.server import _listeners

NAMES = ("callers", "agents", "admin")


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


def made() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def listeners(
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, Address],
    activated: list[socket.socket],
    predecessors: dict[str, socket.socket] | None = None,
) -> dict[str, socket.socket]:
    monkeypatch.setattr(sockets, "activated", lambda: activated)
    config: Any = SimpleNamespace(listen=SimpleNamespace(**wanted))
    predecessor: Any = None if predecessors is None else SimpleNamespace(listeners=predecessors)
    return _listeners(config, predecessor)


def test_by_their_addresses_in_whatever_order(monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    given = [made() for _ in NAMES]
    wanted = {name: sockets.bound(each) for name, each in zip(NAMES, given, strict=True)}
    found = listeners(monkeypatch, wanted, given[::-1])
    assert [found[name] for name in NAMES] == given
    assert logged.texts == []
    for each in given:
        each.close()


def test_what_is_not_there_is_made_and_what_nobody_wants_is_closed_and_named(
    monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    given, spare = made(), made()
    unwanted = str(sockets.bound(spare))
    wanted = {"callers": Address("127.0.0.1", 0), "agents": sockets.bound(given), "admin": Address("127.0.0.1", 0)}
    found = listeners(monkeypatch, wanted, [spare, given])
    assert found["agents"] is given
    assert spare.fileno() == -1
    assert [event["at"] for event in logged.events] == [unwanted]
    assert len({each.getsockname() for each in found.values()}) == 3
    for each in found.values():
        each.close()


def test_a_predecessors_come_first(monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    """It may have had them from systemd, too: the same ones twice."""
    given = {name: made() for name in NAMES}
    again = [each.dup() for each in given.values()]
    found = listeners(monkeypatch, {name: sockets.bound(each) for name, each in given.items()}, again, given)
    assert found == given
    assert all(each.fileno() == -1 for each in again)
    assert logged.texts == []
    for each in given.values():
        each.close()


def test_a_port_that_another_has_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with made() as other:
        wanted = {"callers": sockets.bound(other), "agents": Address("127.0.0.1", 0), "admin": Address("::1", 0)}
        with pytest.raises(StartError, match=r"listen\.callers: cannot listen on .* the port is taken"):
            listeners(monkeypatch, wanted, [])
