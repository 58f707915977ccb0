"""Whether the upstream of one service works: what its calls met, and what the agent asks for itself.

With a `health` path the agent asks for it at intervals; a status below 500 is healthy. Besides, and without the
path only, calls that find no connection count. A service is DOWN after `unhealthy_after` failures in a row and UP
again after one success: of the health check, or, without one, of any call or of a bare connection, which is tried
every second while the service is down.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import StreamCode
from protocol.ops import log

from .egress.dial import DialFailed

if TYPE_CHECKING:
    from .config import Service as ServiceConfig
    from .egress.upstream import Upstream

UNREACHABLE: Final = frozenset({StreamCode.CONNECT_FAILED, StreamCode.CONNECT_TIMEOUT, StreamCode.UPSTREAM_TLS})
"""Failures of a call that tell of the upstream, not of the call."""

ASK_TIMEOUT: Final = 5.0
"""Seconds for one health check; less where the interval is."""

SPREAD: Final = 1.0
"""Seconds over which the first checks of many services and agents are spread."""

PROBE_EVERY: Final = 1.0

STOP_TIMEOUT: Final = 2.0

_log = log.get("health")


class Watch:
    """The health of one service, between `start` and `stop`."""

    def __init__(
        self,
        name: str,
        table: ServiceConfig,
        upstream: Upstream,
        *,
        fields: list[bytes],
    ) -> None:
        """fields: flat name, value list that the agent adds to every request."""
        self.name = name
        self.down = ""
        """Why the upstream counts as failing, without host names; "" while it works."""
        self.strikes = 0
        """Calls without a connection since the last that had one."""
        self.passed = 0
        """Health checks that found the upstream well, besides calls."""
        self.refuted = 0
        """Those that did not."""
        self._table = table
        self._upstream = upstream
        self._fields = fields
        self._changed: Callable[[str], None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, changed: Callable[[str], None], down: str = "") -> None:
        """Begin to look after the upstream; `changed(name)` is called whenever `down` has changed.

        down: what is known from before, of a service whose table changed.
        """
        self._changed = changed
        self.down = down
        if self._table.enabled and (down or self._table.health is not None):
            self._work()

    async def stop(self) -> None:
        """Ask no more, tell no more. Bounded."""
        self._changed = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_TIMEOUT)

    # -- What calls tell ------------------------------------------------------------------------------

    def failed(self, code: StreamCode, detail: str) -> None:
        """A call failed."""
        if code in UNREACHABLE:
            self.strikes += 1
            if self.strikes >= self._table.unhealthy_after:
                self._turn_down(detail)

    def worked(self) -> None:
        """A call was answered, whatever its status. Needed only while there are strikes."""
        self.strikes = 0
        if self._table.health is None:
            self._turn_up()

    # -- What the agent asks --------------------------------------------------------------------------

    def _work(self) -> None:
        if self._task is None or self._task.done():
            work = self._probe() if self._table.health is None else self._ask_for_ever()
            self._task = asyncio.create_task(work, name=f"health of {self.name}")

    async def _probe(self) -> None:
        """Until the service is up: open a connection and close it."""
        loop = asyncio.get_running_loop()
        while self.down:
            await asyncio.sleep(PROBE_EVERY * random.uniform(0.9, 1.1))  # noqa: S311  # jitter
            try:
                await self._upstream.probe()
            except DialFailed:
                self.refuted += 1
                continue
            except Exception as error:  # the probing must go on
                self.refuted += 1
                loop.call_exception_handler({"message": "probing an upstream failed", "exception": error})
                continue
            self.passed += 1
            self.worked()

    async def _ask_for_ever(self) -> None:
        table = self._table
        httpx = await asyncio.to_thread(importlib.import_module, "httpx")  # only who asks pays for it
        pairs = [*zip(self._fields[::2], self._fields[1::2], strict=True), (b"Connection", b"close")]
        if table.host not in ("upstream", "caller"):
            pairs.append((b"Host", table.host.encode("ascii")))
        bound = min(table.health_interval, ASK_TIMEOUT)
        failures = 0
        async with httpx.AsyncClient(
            # without TLS a bare context: the default one would load the system's authorities
            verify=self._upstream.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            headers=pairs,
            timeout=bound,
            trust_env=False,
            follow_redirects=False,
        ) as client:
            await asyncio.sleep(random.uniform(0, min(table.health_interval, SPREAD)))  # noqa: S311  # jitter
            while True:
                problem = await self._ask(client, httpx, bound)
                if not problem:
                    self.passed += 1
                    failures = self.strikes = 0
                    self._turn_up()
                else:
                    self.refuted += 1
                    failures += 1
                    if failures >= table.unhealthy_after:
                        self._turn_down(problem)
                await asyncio.sleep(table.health_interval)

    async def _ask(self, client: Any, httpx: Any, bound: float) -> str:
        """What is wrong, "" for nothing. The body is not read."""
        path = self._table.health
        try:
            async with (
                asyncio.timeout(bound),
                client.stream("GET", f"{self._table.upstream}{path}") as answer,
            ):
                status = answer.status_code
        except (TimeoutError, httpx.TimeoutException):
            return f"GET {path}: no answer within {bound:g} s"
        except httpx.ConnectError:
            return f"GET {path}: no connection"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return f"GET {path}: {type(error).__name__}"
        return f"GET {path}: status {status}" if status >= 500 else ""

    # -- Changes --------------------------------------------------------------------------------------

    def _turn_down(self, reason: str) -> None:
        if not self.down and self._changed is not None:
            self.down = reason
            _log.warning("the upstream fails", service=self.name, reason=reason)
            self._work()
            self._changed(self.name)

    def _turn_up(self) -> None:
        if self.down and self._changed is not None:
            self.down = ""
            _log.info("the upstream works again", service=self.name)
            self._changed(self.name)
