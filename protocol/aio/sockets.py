"""What the kernel is told about sockets, where it can be told."""

from __future__ import annotations

import asyncio
import contextlib
import socket


def bound_unsent(transport: asyncio.BaseTransport, size: int) -> None:
    """Let the kernel hold about `size` bytes that it has not sent (TCP_NOTSENT_LOWAT); it would take megabytes.

    Bytes in flight are not limited, so a long fast path is still filled. A no-op where there is no such option.
    """
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if sock is not None and option is not None:
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, option, size)


def bound_received(transport: asyncio.BaseTransport, size: int) -> None:
    """Let the kernel hold about `size` received bytes (SO_RCVBUF), which also bounds what one read brings.

    Only for short paths: the sender may have no more than this under way.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
