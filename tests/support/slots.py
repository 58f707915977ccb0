"""What a slot of the supervisor deals with, without any network: links, an agent, and the way to a hub."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from protocol.errors import SessionCode, SessionError
from protocol.ops.audit import Audit

DIAL = 0.05
"""Seconds that a dial takes while all is well."""


class FakeLink:
    """A link as a slot uses it."""

    def __init__(self, owner: Any, hub: Any) -> None:
        self.owner = owner
        self.hub = hub
        self.loop = asyncio.get_running_loop()
        self.established_at = 0.0
        self.lost = False
        self.label = ""
        self.result = SimpleNamespace(
            hub_id="hub-1",
            session_id=b"\0" * 16,
            services=("visits",),
            refused=(),
            key=hub.public_keys[0],
            token_id=None,
        )

    def establish(self) -> None:
        self.established_at = self.loop.time()
        self.owner.on_established(self)

    def close(self, code: SessionCode, message: str) -> None:
        self.lose(SessionError(code, message))

    def lose(self, error: SessionError | None = None) -> None:
        if not self.lost:
            self.lost = True
            self.owner.on_lost(self, error or SessionError(SessionCode.INTERNAL, "the connection was lost"), [])


class Noted(Audit):
    """An audit that keeps its events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def write(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))


class FakeAgent:
    """What a slot asks of the agent; notes when sessions begin."""

    id = "leeds-1"

    def __init__(self) -> None:
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self.wheel = None
        self.audit = Noted()
        self.links: set[Any] = set()
        self.began: list[float] = []
        self.served = asyncio.Event()
        self.sessions_established: Counter[str] = Counter()
        self.sessions_ended: Counter[tuple[str, SessionCode]] = Counter()
        self.reconnects: Counter[tuple[str, str]] = Counter()

    def handlers_of(self, *_: Any) -> dict[Any, Any]:
        return {}

    def link_established(self, link: Any, _: Any) -> None:
        self.links.add(link)
        self.served.set()
        self.began.append(self.loop.time())

    def link_lost(self, link: Any, _: Any) -> None:
        self.links.discard(link)
        if not self.links:
            self.served.clear()

    @property
    def up(self) -> int:
        return len(self.links)


class Network:
    """The way to the hub. `way` says what a dial meets; those that hang go on hanging when it changes."""

    def __init__(self) -> None:
        self.way: Callable[[FakeLink], Awaitable[None]] = works
        self.dials: list[float] = []
        self.links: list[FakeLink] = []

    async def dial(self, hub: Any, _make: Any, owner: Any, _wheel: Any) -> Any:
        loop = asyncio.get_running_loop()
        self.dials.append(loop.time())
        link = FakeLink(owner, hub)
        await self.way(link)
        self.links.append(link)
        return link


async def works(link: FakeLink) -> None:
    await asyncio.sleep(DIAL)
    link.loop.call_later(DIAL, link.establish)


async def up(agent: FakeAgent, within: float) -> float:
    """Wait until a session stands; how long that took."""
    loop = agent.loop
    began = loop.time()
    async with asyncio.timeout(within):
        await agent.served.wait()
    return loop.time() - began
