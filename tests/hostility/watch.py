"""What must go on beside hostility: honest callers are served, and the program under attack keeps nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from tests.reliability.leaks import Kept, wait_quiet
from tests.reliability.report import Report
from tests.support.process import Program
from tests.support.rawhttp import BrokenAnswer, Truncated
from tests.support.tunnel import Tunnel
from tests.support.waiting import PATIENCE

MIB: Final = 1024 * 1024
KEPT: Final = 96 * MIB
"""What a process may have grown by at rest, whether it met 600 sessions or 20,000: some 30 MiB of garbage that the
collector does not yet look for, as much again that the hub's `Tidy` lets stay, and what the allocator keeps."""
PEAK: Final = 256 * MIB
STUCK_SECONDS: Final = 40.0
"""Without any session coming to its end: something hangs."""


class Honest:
    """Callers of the honest service, for as long as the context lasts; each answer must be its request's."""

    def __init__(self, tunnel: Tunnel, path: str, callers: int = 2, every: float = 0.01) -> None:
        self._tunnel = tunnel
        self._path = path
        self._every = every
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(callers)
        self._calls: list[Future[None]] = []
        self._callers = callers
        self.count = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Honest:
        self._calls = [self._pool.submit(self._call, number) for number in range(self._callers)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    def check(self, report: Report) -> None:
        """End the calls and judge them."""
        self._stop.set()
        for call in self._calls:
            call.result()
        report.at_least("honest calls", self.count, 10)
        report.none("honest calls answered wrongly, or not at all", self.wrong)

    def _call(self, caller: int) -> None:
        number = 0
        connection = self._tunnel.raw(timeout=15)
        while not self._stop.wait(self._every):
            number += 1
            target = f"{self._path}/honest-{caller}-{number}"
            try:
                body = f"the honest body of {target}".encode() if number % 2 else b""
                length = (f"Content-Length: {len(body)}",) if body else ()
                connection.start("POST" if body else "GET", target, "X-Case: honest", *length, body=body)
                answer = connection.answer()
                right = answer.status == 200 and answer.body == target.encode()
                found = "" if right else f"{answer.raw_head + answer.body[:200]!r}"
            except (OSError, Truncated, BrokenAnswer) as error:
                found = repr(error)
            self.count += 1
            if found:
                self.wrong.append(f"{target}: {found}")
                connection.close()
                connection = self._tunnel.raw(timeout=15)
        connection.close()


class Watch:
    """Over one program under attack; made while it is at rest. `programs`: all that must live."""

    def __init__(self, report: Report, program: Program, programs: Sequence[Program]) -> None:
        self._report = report
        self._program = program
        self._programs = programs
        self._before: Kept = wait_quiet(program)
        self._peak = 0

    def until(self, count: Callable[[], int], wanted: int, progress: Callable[[str], None]) -> None:
        """Wait for `wanted` sessions to end; a program that dies or a run that hangs ends the wait."""
        began = moved = time.monotonic()
        last, told = -1, 0
        while (now := count()) < wanted:
            if now != last:
                last, moved = now, time.monotonic()
            if now // 1000 > told:
                told = now // 1000
                progress(f"{now} sessions in {time.monotonic() - began:.0f} s")
            if any(not program.running for program in self._programs):
                return
            if time.monotonic() - moved > STUCK_SECONDS * PATIENCE:
                self._report.problems.append(f"nothing moves after {now} sessions")
                return
            self._peak = max(self._peak, self._program.memory())
            time.sleep(0.05)
        self._report.note("seconds", round(time.monotonic() - began, 1))

    def compare(self) -> None:
        """Hold the program, at rest again, against what it was before."""
        report, program = self._report, self._program
        ended = [each.name for each in self._programs if not each.running]
        report.none("programs that ended", ended)
        for each in self._programs:
            trace = each.log().partition("Traceback")
            report.none(f"{each.name}: tracebacks", [trace[2][:1500]] if trace[1] else [])
        if ended:
            return
        after = wait_quiet(program, self._before)
        before = self._before
        report.at_most(
            f"{program.name}: memory", round(after.memory / MIB), round((before.memory + KEPT) / MIB), "MiB"
        )
        report.at_most(
            f"{program.name}: most", round(self._peak / MIB), round((before.memory + PEAK) / MIB), "MiB"
        )
        report.at_most(f"{program.name}: descriptors", after.descriptors, before.descriptors)
        if after.descriptors > before.descriptors:
            report.problems.append(f"{program.name} has more of {dict(after.open - before.open)}")
        if before.tasks is not None and after.tasks is not None:
            report.at_most(f"{program.name}: asyncio tasks", after.tasks, before.tasks)
        report.none(f"{program.name}: streams and requests left", after.busy)
