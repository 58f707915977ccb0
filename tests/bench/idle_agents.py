"""Many agents in one process, that connect, do the whole handshake and then idle; ends when its stdin does.

    python -m tests.bench.idle_agents ws://127.0.0.1:8081/tunnel KEYS --each 16

KEYS is a folder with `hub.pub`, one public key line, and one private key `<agent id>.key` for each agent.
Prints `ready` once every session stands, and at the end one JSON object: how many were lost meanwhile.
The wire is the real one (the same websocket, handshake, session and liveness code as the agent's); there is
just nothing behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvloop
from websockets.asyncio.client import connect

from protocol.aio.link import Link
from protocol.aio.websocket import OPTIONS, AgentSocket
from protocol.aio.wheel import Wheel
from protocol.errors import SessionError
from protocol.events import Event, PeerDraining, PeerGoodbye
from protocol.flow import MemoryBudget
from protocol.handshake import AgentHandshake
from protocol.keys import PrivateKey, PublicKey, load_private_key, parse_public_line
from protocol.limits import Limits
from protocol.session import Session
from protocol.stream import Stream

AT_ONCE = 32
OPEN_SECONDS = 30.0
SERVICE = "idle"


class Idler:
    """The owner of all links: counts those that stand and those that are lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handlers: Mapping[type[Event], Callable[[Any], None]] = {
            PeerDraining: lambda _event: None,
            PeerGoodbye: lambda _event: None,
        }
        self.budget = MemoryBudget(0)
        self.wheel = Wheel(loop)
        self.waiting: dict[Link, asyncio.Future[None]] = {}
        self.lost = 0
        self._loop = loop

    def make_session(self, _link: Link, result: Any) -> Session:
        return Session(False, Limits(), result.peer_limits, self.budget, self._loop.time())

    def on_established(self, link: Link) -> None:
        self.waiting.pop(link).set_result(None)

    def on_stream_failed(self, _stream: Stream) -> None:
        """There are no streams."""

    def on_lost(self, link: Link, error: SessionError, _streams: list[Stream]) -> None:
        waiting = self.waiting.pop(link, None)
        if waiting is not None:
            waiting.set_exception(error)
        else:
            self.lost += 1

    async def open(self, url: str, agent_id: str, key: PrivateKey, hub_key: PublicKey) -> None:
        """Return once the session stands; raises OSError, SessionError, TimeoutError."""
        options: dict[str, Any] = dict(OPTIONS)
        socket = await connect(
            url, proxy=None, create_connection=AgentSocket, open_timeout=OPEN_SECONDS, **options
        )
        assert isinstance(socket, AgentSocket)
        handshake = AgentHandshake(
            agent_id=agent_id,
            instance_id=os.urandom(16),
            key=key,
            hub_keys=[hub_key],
            services=[SERVICE],
            limits=Limits(),
            nonce=os.urandom(32),
            certificate_hash=None,
        )
        link = Link(socket, handshake, self, self.wheel, self._loop)
        self.waiting[link] = established = self._loop.create_future()
        link.start(handshake.start())
        await asyncio.wait_for(established, OPEN_SECONDS)


async def run(url: str, hub_key: PublicKey, keys: dict[str, PrivateKey], each: int) -> dict[str, int]:
    """Hold `each` sessions for every agent in `keys` until stdin ends."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    idler = Idler(loop)
    gate = asyncio.Semaphore(AT_ONCE)

    async def open_one(agent_id: str, key: PrivateKey) -> None:
        async with gate:
            await idler.open(url, agent_id, key, hub_key)

    async with asyncio.TaskGroup() as group:
        for agent_id, key in keys.items():
            for _ in range(each):
                group.create_task(open_one(agent_id, key))
    print("ready", flush=True)
    await ended.wait()
    idler.wheel.close()
    return {"sessions": len(keys) * each, "lost": idler.lost}


def main() -> None:
    parser = argparse.ArgumentParser(description="Many idle agents")
    parser.add_argument("url")
    parser.add_argument("keys", type=Path)
    parser.add_argument("--each", type=int, default=1, help="sessions of each agent")
    arguments = parser.parse_args()
    hub_key = parse_public_line((arguments.keys / "hub.pub").read_text())
    keys = {file.stem: load_private_key(file) for file in sorted(arguments.keys.glob("*.key"))}
    try:
        result = uvloop.run(run(arguments.url, hub_key, keys, arguments.each))
    except* (OSError, SessionError, TimeoutError) as group:
        error = group.exceptions[0]
        sys.exit(f"idle agents: {type(error).__name__}: {error}")
    print(json.dumps(result), flush=True)
    os._exit(0)  # thousands of closing handshakes would prove nothing


if __name__ == "__main__":
    main()
