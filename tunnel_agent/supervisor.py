"""Keeps the configured number of sessions to each hub, for ever, the first connect included.

One `Slot` per session: dial, run, wait with full jitter, again. The wait grows from 0.2 s to `reconnect_max` and
starts over after a session that lasted a stable minute.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from protocol.aio.link import HANDSHAKE_TIMEOUT, Link
from protocol.errors import SessionCode, SessionError, TunnelError
from protocol.events import Event
from protocol.ops import log
from protocol.session import Session
from protocol.stream import Stream

from .dial import DialError, dial

if TYPE_CHECKING:
    from protocol.handshake import AgentHandshake, AgentResult

    from .agent import Agent
    from .config import Hub as HubConfig

FIRST_WAIT: Final = 0.2
STABLE: Final = 60.0
"""Seconds after which a session counts as stable: its loss starts the waits from the beginning."""

_log = log.get("supervisor")


class SessionEnded(TunnelError):
    """An attempt or a session is over and another is due."""


class Attempt:
    """One dialled link: its owner from the handshake to the end."""

    def __init__(self, slot: Slot, agent: Agent) -> None:
        self._slot = slot
        self._agent = agent
        self.handlers: Mapping[type[Event], Callable[[Any], None]] = {}
        self.over: asyncio.Future[SessionError] = agent.loop.create_future()
        """Done when the slot should look for another session."""

    def make_session(self, _link: Link, result: AgentResult) -> Session:
        agent = self._agent
        return Session(False, agent.limits, result.peer_limits, agent.budget, agent.loop.time())

    def on_established(self, link: Link) -> None:
        result: AgentResult = link.result
        link.label = result.hub_id
        self.handlers = self._agent.handlers_of(link, self)
        self._slot.link = link
        self._slot.last_error = ""
        self._agent.link_established(link, self)
        _log.info(
            "session established",
            hub=self._slot.hub.url,
            hub_id=result.hub_id,
            session=result.session_id.hex()[:8],
            services=list(result.services),
        )

    def on_lost(self, link: Link, error: SessionError, streams: list[Stream]) -> None:
        if self._slot.link is link:
            self._slot.link = None
        self._agent.link_lost(link, streams)
        self._end(error)

    def hub_drains(self) -> None:
        """The hub takes nothing new: look for another session while this one finishes."""
        self._end(SessionError(SessionCode.SHUTDOWN, "the hub drains"))

    def _end(self, error: SessionError) -> None:
        if not self.over.done():
            self.over.set_result(error)


class Slot:
    """One session to one hub, made anew for ever."""

    def __init__(self, agent: Agent, hub: HubConfig, number: int, longest_wait: float) -> None:
        self._agent = agent
        self._longest_wait = longest_wait
        self._number = number
        self.hub = hub
        self.link: Link | None = None
        self.last_error = ""
        self.reconnects = 0

    @property
    def name(self) -> str:
        return f"{self.hub.url}#{self._number}"

    @property
    def up(self) -> bool:
        return self.link is not None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(SessionEnded),
                wait=wait_random_exponential(multiplier=FIRST_WAIT, max=self._longest_wait),
                before_sleep=self._before_sleep,
            )
            async for attempt in retrying:
                with attempt:
                    await self._attempt()
            await asyncio.sleep(random.uniform(0, FIRST_WAIT))  # noqa: S311  # jitter

    async def _attempt(self) -> None:
        """Dial and run one session. Returns after a stable one, raises SessionEnded after any other."""
        loop = self._agent.loop
        attempt = Attempt(self, self._agent)
        try:
            link = await dial(self.hub, self._make_handshake, attempt, self._agent.wheel)
        except DialError as error:
            self.last_error = f"{error.stage}: {error}"
            raise SessionEnded(self.last_error) from None
        try:
            ended = await attempt.over
        except asyncio.CancelledError:
            link.close(SessionCode.SHUTDOWN, "the agent is shutting down")
            raise
        self.last_error = f"{ended.code.name.lower()}: {ended.message}"
        if link.established_at and loop.time() - link.established_at >= STABLE:
            _log.warning("session ended", hub=self.hub.url, session=self._number, reason=self.last_error)
            return
        raise SessionEnded(self.last_error)

    def _make_handshake(self, seen: bytes | None) -> AgentHandshake:
        return self._agent.make_handshake(self.hub, seen)

    def _before_sleep(self, state: RetryCallState) -> None:
        self.reconnects += 1
        wait = state.next_action.sleep if state.next_action is not None else 0.0
        _log.warning(
            "no session",
            hub=self.hub.url,
            session=self._number,
            reason=self.last_error,
            attempt=state.attempt_number,
            next_in=round(wait, 2),
        )


class Supervisor:
    """All slots of one agent. `start`, then `stop`."""

    def __init__(self, agent: Agent, hubs: tuple[HubConfig, ...], longest_wait: float) -> None:
        self.slots = [Slot(agent, hub, number, longest_wait) for hub in hubs for number in range(hub.sessions)]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(slot.run(), name=f"slot {slot.name}") for slot in self.slots]

    async def stop(self) -> None:
        """Cancel every slot; their links say goodbye. Bounded by the handshake timeout."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=HANDSHAKE_TIMEOUT)
