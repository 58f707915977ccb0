"""Links that go dark with requests waiting: packets dropped both ways, nothing closed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability.lanes import Lane, in_parallel, lanes
from tests.reliability.report import Report, quantile
from tests.support.rawhttp import RawClient

BOUND = 3.0
WAITING = 4
"""Requests that wait when the link goes dark, spread over its sessions."""
PATIENCE = 20.0


def run(
    folder: Path,
    *,
    cuts: int = 100,
    side_by_side: int = 4,
    bound: float = BOUND,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """`cuts` silent cuts, `side_by_side` at a time; from each cut to the 502 of the last waiting caller."""
    report = Report("silence", {"cuts": cuts, "side_by_side": side_by_side})
    each = -(-cuts // side_by_side)
    problems: list[str] = []

    def work(lane: Lane) -> list[float]:
        times = []
        for number in range(each):
            lane.wait_whole()
            times.append(cut_silently(lane, f"{lane.number}.{number}", problems))
            progress(f"lane {lane.number}: noticed after {times[-1]:.3f} s")
        return times

    with lanes(folder, side_by_side) as found:
        times = in_parallel(work, found)
    report.note("silent cuts", len(times))
    report.note("noticed after, p50", quantile(times, 0.5), "s")
    report.at_most("noticed after, p99", quantile(times, 0.99), bound, "s")
    report.note("noticed after, longest", max(times), "s")
    report.none("answers that are not 502, unknown", problems)
    return report


def cut_silently(lane: Lane, name: str, problems: list[str]) -> float:
    """Seconds from the cut until every waiting caller has its 502."""
    attempts = [f"POST.silence.{name}.{number}.1" for number in range(WAITING)]
    callers = [RawClient(lane.hub.callers_port, timeout=PATIENCE) for _ in attempts]
    try:
        for attempt, caller in zip(attempts, callers, strict=True):
            caller.start(
                "POST", "/transactions?hang=1", f"X-Attempt: {attempt}", f"X-Ref: {attempt}", "Content-Length: 0"
            )
        arrived = lane.rig.ledger.ask("arrived", attempts=attempts)
        if not all(arrived):
            problems.append(f"{name}: only {sum(arrived)} of {WAITING} requests reached the upstream")
        at = lane.relay("black_hole")["at"]
        for caller in callers:
            answer = caller.answer("POST")
            if (answer.status, answer.get("tunnel-delivered")) != (502, "unknown"):
                problems.append(f"{name}: {answer.status} {answer.get('tunnel-delivered')}")
        return time.monotonic() - at
    finally:
        for caller in callers:
            caller.close()
