"""The agents' side of the hub: a websocket listener at /tunnel, the handshake, and each session's events.

A hostile or broken agent loses its own session with a stated code; its streams fail as SESSION_LOST and
nothing else notices.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from protocol.aio.link import HANDSHAKE_TIMEOUT, Link
from protocol.aio.websocket import OPTIONS, HubSocket
from protocol.errors import SessionCode, SessionError
from protocol.events import (
    Answered,
    DataReceived,
    Event,
    InterimAnswered,
    Opened,
    PeerDraining,
    PeerGoodbye,
    StreamReset,
    StreamWritable,
    TrailersReceived,
)
from protocol.handshake import HubHandshake, Registration
from protocol.limits import SUBPROTOCOL
from protocol.ops import log, sockets
from protocol.ops.values import Address
from protocol.session import Session
from protocol.stream import Stream

if TYPE_CHECKING:
    from protocol.handshake import HubResult

    from .config import Agent as AgentConfig
    from .hub import Hub

Lookup = Callable[[str], Registration | None]
"""Agent id -> what the hub knows about it."""

PATH: Final = "/tunnel"
SESSIONS_PER_AGENT: Final = 128
_log = log.get("agents")


class AgentListener:
    """Accepts agents. `start`, then `close` at the end."""

    def __init__(
        self,
        hub: Hub,
        make_handshake: Callable[[Lookup], HubHandshake],
        agents: Mapping[str, AgentConfig],
    ) -> None:
        self._hub = hub
        self.registered: dict[str, Registration] = {}
        self.register(agents)
        self._make_handshake = make_handshake
        self._server: Server | None = None
        self.links: dict[Link, None] = {}
        self.refused = 0
        self._per_agent: Counter[str] = Counter()
        self.handlers: Mapping[type[Event], Callable[[Any], None]] = {
            Answered: lambda event: event.stream.owner.on_answered(event),
            DataReceived: lambda event: event.stream.owner.on_data(event),
            TrailersReceived: lambda event: event.stream.owner.on_trailers(event),
            InterimAnswered: lambda event: event.stream.owner.on_interim(event),
            StreamReset: lambda event: event.stream.owner.on_reset(event),
            StreamWritable: lambda event: event.stream.owner.on_writable(event),
            PeerDraining: lambda _event: None,
            PeerGoodbye: lambda _event: None,
            Opened: lambda _event: None,
        }

    def register(self, agents: Mapping[str, AgentConfig]) -> None:
        """Which agents may connect from now on; sessions that are up go on."""
        self.registered = {
            agent_id: Registration(agent.public_keys, frozenset(agent.services))
            for agent_id, agent in agents.items()
        }

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None) -> Address:
        """Serve agents on a listening socket; returns where."""
        self._server = await serve(
            self._accept,
            sock=listener,
            ssl=tls,
            create_connection=HubSocket,
            process_request=_check_path,
            select_subprotocol=_select_subprotocol,
            server_header=None,
            open_timeout=HANDSHAKE_TIMEOUT,
            **OPTIONS,
        )
        return sockets.bound(listener)

    async def close(self) -> None:
        """End all sessions and stop listening; bounded by the websockets' close timeout."""
        for link in list(self.links):
            link.close(SessionCode.SHUTDOWN, "the hub is shutting down")
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    # -- Owner of links -------------------------------------------------------------------------------

    def make_session(self, _link: Link, result: HubResult) -> Session:
        return Session(True, self._hub.limits, result.peer_limits, self._hub.budget, self._hub.loop.time())

    def on_established(self, link: Link) -> None:
        result: HubResult = link.result
        link.label = result.agent_id
        if self._per_agent[link.label] >= SESSIONS_PER_AGENT:
            link.close(SessionCode.LIMIT_EXCEEDED, "the agent has too many sessions")
            return
        self.links[link] = None
        self._per_agent[link.label] += 1
        _log.info(
            "session established",
            agent=result.agent_id,
            session=result.session_id.hex()[:8],
            peer=link.peer_address,
            services=list(result.services),
            sessions=len(self.links),
        )
        self._hub.add_session(link, result)

    def on_lost(self, link: Link, error: SessionError, streams: list[Stream]) -> None:
        if link in self.links:
            del self.links[link]
            self._per_agent[link.label] -= 1
            self._hub.remove_session(link, error)
            _log.info(
                "session ended",
                agent=link.label,
                session=link.result.session_id.hex()[:8],
                code=error.code.name,
                reason=error.message,
                streams_lost=len(streams),
            )
            for stream in streams:
                if not stream.silent:
                    owner: Any = stream.owner
                    owner.on_session_lost()
        elif error.code is not SessionCode.SHUTDOWN:
            self.refused += 1
            _log.warning(
                "agent refused",
                peer=link.peer_address,
                code=error.code.name,
                reason=getattr(error, "detail", "") or error.message,
            )

    async def _accept(self, connection: ServerConnection) -> None:
        assert isinstance(connection, HubSocket)
        link = Link(
            connection,
            self._make_handshake(self.registered.get),
            self,
            self._hub.wheel,
            asyncio.get_running_loop(),
        )
        link.start()
        await connection.wait_closed()


def _check_path(connection: ServerConnection, request: Request) -> Response | None:
    if request.path != PATH:
        return connection.respond(404, f"Agents connect to {PATH}.\n")
    if SUBPROTOCOL not in [
        item.strip() for value in request.headers.get_all("Sec-WebSocket-Protocol") for item in value.split(",")
    ]:
        return connection.respond(400, f"This hub speaks {SUBPROTOCOL} only.\n")
    return None


def _select_subprotocol(_connection: ServerConnection, _offered: Any) -> Any:
    return SUBPROTOCOL
