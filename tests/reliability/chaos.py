"""Every fault and restarts of every process, close together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.reliability.faults import EVERY, Faults
from tests.reliability.mayhem import Mayhem, judge
from tests.reliability.report import Report
from tests.reliability.rig import Rig


def run(
    folder: Path,
    *,
    seconds: float = 120.0,
    every: float = 0.5,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Faults for `seconds`, each `every` seconds on average after the last one was got over."""
    report = Report("chaos", {"seconds": seconds, "every": every, "seed": seed})
    with Rig(folder, agent_options={"limits": {"reconnect_max": "1s"}}) as rig:
        mayhem = Mayhem(rig, seed, name="chaos", streams_each=2)
        faults = Faults(rig, EVERY, seed)
        struck = mayhem.strike(faults, seconds, every, progress)
        seen, streams = mayhem.stop()
        ledger = rig.dump(rig.ledger)
    judge(report, faults, struck, seen, streams, ledger)
    return report
