"""A long outage: from the link's return to the first answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability.lanes import Lane, in_parallel, lanes
from tests.reliability.report import Report
from tests.reliability.resets import next_served

BOUND = 11.0
KINDS = ("refused", "dropped")
"""How a hub cannot be reached: connections are refused, or nothing answers at all."""


def run(
    folder: Path,
    *,
    seconds: float = 120.0,
    bound: float = BOUND,
    lanes_each: int = 2,
    kinds: tuple[str, ...] = KINDS,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Outages of `seconds` side by side, of either kind; present links are reset or go dark."""
    report = Report("outage", {"seconds": seconds, "lanes_each": lanes_each})
    returned: dict[str, list[float]] = {kind: [] for kind in kinds}

    def work(lane: Lane) -> list[float]:
        kind = kinds[lane.number % len(kinds)]
        lane.wait_whole()
        if kind == "refused":
            lane.relay("refuse")
            lane.relay("cut")
        else:
            lane.relay("drop")
            lane.relay("black_hole")
        time.sleep(seconds)
        at = lane.relay("listen")["at"]
        took = next_served(lane.hub.callers_port, f"outage.{lane.number}", give_up=60) - at
        returned[kind].append(took)
        progress(f"{kind}: served {took:.2f} s after the link's return")
        return [took]

    with lanes(folder, len(kinds) * lanes_each) as found:
        in_parallel(work, found)
    for kind, times in returned.items():
        report.at_most(f"served again, connections {kind}", max(times), bound, "s")
    return report
