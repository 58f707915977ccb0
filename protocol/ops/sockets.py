"""Listening sockets, made before anything is served, so that a taken port is one clear sentence at the start."""

from __future__ import annotations

import errno
import os
import socket

from protocol.ops.values import Address

BACKLOG = 1024

FIRST_FD = 3
"""Where systemd puts the first socket."""

_LOCAL = {"localhost": ("127.0.0.1", "::1")}


class StartError(Exception):
    """The program cannot start; the message is one sentence for the operator, with the fix."""


def listen(address: Address, key: str) -> socket.socket:
    """A socket that listens at `address`; `key` is the address's place in the configuration, for the message.

    The kernel queues connections from now on. Raises StartError.
    """
    try:
        infos = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise StartError(
            f'{key}: the host of "{address}" is not known here; write an address of this machine'
        ) from None
    family, kind, protocol, _, place = infos[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "[::]" means every interface, as "0.0.0.0" does; any other address is what it says.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.host != "::"))
        listener.setblocking(False)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"{key}: cannot listen on {address}: {_reason(error, address)}") from None
    return listener


def activated() -> list[socket.socket]:
    """The listening sockets that systemd hands over (sd_listen_fds(3)), which are told apart by their addresses.

    Their names are not looked at: all sockets of one unit have the same. The variables are taken out of the
    environment, so that nobody takes the sockets a second time.
    """
    number, owner = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not (number.isdigit() and owner == str(os.getpid())):
        return []
    found = [socket.socket(fileno=FIRST_FD + at) for at in range(int(number))]
    for listener in found:
        listener.setblocking(False)
    return found


def listens_at(listener: socket.socket, address: Address) -> bool:
    """Whether it listens where `listen` would; a host's name is looked up."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    host, port = listener.getsockname()[:2]
    if port != address.port:
        return False
    if host in (address.host, *_LOCAL.get(address.host, ())):
        return True
    try:
        infos = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return bool(infos[0][4][0] == host)


def bound(listener: socket.socket) -> Address:
    """Where it really listens: with port 0 the system chose one."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def _reason(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is taken; stop what uses it (ss -ltnp 'sport = :{address.port}') or choose another"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have the address; use one that `ip address` shows, or 0.0.0.0"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"
    return os.strerror(error.errno or 0)
