"""The load of the callers for a long time, a fault every few seconds; at the end everything is as at the start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability.faults import EVERY, Faults
from tests.reliability.leaks import compare, wait_quiet
from tests.reliability.mayhem import Mayhem, judge
from tests.reliability.report import Report
from tests.reliability.rig import Rig

WARM_UP_SHARE, WARM_UP_MOST = 0.15, 60.0


def run(
    folder: Path,
    *,
    minutes: float = 30.0,
    every: float = 3.0,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Warm up without faults, rest, look; then faults for the rest of `minutes`, rest, and look again.

    The second hub and the second agent are ended in every way; the first ones live through it all, so that what
    they keep at the end is what they have leaked.
    """
    report = Report("soak", {"minutes": minutes, "every": every, "seed": seed})
    warm_up = min(WARM_UP_MOST, WARM_UP_SHARE * minutes * 60)
    with Rig(folder) as rig:
        mayhem = Mayhem(rig, seed, name="warm", streams_each=4)
        time.sleep(warm_up)
        warm_seen, warm_streams = mayhem.stop()
        before = {program.name: wait_quiet(program) for program in rig.programs}
        progress("warm; the faults begin")

        mayhem = Mayhem(rig, seed + 1, name="soak", streams_each=4)
        faults = Faults(rig, EVERY, seed, spare_first=True)
        struck = mayhem.strike(faults, 60 * minutes - warm_up, every, progress)
        seen, streams = mayhem.stop()
        rig.wait_settled()
        ledger = rig.dump(rig.ledger)
        for program in rig.programs:
            compare(report, program, before[program.name], wait_quiet(program, before[program.name]))
    others = {kind: n for load in warm_seen for kind, n in load["answers"].items() if kind.split()[0] not in CALM}
    report.none("failures before the first fault", [*others.items(), *warm_streams["wrong"]])
    judge(report, faults, struck, [*warm_seen, *seen], streams, ledger)
    return report


CALM = frozenset({"200", "504"})
"""Without faults only deadlines fail."""
