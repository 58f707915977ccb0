"""An address that neither accepts nor refuses: connecting to it hangs, as behind a firewall that drops."""

from __future__ import annotations

import socket

from tests.support.ports import free_port
from tests.support.waiting import wait_until


class BlockedPort:
    """Listens with a full queue and never accepts."""

    def __init__(self) -> None:
        self.port = free_port()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(0)
        self._fillers: list[socket.socket] = []
        wait_until(self._hangs, "the queue of the blocked port to be full")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._listener.close()

    def _hangs(self) -> bool:
        filler = socket.socket()
        filler.settimeout(0.2)
        self._fillers.append(filler)
        try:
            filler.connect(("127.0.0.1", self.port))
        except TimeoutError:
            return True
        return False
