"""One event loop in a thread of its own: upstreams, relays and proxies live there, tests stay synchronous.

Module- and session-scoped fixtures can keep servers running across tests this way, whatever loop a test has.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from websockets.asyncio.server import Server

T = TypeVar("T")


class BackgroundLoop:
    """Starts its thread on first use. Call `close` at the end of the test run."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="backstage", daemon=True)
                self._thread.start()
            return self._loop

    def run(self, work: Awaitable[T], timeout: float = 30.0) -> T:
        """Run `work` in the loop and return its result."""

        async def whole() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(whole(), self.loop).result(timeout)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a plain function in the loop's thread and return its result."""

        async def whole() -> T:
            return function(*args)

        return self.run(whole())

    def close(self) -> None:
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return

        async def last() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(last(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


backstage = BackgroundLoop()


async def stop_accepting(server: asyncio.Server | Server) -> None:
    """Before `server.close()`: let in whoever is just being accepted; asyncio would lose and leak the socket."""
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    for _ in range(3):
        await asyncio.sleep(0)


def close_server(server: asyncio.Server) -> None:
    """Close a server of `backstage`. Connections that stand are the caller's."""

    async def work() -> None:
        await stop_accepting(server)
        server.close()

    backstage.run(work())
