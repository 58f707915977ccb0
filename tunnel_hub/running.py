"""The exchanges that agents have now, by way of the sessions' streams: nothing on the hot path keeps a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .exchange import Exchange

if TYPE_CHECKING:
    from protocol.aio.link import Link


def exchanges(links: Iterable[Link]) -> Iterator[Exchange]:
    """Every exchange on these sessions; each may be ended before the next one is asked for."""
    for link in list(links):
        for stream in list(link.session.streams.values()):
            owner = stream.owner
            if isinstance(owner, Exchange) and not stream.silent:
                yield owner
