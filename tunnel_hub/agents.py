"""The agents' side of the hub: a websocket listener at /tunnel, the handshake, and each session's events.

A hostile or broken agent loses its own session with a stated code; its streams fail as SESSION_LOST and
nothing else notices.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from protocol.aio.link import HANDSHAKE_TIMEOUT, Link
from protocol.aio.websocket import OPTIONS, HubSocket
from protocol.errors import SessionCode, SessionError
from protocol.events import Offered, OfferState
from protocol.handshake import HubHandshake
from protocol.limits import SUBPROTOCOL
from protocol.ops import log, sockets
from protocol.ops.clock import HARMLESS, behind
from protocol.ops.seldom import Seldom
from protocol.ops.values import Address
from protocol.stream import Stream

from .farewells import Farewells
from .guest import Guest
from .pacer import Pacer
from .tidy import Tidy

if TYPE_CHECKING:
    from protocol.handshake import HubResult, Registration

    from .config import Agent as AgentConfig
    from .hub import Hub
    from .instances import Instance
    from .registrar import Registrar

PATH: Final = "/tunnel"
SESSIONS_PER_AGENT: Final = 128

REVOKED_PATIENCE: Final = 4.0
"""Seconds that requests on the sessions of a revoked agent or key may still take."""

PROBE_PATIENCE: Final = 3.0
"""Seconds in which an instance must show life when another one comes in its place."""

_log = log.get("agents")


class AgentListener:
    """Accepts agents. `start`, then `drain` and `close` at the end."""

    def __init__(
        self,
        hub: Hub,
        make_handshake: Callable[[Registrar], HubHandshake],
        registrar: Registrar,
        agents: Mapping[str, AgentConfig],
        *,
        handshakes_per_second: float = 200.0,
    ) -> None:
        self._hub = hub
        self.make_handshake = make_handshake
        """For connections to come; may be replaced."""
        self._agents = agents
        self._registrar = registrar
        registrar.on_change = self._look_at_keys
        self.links: dict[Link, None] = {}
        self.refused: Counter[SessionCode] = Counter()
        self._seldom = Seldom()
        self._server: Server | None = None
        self._shaking: set[Link] = set()
        self._per_agent: Counter[str] = Counter()
        self._pacer = Pacer(hub.loop, handshakes_per_second, hub.busy)
        self._draining = False
        self._guest = Guest(self, hub)
        self._farewell = Farewells(hub.loop)
        self._tidy = Tidy(hub.wheel, hub.busy)
        self.register(agents)

    def register(self, agents: Mapping[str, AgentConfig]) -> None:
        """Which agents may connect from now on; sessions of those that may not any more come to an end."""
        self._agents = agents
        self._registrar.use(agents)
        self._hub.may_serve(
            {agent_id: known.services for agent_id, known in self.registered.items()},
            {agent_id: agent.concurrency for agent_id, agent in agents.items() if agent.concurrency is not None},
        )
        self._look_at_keys()

    @property
    def registered(self) -> Mapping[str, Registration]:
        """What is known about each agent of the file."""
        return self._registrar.registered

    def _look_at_keys(self) -> None:
        """Other keys may be good now: sessions of those that are not come to an end."""
        for link in list(self.links):
            if not self._may_stay(link.result):
                self._revoke(link)

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None) -> Address:
        """Serve agents on a listening socket; returns where."""
        self._server = await serve(
            self._accept,
            sock=listener,
            ssl=tls,
            create_connection=HubSocket,
            process_request=self._check_request,
            origins=[None],  # a browser says where it comes from; agents do not
            select_subprotocol=_select_subprotocol,
            server_header=None,
            open_timeout=HANDSHAKE_TIMEOUT,
            **OPTIONS,
        )
        self._tidy.start()
        return sockets.bound(listener)

    @property
    def listening(self) -> bool:
        """Whether agents can come."""
        return self._server is not None and self._server.is_serving()

    def drain(self) -> None:
        """Accept nobody any more and ask the agents to look for another session; what runs goes on. Idempotent.

        Not all at once, so that they do not come to the successor as a herd; first those who serve the most.
        """
        if self._draining:
            return
        self._draining = True
        if self._server is not None:
            self._server.close(close_connections=False)
        self._farewell.tell(self.links)

    def send_away(self) -> None:
        """An operator drains the hub: as `drain`, but the listener stays, for `welcome`."""
        self._farewell.tell(self.links)

    def welcome(self) -> None:
        """Take `send_away` back; sessions that have heard of it are to be replaced (`retire.py`)."""
        self._farewell.tell(())

    @property
    def telling(self) -> bool:
        """Whether some agents are still to be told."""
        return self._farewell.telling

    async def close(self) -> None:
        """End all sessions and stop listening; bounded by the websockets' close timeout."""
        self.drain()
        await self._farewell.end([*self.links, *self._shaking])
        if self._server is not None:
            await self._server.wait_closed()

    # -- Links ----------------------------------------------------------------------------------------

    def established(self, link: Link) -> None:
        """A handshake succeeded."""
        self._shaking.discard(link)
        result: HubResult = link.result
        link.label = result.agent_id
        if self._per_agent[link.label] >= SESSIONS_PER_AGENT:
            link.close(SessionCode.LIMIT_EXCEEDED, "the agent has too many sessions")
            return
        if self._draining or self._hub.switches.draining is not None:
            link.close(SessionCode.SHUTDOWN, "the hub is shutting down")
            return
        if not self._may_stay(result):
            link.close(SessionCode.NOT_REGISTERED, "the agent's key was taken away while it shook hands")
            return
        if not self._alone(link, result):
            return
        self.links[link] = None
        self._per_agent[link.label] += 1
        self._hub.sessions_established += 1
        _log.info(
            "session established",
            agent=result.agent_id,
            session=result.session_id.hex()[:8],
            instance=result.instance_id.hex()[:8],
            peer=link.peer_address,
            services=list(result.services),
            sessions=len(self.links),
        )
        self._hub.last_ends.pop(link.label, None)
        if link.skew is not None and abs(link.skew) > HARMLESS:
            _log.warning("the agent's clock is off", agent=result.agent_id, ahead_seconds=round(link.skew))
        self._hub.audit.write(
            "session opened",
            agent=result.agent_id,
            session=result.session_id.hex()[:8],
            instance=result.instance_id.hex()[:8],
            peer=link.peer_address,
            key=result.key.fingerprint,
        )
        self._hub.add_session(link, result)
        self._tidy.came(len(self.links))

    def lost(self, link: Link, error: SessionError, streams: list[Stream]) -> None:
        """A link is over; its streams fail, or go on elsewhere."""
        self._shaking.discard(link)
        if link in self.links:
            del self.links[link]
            self._tidy.went(len(self.links))
            self._per_agent[link.label] -= 1
            self._hub.sessions_ended[link.label, error.code] += 1
            self._hub.last_ends[link.label] = error.code
            self._hub.remove_session(link, link.result)
            _log.info(
                "session ended",
                agent=link.label,
                session=link.result.session_id.hex()[:8],
                code=error.code.name,
                reason=error.message,
                streams_lost=len(streams),
            )
            self._hub.audit.write(
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
                    try:
                        owner.on_session_lost()
                    except Exception as fault:  # one exchange's; the others are to hear of it all the same
                        self._hub.loop.call_exception_handler(
                            {"message": "an exchange failed", "exception": fault}
                        )
        elif error.code is not SessionCode.SHUTDOWN:
            self.refused[error.code] += 1
            reason = getattr(error, "detail", "") or error.message
            left_out = self._seldom.leftover(error.code.name, self._hub.loop.time())
            if left_out is not None:
                more = {"left_out": left_out} if left_out else {}
                _log.warning("agent refused", peer=link.peer_address, code=error.code.name, reason=reason, **more)
            self._hub.audit.write(
                "session refused", agent=link.label, peer=link.peer_address, code=error.code.name, reason=reason
            )

    def _may_stay(self, result: HubResult) -> bool:
        """Whether agent and key are registered now."""
        known = self.registered.get(result.agent_id)
        return known is not None and result.key in known.public_keys

    def _alone(self, link: Link, result: HubResult) -> bool:
        """Whether the link may stay beside other instances with its agent id; they are reported in any case."""
        instances = self._hub.instances
        others = instances.others(result.agent_id, result.instance_id)
        known = instances.find(result.agent_id, result.instance_id) is not None
        if not others or known or not (result.services or result.refused):
            return True
        return self._may_join(link, result, others)

    def offered(self, link: Link, event: Offered) -> None:
        """An agent says how it serves a service. Who came without any, as a check does, joins in earnest now."""
        result: HubResult = link.result
        instance = self._hub.instances.find(result.agent_id, result.instance_id)
        if instance is not None and not instance.offers and event.state is not OfferState.WITHDRAWN:
            others = self._hub.instances.others(result.agent_id, result.instance_id)
            if others and not self._may_join(link, result, others):
                return
        self._hub.on_offered(result, event)

    def _may_join(self, link: Link, result: HubResult, others: list[Instance]) -> bool:
        """Whether an instance may stay beside `others`; if not, its link is closed."""
        self._hub.instances.duplicates[result.agent_id] += 1
        refuse = self._agents[result.agent_id].duplicates == "refuse"
        _log.warning(
            "a second instance of this agent: a restart not noticed yet, or a copy of its machine",
            agent=result.agent_id,
            instance=result.instance_id.hex()[:8],
            peer=link.peer_address,
            others=[other.id.hex()[:8] for other in others],
            refused=refuse,
        )
        if not refuse:
            return True
        for other in others:
            for each in list(other.links):
                self._probe(each)
        link.close(
            SessionCode.DUPLICATE,
            f"another instance of the agent {result.agent_id} is connected, and the hub allows only one",
        )
        return False

    def _probe(self, link: Link) -> None:
        """End the link unless it shows life soon: its machine may be gone without a word."""
        asked = self._hub.loop.time()
        link.session.probe(asked)
        link.wake()

        def look() -> None:
            if link in self.links and link.session.liveness.heard < asked:
                link.close(SessionCode.SILENT, "no sign of life when another instance came")

        self._hub.wheel.after(PROBE_PATIENCE, look)

    def _revoke(self, link: Link) -> None:
        """Choose the link no more, and end it once its requests are over, within bounds."""
        hub = self._hub
        hub.remove_session(link, link.result)
        end = hub.loop.time() + REVOKED_PATIENCE

        def look() -> None:
            if link in self.links:
                if link.session.outstanding and hub.loop.time() < end:
                    hub.wheel.after(0.1, look)
                else:
                    link.close(SessionCode.NOT_REGISTERED, "the agent's key is not registered any more")

        look()

    # -- Connections ----------------------------------------------------------------------------------

    async def _accept(self, connection: ServerConnection) -> None:
        assert isinstance(connection, HubSocket)
        link = Link(
            connection,
            self.make_handshake(self._registrar),
            self._guest,
            self._hub.wheel,
            asyncio.get_running_loop(),
        )
        link.skew = connection.skew
        self._shaking.add(link)
        link.start()
        await connection.wait_closed()

    async def _check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, HubSocket)
        dates = request.headers.get_all("Date")
        connection.skew = behind(dates[0], time.time()) if dates else None
        if request.path != PATH:
            return connection.respond(404, f"Agents connect to {PATH}.\n")
        if SUBPROTOCOL not in [
            item.strip()
            for value in request.headers.get_all("Sec-WebSocket-Protocol")
            for item in value.split(",")
        ]:
            return connection.respond(400, f"This hub speaks {SUBPROTOCOL} only.\n")
        if self._hub.switches.draining is not None:
            return connection.respond(503, "An operator drains this hub; connect to another one.\n")
        if not await self._pacer.turn():
            return connection.respond(503, "Too many agents connect at once; come back soon.\n")
        return None


def _select_subprotocol(_connection: ServerConnection, _offered: Any) -> Any:
    return SUBPROTOCOL
