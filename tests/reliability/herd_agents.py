"""Many agents in one process, each with the real agent's supervisor, dialling and session; no upstreams.

    python -m tests.reliability.herd_agents ws://127.0.0.1:8081/tunnel KEYS

KEYS is a folder with `hub.pub`, one public key line, and one private key `<agent id>.key` for each agent.
Command on stdin: `back`, which waits until every session was established after a given moment.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from protocol.aio.wheel import Wheel
from protocol.flow import MemoryBudget
from protocol.handshake import AgentHandshake
from protocol.keys import PrivateKey, load_private_key, parse_public_line
from protocol.limits import Limits
from protocol.ops import log, version
from protocol.ops.urls import parse_hub_url
from protocol.signatures.nonces import Nonces
from tests.bench.idle_agents import SERVICE
from tests.reliability.worker import serve
from tunnel_agent.agent import Agent
from tunnel_agent.config import Hub
from tunnel_agent.slot import Slot
from tunnel_agent.supervisor import Supervisor

LONGEST_WAIT = 10.0
"""The default of `limits.reconnect_max`."""
LOOK = 0.01


class Herd:
    """All agents, their supervisors, and the worker's commands."""

    def __init__(self, hub: Hub, keys: dict[str, PrivateKey]) -> None:
        self._loop = asyncio.get_running_loop()
        self._wheel = Wheel(self._loop)
        self._supervisors = [self._supervisor(hub, name, key) for name, key in keys.items()]
        for supervisor in self._supervisors:
            supervisor.start()
        self.handlers = {"back": self.back}

    def _supervisor(self, hub: Hub, name: str, key: PrivateKey) -> Supervisor:
        agent = Agent(
            name,
            {},
            limits=Limits(),
            budget=MemoryBudget(0),
            wheel=self._wheel,
            make_handshake=partial(_handshake, name, os.urandom(16), key),
            nonces=Nonces(60.0),
        )
        return Supervisor(agent, (hub,), LONGEST_WAIT)

    @property
    def _slots(self) -> list[Slot]:
        return [slot for supervisor in self._supervisors for slot in supervisor.slots]

    async def back(self, since: float, patience: float) -> dict[str, Any]:
        """How many sessions were established after `since`, and when the last of them was, once all are."""
        slots = self._slots
        end = self._loop.time() + patience
        while True:
            stood = [slot.link.established_at for slot in slots if slot.link is not None]
            anew = [moment for moment in stood if moment >= since]
            if len(anew) == len(slots) or self._loop.time() > end:
                return {"sessions": len(slots), "back": len(anew), "last": max(anew, default=None)}
            await asyncio.sleep(LOOK)


def _handshake(name: str, instance: bytes, key: PrivateKey, hub: Hub, seen: bytes | None) -> AgentHandshake:
    return AgentHandshake(
        agent_id=name,
        instance_id=instance,
        key=key,
        hub_keys=hub.public_keys,
        services=(SERVICE,),
        limits=Limits(),
        nonce=os.urandom(32),
        certificate_hash=seen,
        software="herd",
    )


async def run(url: str, folder: Path) -> None:
    log.setup("json", "error")
    version.build()
    hub = Hub(
        url=parse_hub_url(url),
        public_keys=(parse_public_line((folder / "hub.pub").read_text()),),
        sessions=1,
        proxy="",
    )
    files = await asyncio.to_thread(lambda: sorted(folder.glob("*.key")))
    herd = Herd(hub, {file.stem: load_private_key(file) for file in files})
    await serve(herd.handlers, {})


def main() -> None:
    parser = argparse.ArgumentParser(description="Many agents that reconnect as real ones do")
    parser.add_argument("url")
    parser.add_argument("keys", type=Path)
    parser.add_argument(
        "--idle", action="store_true", help="run on what the other processes leave of the processors"
    )
    arguments = parser.parse_args()
    if arguments.idle:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    uvloop.run(run(arguments.url, arguments.keys))


if __name__ == "__main__":
    main()
