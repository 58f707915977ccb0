"""One caller: a persistent HTTP/1.1 connection with at most one request on it, and every answer checked."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import httptools

from tests.reliability.plan import Request

if TYPE_CHECKING:
    from tests.reliability.load import Load

CONNECT_SECONDS = 10.0
RECONNECT_SECONDS = 0.05
OWN_FIELDS = (b"tunnel-delivered", b"proxy-status")


class Caller(asyncio.Protocol):
    """Connects (again and again) to `target`, takes requests from `load` and reports what came of them."""

    def __init__(self, load: Load, target: int) -> None:
        self._load = load
        self._loop = load.loop
        self.target = target
        self.request: Request | None = None
        self.idle = False
        self._transport: Any = None
        self._parser: Any = None
        self._poll: Any = None
        self._cancel: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._used = 0
        self._started = False
        self._abandoned = False

    # -- the connection -------------------------------------------------------------------------

    def connect(self) -> None:
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        while not self._load.stopped:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._loop.create_connection(lambda: self, "127.0.0.1", self.target)
            except (OSError, TimeoutError) as error:
                self._load.tally.failed("refused", None, self.target, time.monotonic(), error=str(error))
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                return

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._load.tally.connects += 1
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLHUP)
        self._parser = httptools.HttpResponseParser(self)
        self._used = 0
        self._started = self._abandoned = False
        self._load.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        request, self.request = self.request, None
        self._disarm()
        if self.idle:
            self.idle = False
            self._load.tally.closed_idle += 1
        if request is not None:
            kind = "truncated" if self._started else "lost"
            reason = f"{type(error).__name__}: {error}" if error else "closed"
            self._load.failed(self, kind, request, reason=reason, used=self._used)
        if not self._load.stopped:
            self.connect()

    def usable(self) -> bool:
        """Whether the connection is open and silent: what a caller checks before it reuses one."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and not self._poll.poll(0)

    def close(self) -> None:
        """Close between two requests."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Go away with a reset, whatever is under way."""
        if self._transport is not None:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    # -- requests -------------------------------------------------------------------------------

    def send(self, request: Request) -> None:
        self.idle = False
        self.request = request
        request.sent_at = time.monotonic()
        self._parser = httptools.HttpResponseParser(self) if request.method == "HEAD" else self._parser
        self._started = False
        if request.cancel_after is not None:
            self._cancel = self._loop.call_later(request.cancel_after, self._abandon)
        self._transport.write(request.raw)

    def give_up(self) -> None:
        """The caller's own timeout: it closes the connection, so that a late answer finds nobody."""
        request, self.request = self.request, None
        assert request is not None
        self._load.failed(self, "timeout", request)
        self.abort()

    def _abandon(self) -> None:
        self._cancel = None
        self.request = None
        self._abandoned = True
        self._load.tally.cancelled += 1
        self.abort()
        self._load.over()

    def _disarm(self) -> None:
        if self._cancel is not None:
            self._cancel.cancel()
            self._cancel = None

    # -- answers --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._abandoned:
            return
        if self.request is None:
            self._load.tally.failed(
                "unasked", None, self.target, time.monotonic(), data=data[:200].decode("latin-1")
            )
            self.abort()
            return
        self._started = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            request, self.request = self.request, None
            if request is not None:
                self._load.failed(self, "unparsable", request, error=str(error), data=data[:200].decode("latin-1"))
            self.abort()

    def on_message_begin(self) -> None:
        self._ident = self._delivered = b""
        self._own = False
        self._body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"x-id":
            self._ident = value
        elif name in OWN_FIELDS:
            self._own = True
            if name == b"tunnel-delivered":
                self._delivered = value

    def on_headers_complete(self) -> None:
        if self.request is not None and self.request.method == "HEAD" and self._parser.get_status_code() >= 200:
            self._finish()  # the parser cannot know that no body follows

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self.request is not None and self.request.method != "HEAD" and self._parser.get_status_code() >= 200:
            self._finish()

    def _finish(self) -> None:
        request, self.request = self.request, None
        assert request is not None
        self._disarm()
        self._used += 1
        status = self._parser.get_status_code()
        keep = self._parser.should_keep_alive()
        if request.method == "HEAD":
            self._parser = httptools.HttpResponseParser(self)
        self._judge(request, status, b"".join(self._body))
        if not keep:
            self._load.tally.told_to_close += 1
            self._transport.close()
        elif self._transport is not None and not self._transport.is_closing():
            self._load.free(self)
        self._load.over()

    def _judge(self, request: Request, status: int, body: bytes) -> None:
        load = self._load
        if not self._own:
            if request.is_right(status, self._ident, body):
                load.right(request, status)
            else:
                load.tally.wrong(request, status, self._ident, body, self.target)
            return
        code, delivered = "?", self._delivered.decode("latin-1")
        if request.method != "HEAD":
            try:
                document = json.loads(body)
            except ValueError:
                document = {}
            code = str(document.get("code", "?"))
            if document.get("delivered") != delivered or document.get("status") != status:
                load.tally.wrong(request, status, self._delivered, body, self.target)
        load.refused(request, status, code, delivered)
