"""A 150 kB answer whose link is cut at every frame's end and at random bytes: never a complete, wrong answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.reliability.bodies import body_of
from tests.reliability.report import Report
from tests.reliability.rig import Rig
from tests.support.rawhttp import BrokenAnswer, RawClient, Truncated

SIZE = 150_000
MOST_FRAMES = 60
MOST_BYTES = 152_000
"""A little more than the answer with all its framing takes."""


class Spot(NamedTuple):
    """One cut: where, how, and in which kind of exchange."""

    count: int
    unit: str
    ending: str
    method: str
    chunked: bool


def run(
    folder: Path,
    *,
    cuts: int = 200,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Cut after each frame of the answer (both endings, GET and POST, sized and chunked), then at `cuts` bytes."""
    report = Report("cuts", {"cuts": cuts, "size": SIZE, "seed": seed})
    outcomes: Counter[str] = Counter()
    fired: Counter[str] = Counter()
    wrong: list[str] = []
    with Rig(
        folder,
        hubs=1,
        agents=1,
        sessions=1,
        relay_options={"frames": True},
        agent_options={"limits": {"reconnect_max": "200ms"}},
    ) as rig:
        numbers = iter(range(1_000_000))

        def cut(spot: Spot) -> bool:
            """Whether the cut happened before the answer was through."""
            (port,) = rig.legs()
            rig.wait_lane(rig.hubs[0], [port])
            rig.relay.ask("cut_after", port=port, count=spot.count, unit=spot.unit, ending=spot.ending)
            outcome = exchange(rig, spot, next(numbers))
            happened: bool = rig.relay.ask("fired", port=port)
            if outcome.startswith("wrong"):
                wrong.append(f"{spot}: {outcome}")
            if happened:
                fired[spot.unit] += 1
                outcomes[f"{spot.method}: {outcome}"] += 1
            return happened

        for kind in frame_kinds():
            for count in range(1, MOST_FRAMES):
                if not cut(kind._replace(count=count)):
                    break
        progress(f"{fired['frames']} cuts after frames")
        chance = random.Random(seed)
        spots = random_spots(chance)
        while fired["bytes"] < cuts and sum(outcomes.values()) < 10 * cuts:
            cut(next(spots))
        progress(f"{fired['bytes']} cuts after bytes")
        summary = rig.ledger.ask("summary")
    report.none("complete answers that are not whole", wrong)
    report.at_least("cuts at the end of a frame", fired["frames"], 8)
    report.at_least("cuts at a random byte", fired["bytes"], cuts)
    twice = [name for name in summary["repeated_attempts"] if name.startswith("POST")]
    report.none("POSTs that arrived twice", twice)
    report.counts["outcomes"] = dict(outcomes)
    return report


def frame_kinds() -> Iterator[Spot]:
    """Every way to be cut after a frame; the count is filled in later."""
    for ending in ("reset", "fin"):
        for method in ("GET", "POST"):
            for chunked in (False, True):
                yield Spot(0, "frames", ending, method, chunked)


def random_spots(chance: random.Random) -> Iterator[Spot]:
    while True:
        ending, method = chance.choice(("reset", "fin")), chance.choice(("GET", "POST"))
        yield Spot(chance.randrange(1, MOST_BYTES), "bytes", ending, method, chance.random() < 0.5)


def exchange(rig: Rig, spot: Spot, number: int) -> str:
    """One request on a connection of its own; what its caller got."""
    ident = f"{spot.method}.cuts.{number}.1"
    query = f"size={SIZE}" + ("&chunked=1" if spot.chunked else "")
    fields = [f"X-Attempt: {ident}", f"X-Ref: cuts.{number}"]
    with RawClient(rig.hubs[0].callers_port, timeout=20) as caller:
        try:
            if spot.method == "GET":
                caller.start("GET", f"/item/{ident}?{query}", *fields)
            else:
                caller.start("POST", f"/transactions?{query}", *fields, "Content-Length: 0")
            answer = caller.answer(spot.method)
        except Truncated as cut:
            return "aborted, " + ("before the head" if cut.answer is None else "visibly")
        except BrokenAnswer as error:
            return f"wrong: {error}"
    if answer.status >= 500 and answer.has("tunnel-delivered"):
        return f"{answer.status} {answer.get('tunnel-delivered')}"
    if answer.status == 200 and answer.body == body_of(ident.encode(), SIZE) and answer.get("x-id") == ident:
        return "200, whole"
    return f"wrong: {answer.status} with {len(answer.body)} bytes"
