"""A stream that runs while a test changes something beside it."""

from __future__ import annotations

import ssl

from tests.support import scripts
from tests.support.rawhttp import RawClient
from tests.support.tunnel import Tunnel
from tests.support.waiting import Gate


class Stream:
    """A download in two halves; the second leaves when `finish` is called."""

    def __init__(self, tunnel: Tunnel, tls: ssl.SSLContext | None = None) -> None:
        self._gates = [Gate(), Gate()]
        tunnel.upstream.on("/stream", scripts.slow_drip(2, self._gates))
        self._caller: RawClient = tunnel.raw(tls=tls)
        self._caller.start("GET", "/stream")
        self._gates[0].open()
        assert self._caller.head().status == 200
        assert self._caller.chunk() == b"piece-0\n"

    def finish(self) -> None:
        """Its second half and its end arrive. Raises Truncated when it was cut."""
        with self._caller:
            self._gates[1].open()
            assert self._caller.chunk() == b"piece-1\n"
            assert self._caller.chunk() == b""
