"""One session to one hub, made anew for ever.

A session that lasted is followed by the next at once, after a short jitter; so is one whose hub drains, and the
two overlap. After failures, and sessions too short to be of use, attempts begin further and further apart: full
jitter from `FIRST_WAIT` to the longest wait, counted from the beginning of the attempt before, so that an attempt
that hangs (bounded by `ATTEMPT_TIMEOUT`) does not add to it. A hub that returns is found within the longest wait
and one dial, whatever happened meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from protocol.aio.link import Link, Owner
from protocol.aio.wheel import Wheel
from protocol.errors import SessionCode, SessionError, StreamCode, TunnelError
from protocol.events import Event
from protocol.ops import log
from protocol.session import Session
from protocol.stream import Stream

from .dial import DialError, dial
from .enrolling import forget_token

if TYPE_CHECKING:
    from protocol.handshake import AgentHandshake, AgentResult

    from .agent import Agent
    from .config import Hub as HubConfig

FIRST_WAIT: Final = 0.2
"""Seconds: the most after the first failure; doubles with each that follows."""

JITTER: Final = 0.1
"""Seconds: the most before the attempt that follows a session that lasted."""

LASTED: Final = 0.5
"""Seconds from which a session counts as one that lasted; what ends sooner counts as a failure."""

ATTEMPT_TIMEOUT: Final = 8.0
"""Seconds for connection, proxy, TLS, websocket and handshake together."""

STOP_TIMEOUT: Final = 5.0
"""Seconds that a cancelled slot gets to end."""

Dial = Callable[["HubConfig", "Callable[[bytes | None], AgentHandshake]", Owner, Wheel], Awaitable[Link]]

_log = log.get("supervisor")


class SessionEnded(TunnelError):
    """An attempt failed, or its session was too short: another is due after a wait."""


class Attempt:
    """One dialled link: its owner from the handshake to the end."""

    def __init__(self, slot: Slot, agent: Agent) -> None:
        self._slot = slot
        self._agent = agent
        self._link: Link | None = None
        self.handlers: Mapping[type[Event], Callable[[Any], None]] = {}
        self.established: asyncio.Future[None] = agent.loop.create_future()
        """Done when the handshake is over, for better or worse."""
        self.over: asyncio.Future[SessionError] = agent.loop.create_future()
        """Done when the slot should look for another session."""

    def make_session(self, _link: Link, result: AgentResult) -> Session:
        agent = self._agent
        return Session(False, agent.limits, result.peer_limits, agent.budget, agent.loop.time())

    def on_established(self, link: Link) -> None:
        slot = self._slot
        if slot.ending or self._agent.draining:  # no new work any more
            link.close(SessionCode.SHUTDOWN, "the agent is shutting down")
            return
        result: AgentResult = link.result
        link.label = result.hub_id
        self.handlers = self._agent.handlers_of(link, self)
        self._link = slot.link = link
        slot.due = math.inf
        slot.last_error = ""
        self._agent.audit.write(
            "session opened",
            hub=result.hub_id,
            url=slot.hub.url,
            session=result.session_id.hex()[:8],
            key=result.key.fingerprint,
        )
        self._agent.link_established(link, self)
        if result.token_id is not None:
            forget_token(slot.hub, result.token_id)
        _log.info(
            "session established",
            hub=slot.hub.url,
            hub_id=result.hub_id,
            session=result.session_id.hex()[:8],
            services=list(result.services),
        )
        if result.refused:
            _log.warning("the hub does not know these services of this agent", services=list(result.refused))
        self._decided()

    def on_stream_failed(self, stream: Stream) -> None:
        owner: Any = stream.owner
        if owner is not None:
            owner.cancel(StreamCode.INTERNAL)

    def on_lost(self, link: Link, error: SessionError, streams: list[Stream]) -> None:
        self._agent.link_lost(link, streams)
        self._audit_end(link, error, len(streams))
        self._end(error)

    def _audit_end(self, link: Link, error: SessionError, streams: int) -> None:
        what = {"url": self._slot.hub.url, "code": error.code.name, "reason": error.message}
        if self._link is link:
            session = link.result.session_id.hex()[:8]
            self._agent.audit.write("session ended", hub=link.label, session=session, **what, streams_lost=streams)
        elif error.code not in (SessionCode.SHUTDOWN, SessionCode.INTERNAL):
            self._agent.audit.write("session refused", **what)

    def hub_drains(self) -> None:
        """The hub takes nothing new: look for another session while this one finishes."""
        self._end(SessionError(SessionCode.SHUTDOWN, "the hub drains"))

    def _end(self, error: SessionError) -> None:
        if self._slot.link is self._link:
            self._slot.link = None
        if not self.over.done():
            self.over.set_result(error)
        self._decided()

    def _decided(self) -> None:
        if not self.established.done():
            self.established.set_result(None)


class Slot:
    """Keeps one session to `hub`. `start`; then `end` for good, and `stop`."""

    def __init__(self, agent: Agent, hub: HubConfig, number: int, longest_wait: float, dial: Dial = dial) -> None:
        self._agent = agent
        self._dial = dial
        self._backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=longest_wait)
        self._began = 0.0
        self._task: asyncio.Task[None] | None = None
        self.number = number
        self.hub = hub
        self.link: Link | None = None
        """The session that takes new streams; not one whose hub drains."""
        self.ending = False
        self.due = math.inf
        """When, by the loop's clock, its next step comes at the latest; no time while a session is up."""
        self.dialling = False
        self.last_error = ""
        self.reconnects = 0

    @property
    def up(self) -> bool:
        return self.link is not None

    def start(self) -> None:
        self.due = self._agent.loop.time()
        self._task = asyncio.create_task(self._run(), name=f"slot {self.hub.url}#{self.number}")

    def end(self) -> None:
        """Dial no more, and give up a dial that is under way. A session that is up stays."""
        self.ending = True
        if self.link is None and self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """End with a goodbye to the hub; returns at once."""
        self.ending = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_TIMEOUT)

    async def _run(self) -> None:
        while not self.ending:
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(SessionEnded), wait=self._wait, before_sleep=self._before_sleep
            )
            async for attempt in retrying:
                with attempt:
                    await self._attempt()
            if not self.ending:
                self.reconnects += 1
                await asyncio.sleep(random.uniform(0, JITTER))  # noqa: S311  # jitter

    async def _attempt(self) -> None:
        """Dial and run one session. Returns after one that lasted, raises SessionEnded after any other."""
        attempt = Attempt(self, self._agent)
        link: Link | None = None
        self._began = self._agent.loop.time()
        self.due = self._began + ATTEMPT_TIMEOUT
        self.dialling = True
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT):
                link = await self._dial(self.hub, self._make_handshake, attempt, self._agent.wheel)
                await attempt.established
            self.dialling = False
            ended = await attempt.over
            self.due = self._agent.loop.time()
        except DialError as error:
            self.last_error = f"{error.stage}: {error}"
        except TimeoutError:
            stage = "connect" if link is None else "handshake"
            self.last_error = f"{stage}: no session with the hub within {ATTEMPT_TIMEOUT:.0f} s"
            if link is not None:
                link.close(SessionCode.HANDSHAKE_TIMEOUT, "the handshake took too long")
        except asyncio.CancelledError:
            if link is not None:
                link.close(SessionCode.SHUTDOWN, "the agent is shutting down")
            raise
        except Exception as error:  # whatever it is, the hub must be dialled again
            self._agent.loop.call_exception_handler({"message": "dialling failed", "exception": error})
            self.last_error = f"internal: {type(error).__name__}"
        else:
            self._note_end(link, ended)
            return
        finally:
            self.dialling = False
        raise SessionEnded(self.last_error)

    def _note_end(self, link: Link, ended: SessionError) -> None:
        """Raises SessionEnded unless the session lasted, or no other is wanted."""
        self.last_error = f"{ended.code.name.lower()}: {ended.message}"
        if ended.code is SessionCode.DUPLICATE:
            _log.error(
                "another machine is connected with this agent's id; give each machine an id and a key of its own, "
                'or write duplicates = "allow" for this agent in the hub\'s file',
                hub=self.hub.url,
                agent=self._agent.id,
            )
        elif self.ending:
            return
        elif link.established_at and self._agent.loop.time() - link.established_at >= LASTED:
            _log.warning("session ended", hub=self.hub.url, session=self.number, reason=self.last_error)
            return
        raise SessionEnded(self.last_error)

    def _make_handshake(self, seen: bytes | None) -> AgentHandshake:
        return self._agent.make_handshake(self.hub, seen)

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next attempt, so that it begins as long after the last one as was drawn."""
        return max(0.0, self._backoff(state) - (self._agent.loop.time() - self._began))

    def _before_sleep(self, state: RetryCallState) -> None:
        self.reconnects += 1
        wait = state.next_action.sleep if state.next_action is not None else 0.0
        self.due = self._agent.loop.time() + wait
        _log.warning(
            "no session",
            hub=self.hub.url,
            session=self.number,
            reason=self.last_error,
            attempt=state.attempt_number,
            next_in=round(wait, 2),
        )
