"""The other direction: a hostile upstream answers in mutated bytes; no caller may get what is not its own.

Each case is a request whose answer is mutated, then a sentinel on the same connection (if it is kept) and one on
another. They go to the same upstream, over the very connections that the mutated answers spoilt; they are PUTs,
which the agent may send again when it finds a kept connection closed.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.differential.campaign import Tally
from tests.differential.drafts import sound
from tests.differential.mutate_answers import make_answer
from tests.differential.setting import host_of
from tests.support.rawhttp import Answer, BrokenAnswer, RawClient, Truncated
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, Upstream

NAME: Final = "answers"
WORKERS: Final = 6
QUIET: Final = 0.25
"""Seconds without a byte after which a mutated answer is taken to have no end."""


class Answers:
    """All cases of the hostile upstream, which the tunnel reaches as the service `answers`."""

    def __init__(self, seed: int, cases: int) -> None:
        self.tally = Tally("hostile upstream", "", cases)
        self.upstream = Upstream()
        self.upstream.on("/d/*", self._script)
        self._seed = seed
        self._cases = cases
        self._host = host_of(NAME)
        self._lock = threading.Lock()

    async def _script(self, x: Exchange) -> None:
        """Answer a case with its mutated bytes, anything else soundly."""
        body = await x.body()
        case = x.received.get("x-case") or ""
        _, _, number = case.partition(f"{NAME}.")
        if not number.isdigit():
            await x.answer(200, [("X-Case", case)], body)
            return
        data, closes = make_answer(self._seed, int(number))
        await x.send(data)
        if closes:
            x.close()

    def run(self, tunnel: Tunnel) -> Tally:
        with ThreadPoolExecutor(WORKERS) as pool:
            for done in [pool.submit(self._work, tunnel, worker) for worker in range(WORKERS)]:
                done.result()
        self.tally.findings += [
            f"the agent wrote no HTTP to the upstream: {error!r}" for error in self.upstream.errors
        ]
        return self.tally

    def _work(self, tunnel: Tunnel, worker: int) -> None:
        for number in range(worker, self._cases, WORKERS):
            case = f"{NAME}.{number}"
            with tunnel.raw(timeout=QUIET) as caller:
                answer = self._ask(caller, case)
                if answer is not None:
                    caller.timeout(10)
                    self._sentinel(caller, case, "same", may_be_closed=True)
            with tunnel.raw(timeout=10) as other:
                self._sentinel(other, case, "other", may_be_closed=False)

    def _ask(self, caller: RawClient, case: str) -> Answer | None:
        """The answer to a case, None if it had no proper end."""
        request = f"GET /d/{case}/case HTTP/1.1\r\nHost: {self._host}\r\nX-Case: {case}\r\n\r\n".encode()
        answer = None
        try:
            answer = caller.request(request)
        except BrokenAnswer as error:
            self._find(case, f"the hub passed on what is not HTTP: {error}")
        except (TimeoutError, OSError, Truncated):
            pass
        with self._lock:
            if answer is None:
                self.tally.unanswered += 1
            elif answer.has("proxy-status"):
                self.tally.refused += 1
            else:
                self.tally.forwarded += 1
        return answer

    def _sentinel(self, caller: RawClient, case: str, name: str, *, may_be_closed: bool) -> None:
        answer = None
        try:
            answer = caller.request(sound(case, self._host, name, name.encode(), "PUT"))
        except BrokenAnswer as error:
            self._find(case, f"a sentinel's answer is not HTTP: {error}")
            return
        except (Truncated, ConnectionError) as error:
            if not may_be_closed:
                self._find(case, f"a sentinel was not answered: {error!r}")
            return
        own = (answer.status, answer.get("x-case"), answer.body) == (200, f"{case}-{name}", name.encode())
        if not own or answer.interim:
            self._find(case, f"a sentinel got {answer.interim} {answer.raw_head + answer.body!r}")

    def _find(self, case: str, what: str) -> None:
        data, closes = make_answer(self._seed, int(case.rpartition(".")[2]))
        with self._lock:
            self.tally.findings.append(
                f"case {case}: {what}\n    answered: {data!r}{' and closed' if closes else ''}"
            )

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.upstream.close()
