"""The agent's own objects in the test's event loop, with the hub's half of a session driven by hand."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from protocol.aio.link import Link
from protocol.aio.wheel import Wheel
from protocol.errors import SessionCode, StreamCode
from protocol.events import Event, Offered, OfferState, ResetAnswered
from protocol.flow import MemoryBudget
from protocol.keys import generate, public_line, save_private_key
from protocol.limits import Limits
from protocol.ops.config import parse
from protocol.ops.values import Context
from protocol.session import Session
from protocol.signatures.nonces import Nonces
from protocol.stream import Stream
from tests.support.leaksearch import seed_key_file
from tests.support.toml import merge, to_toml
from tunnel_agent.agent import Agent
from tunnel_agent.assembly import make_service, make_signing, make_upstream
from tunnel_agent.config import AgentConfig

GET = {"method": b"GET", "authority": b"visits.internal", "target": b"/x", "fields": []}


_HUB_KEY = public_line(generate())


def agent_toml(folder: Path, upstream: str = "http://127.0.0.1:9", hubs: Any = None, **tables: Any) -> str:
    """agent.toml with one service, `visits`; `tables` are merged into it."""
    if not (folder / "agent.key").exists():
        save_private_key(generate(), folder / "agent.key")
        seed_key_file(folder / "agent.key")
    hub = {"url": "ws://127.0.0.1:9/tunnel", "public_keys": [_HUB_KEY], "sessions": 1}
    return to_toml(
        merge(
            {
                "agent": {"id": "leeds-1", "key_file": "agent.key"},
                "hubs": hubs if hubs is not None else [hub],
                "services": {"visits": {"upstream": upstream, "allow": ["GET /**", "POST /**"]}},
            },
            tables,
        )
    )


def agent_config(folder: Path, *arguments: Any, **tables: Any) -> AgentConfig:
    """`agent_toml`, read."""
    text = agent_toml(folder, *arguments, **tables)
    return parse(text, AgentConfig, name="agent.toml", context=Context(folder))


def make_agent(config: AgentConfig, wheel: Wheel | None = None, memory: int = 0) -> Agent:
    """An agent of that configuration without sessions. Must be called while the event loop runs."""
    wheel = wheel or Wheel(asyncio.get_running_loop(), 0.005)
    nonces = Nonces(config.limits.signature_window)
    services = {
        name: make_service(
            name,
            table,
            make_upstream(table, wheel, config.limits),
            make_signing(table, config.signers, config.limits, nonces),
        )
        for name, table in config.services.items()
    }
    return Agent(
        config.agent.id,
        services,
        limits=Limits(),
        budget=MemoryBudget(memory),
        wheel=wheel,
        make_handshake=lambda _hub, _seen: cast("Any", None),
        nonces=nonces,
    )


class HandLink:
    """Stands in for a `Link` at the agent: frames reach the hub's half, `hub`, when `turn` is called.

    `events`: what the hub heard. `end`: why the agent closed it, if it did.
    """

    def __init__(self, agent: Agent, services: tuple[str, ...] = ("visits",)) -> None:
        self.loop = asyncio.get_running_loop()
        limits, budget, now = Limits(), MemoryBudget(0), self.loop.time()
        self.agent = agent
        self.hub = Session(True, limits, limits, budget, now)
        self.session = Session(False, limits, limits, budget, now)
        self.result = SimpleNamespace(services=services, refused=(), hub_id="hub-1", session_id=os.urandom(16))
        self.events: list[Event] = []
        self.end: tuple[SessionCode, str] | None = None
        self.drains = 0
        self._handlers = agent.handlers_of(cast("Link", self), cast("Any", self))

    def establish(self) -> HandLink:
        self.agent.link_established(cast("Link", self), cast("Any", self))
        return self

    def hub_drains(self) -> None:
        self.drains += 1

    def wake(self) -> None:
        """The agent's frames wait for `turn`."""

    def close(self, code: SessionCode, message: str) -> None:
        self.end = self.end or (code, message)
        self.agent.link_lost(cast("Link", self), self.session.lost())

    label = "hub-1"
    unsent = 0
    """Bytes that the transport is pretended to hold."""

    async def wait_closed(self) -> None:
        assert self.end is not None, "nobody closes the link"

    def open(self, body: bytes = b"", *, end: bool = True, **parts: Any) -> Stream:
        return self.hub.open(
            self, self.loop.time(), service="visits", request_id=b"r", body=body, end=end, **{**GET, **parts}
        )

    def reset(self, stream: Stream) -> None:
        self.hub.reset(stream, StreamCode.DEADLINE, self.loop.time(), confirm=True)

    def turn(self) -> None:
        """Carry what both halves have to say."""
        while self.hub.has_output() or self.session.has_output():
            now = self.loop.time()
            message = self.hub.data_to_send([])
            for event in self.session.receive(message, now) if message and self.end is None else ():
                if event.stream is None or not event.stream.silent:
                    self._handlers[type(event)](event)
            message = self.session.data_to_send([])
            self.events += self.hub.receive(message, now) if message else ()

    def of(self, kind: type[Event]) -> list[Any]:
        """What the hub heard of this kind."""
        self.turn()
        return [event for event in self.events if type(event) is kind]

    @property
    def confirmed(self) -> list[int]:
        """The codes with which the agent answered the hub's RESETs."""
        return [event.code for event in self.of(ResetAnswered)]

    @property
    def offers(self) -> list[tuple[str, OfferState, int | None]]:
        return [(event.service, event.state, event.limit) for event in self.of(Offered)]
