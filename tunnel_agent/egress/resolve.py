"""Name look-ups that cannot hold up anything else.

The loop's own `getaddrinfo` shares a few threads with every other upstream; a dead name server would block them
all. Here each upstream has at most one look-up under way, in a thread that does not outlive the process.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

Address = tuple[socket.AddressFamily, str]
Lookup = Callable[..., list[Any]]

REMEMBER: Final = 5.0
"""Seconds for which an answer of the name server is used again."""


class Resolver:
    """Finds the addresses of one host. Call from the loop's thread only."""

    def __init__(self, host: str, lookup: Lookup = socket.getaddrinfo) -> None:
        """host: a name or an IP address without brackets."""
        self._host = host
        self._lookup = lookup
        self._found: list[Address] = []
        self._good_until = 0.0
        self._pending: asyncio.Future[list[Address] | OSError] | None = None
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            return
        self._found = [(socket.AF_INET6 if version == 6 else socket.AF_INET, host)]
        self._good_until = float("inf")

    async def addresses(self) -> list[Address]:
        """At least one address, in the order to try them. Give up waiting at any time: the look-up is shared.

        Raises:
            OSError: the name does not resolve.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._good_until:
            return self._found
        if self._pending is None:
            self._pending = loop.create_future()
            # Not an executor: the interpreter waits for its threads at exit, however long the name server takes.
            threading.Thread(target=self._run, args=(loop, self._pending), name="resolve", daemon=True).start()
        outcome = await asyncio.shield(self._pending)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def _run(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[list[Address] | OSError]) -> None:
        outcome: list[Address] | OSError
        try:
            found = self._lookup(self._host, None, type=socket.SOCK_STREAM)
            outcome = list(dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found))
            if not outcome:
                outcome = OSError("no address")
        except (OSError, UnicodeError) as error:
            outcome = error if isinstance(error, OSError) else OSError("not a host name")
        try:
            loop.call_soon_threadsafe(self._finished, loop, future, outcome)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def _finished(
        self,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[list[Address] | OSError],
        outcome: list[Address] | OSError,
    ) -> None:
        self._pending = None
        if not isinstance(outcome, OSError):
            self._found = outcome
            self._good_until = loop.time() + REMEMBER
        if not future.done():
            future.set_result(outcome)
