"""The load of the callers beside bulk, streams and upgrades, while faults strike: what chaos and soak share."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from tests.reliability.faults import Faults
from tests.reliability.report import Report, quantile
from tests.reliability.rig import Rig
from tests.reliability.verdict import EVERY_ANSWER, judge_answers, judge_effects, split_lost
from tests.reliability.worker import Worker

RECOVERY = 30.0
"""Seconds within which a right answer must come after any fault, and all sessions must stand again."""
LOADS: dict[str, dict[str, Any]] = {
    # reads with a deadline below the caller's own 2 s, bookings, changes
    "visits": {"rate": 40.0, "connections": 10, "deadline": 0.5, "deadline_ms": (1500, 2000), "delay": 0.5},
    # its POST once more after a failure, with the same ref
    "money": {"mix": {"POST": 0.6, "GET": 0.4}, "rate": 20.0, "connections": 8, "retries": 1, "delay": 0.2},
    # impatient callers that leave
    "hasty": {"rate": 40.0, "connections": 8, "cancel": 0.1, "delay": 0.5, "deadline": 0.3},
    # pages that ask for much at once
    "pages": {"rate": 100.0, "connections": 16, "retries": 1},
}


class Struck(NamedTuple):
    """What the faults did."""

    spans: list[tuple[str, float, float]]
    """Kind, beginning, and the moment when all sessions stood again."""
    problems: list[str]

    def gaps(self, finished: list[float]) -> dict[str, list[float]]:
        """For each fault, by kind, the longest time without a right answer; `finished` is when those came."""
        found: dict[str, list[float]] = {}
        for kind, begin, end in self.spans:
            inside = finished[bisect_left(finished, begin) : bisect_right(finished, end) + 1]
            moments = [begin, *inside]
            longest = max((later - earlier for earlier, later in pairwise(moments)), default=end - begin)
            found.setdefault(kind, []).append(longest)
        return found


class Mayhem:
    """The loads of one rig and what the faults did to them."""

    def __init__(self, rig: Rig, seed: int, *, name: str, streams_each: int) -> None:
        self.rig = rig
        self.loads = {
            key: rig.load(f"{name}-{key}", seed=seed, track_all=True, **options) for key, options in LOADS.items()
        }
        self.streams: Worker = rig.worker("streams")
        self.streams.ask("start", targets=rig.targets, each=streams_each, seed=seed)

    def strike(self, faults: Faults, seconds: float, mean: float, progress: Callable[[str], None]) -> Struck:
        """Faults for `seconds`, `mean` seconds apart, each one got over before the next."""
        spans: list[tuple[str, float, float]] = []
        problems: list[str] = []
        end = time.monotonic() + seconds
        shown = time.monotonic()
        while time.monotonic() < end:
            time.sleep(faults.pause(mean))
            try:
                kind, at = faults.strike()
                now = time.monotonic()
                if self.loads["pages"].ask("next_right", since=now, patience=RECOVERY) is None:
                    problems.append(f"{kind}: nothing was served for {RECOVERY:g} s")
                self.rig.wait_settled(RECOVERY)
                spans.append((kind, at, time.monotonic()))
            except AssertionError as error:
                problems.append(str(error)[:2000])
                self.rig.start()
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                progress(f"{faults.done.total()} faults, {end - shown:.0f} s to go")
        return Struck(spans, problems)

    def stop(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """End all loads; what each saw, and what became of the streams."""
        for load in self.loads.values():
            load.send("stop")
        stopped = [load.result(60) for load in self.loads.values()]
        streams = self.streams.ask("stop", within=120)
        seen = [self.rig.dump(load) for load in self.loads.values()]
        for dump, last in zip(seen, stopped, strict=True):
            dump["unanswered"] = last["unanswered"]
        return seen, streams


def judge(
    report: Report,
    faults: Faults,
    struck: Struck,
    seen: list[dict[str, Any]],
    streams: dict[str, Any],
    ledger: dict[str, Any],
) -> None:
    """The promises that hold whatever happens."""
    report.problems += struck.problems
    report.note("faults", faults.done.total())
    report.note("answers", sum(load["complete"] for load in seen))
    judge_answers(report, seen, EVERY_ANSWER)
    judge_effects(report, seen, ledger)
    lost = [entry for load in seen for entry in load["lost"]]
    excused, others = split_lost(lost, faults.kills)
    report.none("missing answers", others)
    report.none("requests never answered", sum(load["unanswered"] for load in seen))
    report.none("streams that were wrong or stuck", streams["wrong"])
    for kind in ("download", "upload", "events", "echo"):
        report.at_least(f"whole: {kind}", streams["outcomes"].get(f"{kind} whole", 0), 1)
    gaps = struck.gaps(sorted(moment for load in seen for moment in load["finished"]))
    every = [gap for values in gaps.values() for gap in values]
    settled = [end - begin for _kind, begin, end in struck.spans]
    report.note("longest gap between right answers, median over faults", quantile(every, 0.5), "s")
    report.note("longest gap between right answers", max(every, default=float("nan")), "s")
    report.note("fault over and all sessions again, p50", quantile(settled, 0.5), "s")
    report.note("fault over and all sessions again, longest", max(settled, default=float("nan")), "s")
    totals: dict[str, int] = {}
    for load in seen:
        for kind, count in load["answers"].items():
            totals[kind] = totals.get(kind, 0) + count
    report.counts["answers"] = totals
    report.counts["faults"] = dict(faults.done)
    report.counts["longest gap by fault"] = {kind: f"{max(values):.3f} s" for kind, values in gaps.items()}
    report.counts["streams"] = streams["outcomes"]
    report.counts["lost with their hub"] = len(excused)
    report.counts["callers that left"] = sum(load["cancelled"] for load in seen)
