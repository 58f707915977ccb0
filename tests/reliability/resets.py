"""Links that are reset: how long until the next request is served."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability.lanes import Lane, in_parallel, lanes
from tests.reliability.report import Report, quantile
from tests.support.rawhttp import RawClient, Truncated

BOUND = 0.5
GIVE_UP = 30.0


def run(
    folder: Path,
    *,
    resets: int = 300,
    side_by_side: int = 6,
    settle: float = 1.0,
    bound: float = BOUND,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """`resets` resets of every link of a tunnel, each at least `settle` seconds after the sessions stood again."""
    report = Report("resets", {"resets": resets, "side_by_side": side_by_side, "settle": settle})
    each = -(-resets // side_by_side)

    def work(lane: Lane) -> list[float]:
        times = []
        for number in range(each):
            lane.wait_whole()
            time.sleep(settle)
            at = lane.relay("cut")["at"]
            times.append(next_served(lane.hub.callers_port, f"{lane.number}.{number}") - at)
            if (number + 1) % 10 == 0:
                progress(f"lane {lane.number}: {number + 1} resets")
        return times

    with lanes(folder, side_by_side) as found:
        times = in_parallel(work, found)
    report.note("resets", len(times))
    report.note("serving again after, p50", quantile(times, 0.5), "s")
    report.at_most("serving again after, p99", quantile(times, 0.99), bound, "s")
    report.note("serving again after, longest", max(times), "s")
    return report


def next_served(port: int, name: str, give_up: float = GIVE_UP) -> float:
    """Ask until an answer is 200; the moment it came. What the hub holds is served as soon as it can be."""
    end = time.monotonic() + give_up
    number = 0
    while time.monotonic() < end:
        number += 1
        try:
            with RawClient(port, timeout=10) as caller:
                if caller.get(f"/item/GET.next.{name}.{number}").status == 200:
                    return time.monotonic()
        except (OSError, Truncated):
            time.sleep(0.01)
    raise AssertionError(f"nothing was served within {give_up:g} s")
