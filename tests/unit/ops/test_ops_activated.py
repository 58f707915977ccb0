"""Sockets that systemd or a predecessor hands over: which are taken, and which only look like it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from protocol.ops import sockets
from protocol.ops.values import Address

VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")

ACTIVATED = """
import os, sys
from protocol.ops import sockets
os.environ["LISTEN_PID"] = os.environ["LISTEN_PID"].replace("SELF", str(os.getpid()))
found = sockets.activated()
print([(sock.getsockname()[1], sock.getblocking()) for sock in found])
print(sorted(set(os.environ) & {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}), sockets.activated())
"""


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield made
    for each in made:
        each.close()


def activated(listeners: list[socket.socket], pid: str = "SELF", **variables: str) -> list[str]:
    """What a process finds that gets these sockets as descriptors 3 and 4."""
    places = {3 + at: listener.fileno() for at, listener in enumerate(listeners)}

    def give() -> None:
        kept = [(os.dup(number), place) for place, number in places.items()]
        for number, place in kept:
            os.dup2(number, place, inheritable=True)

    done = subprocess.run(
        [sys.executable, "-c", ACTIVATED],
        env={**os.environ, "LISTEN_PID": pid, **variables},
        preexec_fn=give,  # nothing else runs in the child
        close_fds=False,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("names", ["callers:agents", "tunnel-hub.socket:tunnel-hub.socket", ""])
def test_sockets_whatever_their_names(listeners: list[socket.socket], names: str) -> None:
    found = activated(listeners, LISTEN_FDS="2", LISTEN_FDNAMES=names)
    assert found[0] == str([(listener.getsockname()[1], False) for listener in listeners])
    assert found[1] == "[] []", "nobody takes them a second time"


@pytest.mark.parametrize(
    ("pid", "number"), [("1", "2"), ("", "2"), ("SELF", "0"), ("SELF", ""), ("SELF", "-1"), ("SELF", "two")]
)
def test_what_is_meant_for_others_or_nonsense_is_left(
    listeners: list[socket.socket], pid: str, number: str
) -> None:
    assert activated(listeners, pid, LISTEN_FDS=number, LISTEN_FDNAMES="callers:agents") == ["[]", "[] []"]


# -- listens_at -------------------------------------------------------------------------------------


def at(host: str) -> tuple[socket.socket, int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.create_server((host, 0), family=family)
    return made, made.getsockname()[1]


def test_where_it_listens() -> None:
    listener, port = at("127.0.0.1")
    with listener:
        assert sockets.listens_at(listener, Address("127.0.0.1", port))
        assert sockets.listens_at(listener, Address("localhost", port))
        assert not sockets.listens_at(listener, Address("127.0.0.1", port + 1))
        assert not sockets.listens_at(listener, Address("0.0.0.0", port))
        assert not sockets.listens_at(listener, Address("127.0.0.2", port))
        assert not sockets.listens_at(listener, Address("no-such-host.invalid", port))


def test_a_name_means_the_address_at_which_a_new_socket_would_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a hub with a name in its file could never be followed: its own port is taken."""
    place: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: place)
    listener, port = at("127.0.0.1")
    with listener:
        assert sockets.listens_at(listener, Address("hub.internal", port))


def test_a_socket_that_is_not_of_the_network() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        assert not sockets.listens_at(listener, Address("127.0.0.1", 80))


def test_a_socket_that_does_not_listen() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert not sockets.listens_at(bound, Address("127.0.0.1", bound.getsockname()[1]))
