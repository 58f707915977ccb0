"""The owner of agents' links at the hub: what becomes of each event of their sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import SessionError
from protocol.events import (
    Answered,
    DataReceived,
    Event,
    InterimAnswered,
    Offered,
    Opened,
    PeerDraining,
    PeerGoodbye,
    ResetAnswered,
    StreamReset,
    StreamWritable,
    TrailersReceived,
)
from protocol.session import Session
from protocol.stream import Stream

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.handshake import HubResult

    from .agents import AgentListener
    from .hub import Hub


def _on_reset(event: StreamReset) -> None:
    owner: Any = event.stream.owner
    if owner is not None:  # it is gone when a whole answer came before the RESET, in the same message
        owner.on_reset(event)


STREAM_HANDLERS: Final[Mapping[type[Event], Callable[[Any], None]]] = {
    Answered: lambda event: event.stream.owner.on_answered(event),
    DataReceived: lambda event: event.stream.owner.on_data(event),
    TrailersReceived: lambda event: event.stream.owner.on_trailers(event),
    InterimAnswered: lambda event: event.stream.owner.on_interim(event),
    StreamReset: _on_reset,
    ResetAnswered: lambda event: event.stream.owner.on_reset_answered(event),
    StreamWritable: lambda event: event.stream.owner.on_writable(event),
    PeerGoodbye: lambda _event: None,
    Opened: lambda _event: None,
}


class Guest:
    """Owner of the links of all agents, from the handshake to their ends. One for the listener."""

    def __init__(self, listener: AgentListener, hub: Hub) -> None:
        self._listener = listener
        self._hub = hub
        self.handlers: Mapping[type[Event], Callable[[Any], None]] = {
            **STREAM_HANDLERS,
            Offered: lambda event: listener.offered(event.origin, event),
            PeerDraining: lambda event: hub.on_draining(event.origin),
        }

    def make_session(self, link: Link, result: HubResult) -> Session:
        hub = self._hub
        link.count_pauses(hub.write_pauses)
        return Session(True, hub.limits, result.peer_limits, hub.budget, hub.loop.time(), hub.credit_stalls)

    def on_established(self, link: Link) -> None:
        self._listener.established(link)

    def on_stream_failed(self, stream: Stream) -> None:
        owner: Any = stream.owner
        if owner is not None:
            owner.on_fault()

    def on_lost(self, link: Link, error: SessionError, streams: list[Stream]) -> None:
        self._listener.lost(link, error, streams)
