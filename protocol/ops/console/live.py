"""Pages that renew themselves, by server-sent events: one look a second for everybody who looks at the same.

    live = Live()
    live.stream("overview", render)      # the response of `/events`
    live.stop()

`render()` gives the page's parts as HTML by their ids. It is called once a second while somebody looks at that
view, and not at all while nobody does; only parts that have changed are sent. Whoever is slow misses states:
nothing is queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final, cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

LISTENERS_MAX: Final = 16
"""Pages open at once; others are told to come back later, and show what they showed when they were loaded."""

EVERY: Final = 1.0
"""Seconds between two looks."""

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a comment is sent, so that a page that is gone is noticed."""

LIFETIME: Final = 3600.0
"""Seconds after which the browser must connect anew."""

TAKE_TIMEOUT = 60.0
"""Seconds in which a listener must take an event; one that does not makes room for others."""

Render = Callable[[], Mapping[str, str]]


class _Stream(StreamingResponse):
    """Ends when it is not read."""

    async def stream_response(self, send: Send) -> None:
        async def bounded(message: Message) -> None:
            async with asyncio.timeout(TAKE_TIMEOUT):
                await send(message)

        try:
            await super().stream_response(bounded)
        except TimeoutError:
            await cast("AsyncGenerator[bytes, None]", self.body_iterator).aclose()


class _View:
    """One page that somebody looks at."""

    def __init__(self, render: Render) -> None:
        self.render = render
        self.listeners = 0
        self.turn = 0
        self.parts: dict[str, tuple[str, int]] = {}
        """HTML, and the turn in which it became so."""
        self.changed = asyncio.Event()

    def look(self) -> None:
        turn = self.turn + 1
        fresh = self.render()
        for name, html in fresh.items():
            known = self.parts.get(name)
            if known is None or known[0] != html:
                self.parts[name] = html, turn
                self.turn = turn
        if self.turn == turn:
            waiting, self.changed = self.changed, asyncio.Event()
            waiting.set()

    def since(self, turn: int) -> dict[str, str]:
        return {name: html for name, (html, at) in self.parts.items() if at > turn}


class Live:
    """One per admin listener. Call `stop` at the end."""

    def __init__(self, *, listeners_max: int = LISTENERS_MAX, every: float = EVERY) -> None:
        self._listeners_max = listeners_max
        self._every = every
        self._views: dict[str, _View] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def listeners(self) -> int:
        """Pages that are open now."""
        return sum(view.listeners for view in self._views.values())

    def stream(self, view: str, render: Render) -> StreamingResponse:
        """The events of one view, which goes by `view`.

        Raises:
            HTTPException: 503 when too many pages are open, or the program stops.
        """
        if self._stopped or self.listeners >= self._listeners_max:
            raise HTTPException(503, "Too many pages are open; load this one again later.", {"Retry-After": "30"})
        return _Stream(self._events(view, render), media_type="text/event-stream")

    def stop(self) -> None:
        """End all streams. Idempotent."""
        self._stopped = True
        for view in self._views.values():
            view.changed.set()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    async def _events(self, name: str, render: Render) -> AsyncGenerator[bytes, None]:
        if self.listeners >= self._listeners_max:  # several may have come at once
            yield b"event: full\ndata: {}\n\n"
            return
        view = self._views.setdefault(name, _View(render))
        view.listeners += 1
        loop = asyncio.get_running_loop()
        ends = loop.time() + LIFETIME
        seen = 0
        try:
            if self._ticking is None:
                self._ticking = asyncio.create_task(self._tick(), name="live pages")
            yield b"retry: 3000\n\n"
            while not self._stopped and loop.time() < ends:
                changed, seen_now = view.changed, view.turn
                parts = view.since(seen)
                seen = seen_now
                if parts:
                    yield b"event: parts\ndata: " + msgspec.json.encode(parts) + b"\n\n"
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await changed.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            view.listeners -= 1
            if not view.listeners:
                self._views.pop(name, None)
            if not self._views and self._ticking is not None:
                self._ticking.cancel()
                self._ticking = None

    async def _tick(self) -> None:
        while True:
            for view in list(self._views.values()):
                try:
                    view.look()
                except Exception as error:  # one page's; the others go on
                    loop = asyncio.get_running_loop()
                    loop.call_exception_handler({"message": "a live page failed", "exception": error})
            await asyncio.sleep(self._every)
