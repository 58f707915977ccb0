"""Photographs fill a narrow link while lookups share it (scenario 12 of the callers)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.reliability.bottleneck import PACKET
from tests.reliability.report import Report, quantile
from tests.reliability.rig import Rig

BOUND = 0.25
PHOTOGRAPH = 150_000
LOOKUP = 300
RATE = 10e6 / 8
"""Bytes a second."""

SESSIONS = 2
KERNEL_HOLDS = 24 * 1024
"""What the relay's own receive buffer keeps of each session; it counts as part of the router's queue."""
LEAST_QUEUE = 10 * PACKET


def run(
    folder: Path,
    *,
    seconds: float = 60.0,
    round_trips: Sequence[float] = (0.04, 0.08),
    photographs: int = 20,
    bound: float = BOUND,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """For each round trip (seconds): `photographs` at once, again and again, and 10 lookups a second.

    The link is a 10 Mbit/s bottleneck each way that both sessions share, with a router's queue of one
    bandwidth-delay product. The promise is made for 40 ms; the others are shown.
    """
    report = Report("scenario12", {"seconds": seconds, "photographs": photographs})
    for trip in round_trips:
        queue = max(LEAST_QUEUE, int(RATE * trip) - SESSIONS * KERNEL_HOLDS)
        narrow = {"rate": RATE, "delay": trip / 2, "queue": queue}
        name = f"{trip * 1e3:.0f} ms"
        with Rig(folder / f"{trip * 1e3:.0f}", hubs=1, agents=1, sessions=SESSIONS, relay_options=narrow) as rig:
            lookups = rig.load(f"lookups-{name[:2]}", mix={"GET": 1.0}, connections=30, rate=10.0, size=LOOKUP)
            lookups.ask("wait", seconds=3.0)
            alone = lookups.ask("status")["complete"]
            photos = rig.load(f"photos-{name[:2]}", mix={"GET": 1.0}, connections=photographs, size=PHOTOGRAPH)
            photos.ask("wait", seconds=seconds, within=seconds + 30)
            shown = photos.ask("status")["by_status"].get("200", 0)
            looked, pictures = lookups.ask("stop"), photos.ask("stop")
            times = rig.dump(lookups)["latency"]
        beside = times[alone:]
        p95 = quantile(beside, 0.95)
        report.note(f"{name}: p95 of lookups alone", 1e3 * quantile(times[:alone], 0.95), "ms")
        if trip == round_trips[0]:
            report.at_most(f"{name}: p95 of lookups beside photographs", 1e3 * p95, 1e3 * bound, "ms")
        else:
            report.note(f"{name}: p95 of lookups beside photographs", 1e3 * p95, "ms")
        report.note(f"{name}: longest lookup", 1e3 * max(beside), "ms")
        report.at_least(f"{name}: whole photographs", shown, photographs)
        report.note(f"{name}: link used", 100 * shown * PHOTOGRAPH / seconds / RATE, "%")
        report.none(f"{name}: wrong bytes", looked["mixed_details"] + pictures["mixed_details"])
        report.none(f"{name}: failures", {**looked["failures"], **pictures["failures"]})
        others = {k: n for seen in (looked, pictures) for k, n in seen["answers"].items() if k != "200"}
        report.none(f"{name}: answers that are not 200", others)
        progress(f"{name}: done")
    return report
