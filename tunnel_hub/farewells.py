"""Agents hear that the hub goes away one after the other, so that they do not come to its successor as a herd."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from protocol.errors import SessionCode

if TYPE_CHECKING:
    from protocol.aio.link import Link

TELL: Final = 3
TELL_EVERY: Final = 0.024
"""So many sessions are told every so many seconds: their agents dial again at once."""

END_AT_ONCE: Final = 16
END_EVERY: Final = 0.01


class Farewells:
    """`tell`, and at last `end`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._untold: list[Link] = []

    @property
    def telling(self) -> bool:
        """Whether some are still to be told."""
        return bool(self._untold)

    def tell(self, links: Iterable[Link]) -> None:
        """Ask for other sessions in the place of these, first of those which serve the most."""
        self._untold = sorted(links, key=lambda link: link.session.last_opened)
        self._tell()

    async def end(self, links: list[Link]) -> None:
        """End all of them; a successor serves, perhaps on the same processors."""
        self._untold.clear()
        for number, link in enumerate(links, 1):
            link.close(SessionCode.SHUTDOWN, "the hub is shutting down")
            if number % END_AT_ONCE == 0:
                await asyncio.sleep(END_EVERY)

    def _tell(self) -> None:
        untold = self._untold
        for link in reversed(untold[-TELL:]):
            link.session.drain(self._loop.time())
            link.wake()
        del untold[-TELL:]
        if untold:
            self._loop.call_later(TELL_EVERY, self._tell)
