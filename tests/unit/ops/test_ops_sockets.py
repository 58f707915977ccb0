"""Listening sockets: bound at once, and one clear sentence when they cannot be."""

from __future__ import annotations

import errno
import socket

import pytest

from protocol.ops import sockets
from protocol.ops.sockets import StartError
from protocol.ops.values import Address


def test_port_zero_is_chosen_by_the_system() -> None:
    with sockets.listen(Address("127.0.0.1", 0), "listen.callers") as listener:
        address = sockets.bound(listener)
        assert address.host == "127.0.0.1"
        with socket.create_connection(address):
            pass


def test_taken_port() -> None:
    with sockets.listen(Address("127.0.0.1", 0), "listen.callers") as listener:
        taken = sockets.bound(listener)
        with pytest.raises(
            StartError, match=rf"^listen.admin: cannot listen on {taken}: the port is taken; stop what"
        ):
            sockets.listen(taken, "listen.admin")


def test_unknown_host_and_foreign_address() -> None:
    with pytest.raises(StartError, match="is not known here"):
        sockets.listen(Address("no-such-host.invalid", 0), "listen.callers")
    with pytest.raises(StartError, match="does not have the address"):
        sockets.listen(Address("192.0.2.1", 0), "listen.callers")


def test_every_interface_takes_both_families() -> None:
    try:
        listener = sockets.listen(Address("::", 0), "listen.callers")
    except StartError:
        pytest.skip("no IPv6 here")
    with listener:
        port = sockets.bound(listener).port
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("::1", port)):
            pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOBUFS])
def test_other_reasons_are_sentences(number: int) -> None:
    reason = sockets._reason(OSError(number, "x"), Address("h", 80))
    assert reason
    assert ("CAP_NET_BIND_SERVICE" in reason) == (number != errno.ENOBUFS)
