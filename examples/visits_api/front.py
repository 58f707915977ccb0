"""What stands before every route: the ledger, Server-Timing and the wished-for latency."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.visits_api.ledger import LEDGER_PATH, Entry, Ledger

LATENCY_HEADER = b"x-test-latency-ms"
MAX_LATENCY = 60.0  # seconds


class Front:
    """ASGI application around ``app``; with ``test_hooks`` a request may set its own latency."""

    def __init__(self, app: ASGIApp, ledger: Ledger, latency: float, test_hooks: bool) -> None:
        self._app = app
        self._ledger = ledger
        self._latency = latency
        self._test_hooks = test_hooks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        unrecorded = self._test_hooks and scope.get("path") == LEDGER_PATH
        if scope["type"] == "lifespan" or unrecorded:
            await self._app(scope, receive, send)
            return
        entry = self._ledger.arrived(scope)
        visit = _Visit(self._ledger, entry, self._latency_of(scope), receive, send)
        try:
            if scope["type"] == "websocket":
                await self._app(scope, receive, visit.send_websocket)
                entry.status, visit.outcome = 101, "answered"
            else:
                await self._app(scope, visit.receive, visit.send)
        finally:
            self._ledger.finished(entry, visit.outcome)

    def _latency_of(self, scope: Scope) -> float:
        if self._test_hooks:
            for name, value in scope["headers"]:
                if name == LATENCY_HEADER and value.isdigit() and len(value) < 10:
                    return min(int(value) / 1000, MAX_LATENCY)
        return self._latency


class _Visit:
    """One request on its way through: wraps the server's receive and send."""

    __slots__ = ("_entry", "_latency", "_ledger", "_receive", "_send", "_started", "outcome")

    def __init__(self, ledger: Ledger, entry: Entry, latency: float, receive: Receive, send: Send) -> None:
        self._ledger = ledger
        self._entry = entry
        self._latency = latency
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self.outcome = "failed"

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            ended_before = self._entry.body_ended
            self._entry.body(message.get("body", b""), message.get("more_body", False))
            if self._entry.body_ended and not ended_before and self._entry.body_bytes:
                self._ledger.body_ended(self._entry)
        elif message["type"] == "http.disconnect" and self.outcome == "failed":
            self.outcome = "gone"
        return message

    async def send(self, message: Message) -> None:
        if self.outcome == "gone":
            return
        if message["type"] == "http.response.start":
            timing = self._timing()
            if self._latency and await self._caller_left_within(self._latency):
                return
            self._entry.status = message["status"]
            message["headers"] = [*message.get("headers", ()), timing]
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.outcome = "answered"
        await self._send(message)

    async def send_websocket(self, message: Message) -> None:
        if message["type"] in ("websocket.accept", "websocket.http.response.start"):
            message["headers"] = [*message.get("headers", ()), self._timing()]
        await self._send(message)

    def _timing(self) -> tuple[bytes, bytes]:
        spent = (time.perf_counter() - self._started) * 1000
        value = f"app;dur={spent:.2f}"
        if self._latency:
            value += f", latency;dur={self._latency * 1000:.2f}"
        return b"server-timing", value.encode()

    async def _caller_left_within(self, seconds: float) -> bool:
        # The work is done and only the answer waits: a link cut now loses the answer of a booking made.
        try:
            async with asyncio.timeout(seconds):
                while (await self.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True
