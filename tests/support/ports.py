"""Ports that stay ours: a program can be killed and started again on the same port, beside other test runs.

They lie below the kernel's ephemeral range, so that no outgoing connection takes one, and each is reserved
by a file lock for as long as this process lives.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

LOWEST, HIGHEST = 12000, 31999

_reserved: dict[int, IO[str]] = {}
_random = random.Random(os.getpid())


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on and no other test run will take."""
    folder = Path(tempfile.gettempdir()) / f"tunnel-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for _ in range(2000):
        port = _random.randint(LOWEST, HIGHEST)
        if port in _reserved:
            continue
        lock = (folder / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _reserved[port] = lock
        return port
    raise RuntimeError("no free port found")


def release_all() -> None:
    """Give every reserved port back. For the end of the test run."""
    for lock in _reserved.values():
        lock.close()
    _reserved.clear()
