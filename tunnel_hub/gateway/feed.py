"""One small document fetched over HTTP again and again: key sets and revocations.

What was read last stays in force while the source is down, answers nonsense or is slow. There is one task for each
feed, between `start` and `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from protocol.ops import log

if TYPE_CHECKING:
    import httpx

FETCH_TIMEOUT: Final = 10.0
"""Seconds for one fetch, from the connection to the last byte."""

FIRST_RETRY: Final = 1.0
"""Seconds after the first failed fetch; twice as long after each further one, up to the interval."""

STOP_TIMEOUT: Final = 2.0

_DIRECT: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")

DocumentT = TypeVar("DocumentT")
ClientFactory = Callable[[], "httpx.AsyncClient"]

_log = log.get("gateway")


class BadDocument(ValueError):
    """A document that cannot be used: why, without what it holds."""


def open_client(ca_file: Path | None = None) -> httpx.AsyncClient:
    """The client that feeds use, with the environment's proxies but for this machine.

    ca_file: whose certificates to trust; the system's authorities by default. Raises OSError for an unusable one.
    """
    import httpx  # noqa: PLC0415 - only who fetches pays for it

    return httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=ca_file),
        follow_redirects=False,
        mounts=dict.fromkeys(_DIRECT),
    )


class Feed(Generic[DocumentT]):
    """Fetches `url` at once and then at intervals, and hands over each document that is new."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        interval: float,
        limit: int,
        read: Callable[[bytes], DocumentT],
        taken: Callable[[DocumentT], None],
        client: ClientFactory = open_client,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """read: from bytes to the document, in a thread; raises BadDocument. taken: in the event loop.

        name: for the log, where the URL does not go. limit: bytes of a document.
        """
        self.failures = 0
        """Fetches that failed, ever."""
        self.last_success: float | None = None
        """When the newest good answer came, in time.monotonic(); None before the first."""
        self.known_at: float | None = None
        """When the fetch of that answer began: what was published before then is in it."""
        self._name = name
        self._url = url
        self._interval = interval
        self._limit = limit
        self._read = read
        self._taken = taken
        self._client = client
        self._clock = clock
        self._etag = ""
        self._in_a_row = 0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._open: httpx.AsyncClient | None = None
        self._started = clock()

    @property
    def ready(self) -> bool:
        """Whether there ever was a document."""
        return self.last_success is not None

    def stale_for(self, now: float) -> float:
        """Seconds since the source last answered well, or since the start; now is time.monotonic()."""
        return now - (self._started if self.last_success is None else self.last_success)

    def follow(self, before: Self) -> None:
        """Go on where `before`, the feed until a reload, stands. Before `start`."""
        self.failures, self.last_success = before.failures, before.last_success

    def start(self) -> None:
        """Fetch, now and from now on, until `stop`."""
        assert self._task is None
        self._started = self._clock()
        self._task = asyncio.create_task(self._run(), name=f"feed {self._name}")

    async def stop(self) -> None:
        """Fetch no more; what was read stays. Bounded."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=STOP_TIMEOUT)
            self._open = None

    def refresh(self) -> None:
        """Fetch now instead of at the next interval. Does not wait."""
        self._wanted.set()

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            while True:
                self._wanted.clear()
                self._note(await self._attempt(stack))
                try:
                    async with asyncio.timeout(self._pause()):
                        await self._wanted.wait()
                except TimeoutError:
                    pass

    def _pause(self) -> float:
        pause = self._interval
        if self._in_a_row:
            pause = min(pause, FIRST_RETRY * 2.0 ** min(self._in_a_row - 1, 20))
        return pause * random.uniform(0.9, 1.0)  # noqa: S311  # jitter

    def _note(self, problem: str) -> None:
        if problem:
            self.failures += 1
            self._in_a_row += 1
            if self._in_a_row == 1:
                _log.warning("a feed fails; what it said last stays in force", feed=self._name, reason=problem)
        else:
            if self._in_a_row:
                _log.info("a feed works again", feed=self._name)
            self._in_a_row = 0

    async def _attempt(self, stack: contextlib.AsyncExitStack) -> str:
        """What is wrong, "" for nothing."""
        try:
            if self._open is None:
                self._open = await stack.enter_async_context(await asyncio.to_thread(self._client))
            await self._fetch(self._open)
        except TimeoutError:
            return "no whole answer in time"
        except BadDocument as error:
            return str(error)
        except Exception as error:  # the feed must go on
            import httpx  # noqa: PLC0415 - it is there already, with the client

            if not isinstance(error, httpx.HTTPError | httpx.InvalidURL | OSError):
                context = {"message": "fetching a feed failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
            return type(error).__name__
        return ""

    async def _fetch(self, client: httpx.AsyncClient) -> None:
        began = self._clock()
        async with asyncio.timeout(FETCH_TIMEOUT):
            fresh = await self._ask(client)
        if fresh is not None:
            etag, body = fresh
            self._taken(await asyncio.to_thread(self._read, body))
            self._etag = etag
        self.known_at, self.last_success = began, self._clock()

    async def _ask(self, client: httpx.AsyncClient) -> tuple[str, bytes] | None:
        """Its ETag and the document; None if it is the one that was read last."""
        fields = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._etag:
            fields["If-None-Match"] = self._etag
        async with client.stream("GET", self._url, headers=fields, timeout=FETCH_TIMEOUT) as answer:
            if answer.status_code == 304 and self._etag:
                return None
            if answer.status_code != 200:
                raise BadDocument(f"status {answer.status_code}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise BadDocument("the answer is compressed, which was not asked for")
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > self._limit:
                    raise BadDocument(f"the document is longer than {self._limit} bytes")
            return answer.headers.get("ETag", ""), bytes(body)
