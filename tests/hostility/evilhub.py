"""A hub with the pinned key whose every session follows a script: the fully compromised hub."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.hostility.evilsession import EvilSession
from tests.support.hostile import HostileHub
from tests.support.keys import Key
from tests.support.loop import backstage, stop_accepting

Script = Callable[["HubSession"], Awaitable[None]]


class HubSession(EvilSession):
    """One connection of the agent at a hostile hub."""

    def __init__(self, hub: EvilHub, socket: ServerConnection, number: int) -> None:
        super().__init__(socket, number)
        self.hub = hub
        self._server_side = socket

    async def shake(self) -> bool:
        """The proper handshake, and then read on; False: the agent went away."""
        if not await self.hub.shake(self._server_side):
            return False
        self.listen()
        return True


class EvilHub(HostileHub):
    """Every connection of the agent is a session of its own number and follows `script`."""

    def __init__(
        self,
        key: Key,
        agent_key: Key,
        script: Script,
        *,
        port: int,
        name: str = "leeds-1",
        services: Sequence[str] = ("visits",),
    ) -> None:
        self.script = script
        self.begun = 0
        self.ended = 0
        self.failed: list[str] = []
        """Scripts that raised: mistakes of the harness."""
        self.live: set[asyncio.Task[Any]] = set()
        super().__init__(key, agent_key, name, services, port=port)

    async def _serve(self, socket: ServerConnection) -> None:
        number, self.begun = self.begun, self.begun + 1
        session = HubSession(self, socket, number)
        task = asyncio.current_task()
        assert task is not None
        self.live.add(task)
        try:
            await self.script(session)
        except ConnectionClosed:
            pass
        except Exception:
            self.failed.append(f"session {number}: {traceback.format_exc(limit=-4)}")
        finally:
            await session.end()
            self.live.discard(task)
            self.ended += 1

    def close(self) -> None:
        """Take nobody any more and end every session."""

        async def work() -> None:
            await stop_accepting(self._server)
            for task in list(self.live):
                task.cancel()
            if self.live:
                await asyncio.wait(self.live, timeout=10)
            self._server.close()
            await self._server.wait_closed()

        backstage.run(work())
