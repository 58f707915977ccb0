"""POSTs with unique refs under cuts and kills: nothing takes effect twice, and every answer tells the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability.faults import CRASHES, NETWORK, Faults
from tests.reliability.report import Report
from tests.reliability.rig import Rig
from tests.reliability.verdict import EVERY_ANSWER, judge_answers, judge_effects, split_lost


def run(
    folder: Path,
    *,
    requests: int = 200_000,
    rate: float = 1_500.0,
    every: float = 0.7,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """`requests` POSTs, each repeated once when it fails, with a fault every `every` seconds on average."""
    report = Report("effects", {"requests": requests, "rate": rate, "every": every, "seed": seed})
    with Rig(folder, agent_options={"limits": {"reconnect_max": "1s"}}) as rig:
        load = rig.load(
            "effects",
            mix={"POST": 1.0},
            count=requests,
            rate=rate,
            connections=64,
            retries=1,
            delay=0.3,
            delay_ms=(1, 80),
            deadline=0.1,
            deadline_ms=(10, 300),
        )
        faults = Faults(rig, {**NETWORK, **CRASHES}, seed)
        end = time.monotonic() + 120 + 5 * requests / rate
        while not load.ask("wait", seconds=faults.pause(every)):
            faults.strike()
            if faults.done.total() % 20 == 0:
                progress(f"{faults.done.total()} faults, {load.ask('status')['complete']} answers")
            if time.monotonic() > end:
                report.problems.append(f"{load.ask('status')['complete']} answers are all that came")
                break
        load.ask("stop")
        rig.wait_settled()
        seen, ledger = rig.dump(load), rig.dump(rig.ledger)
    excused, lost = split_lost(seen["lost"], faults.kills)
    report.at_least("POSTs sent", ledger["refs"], 0.99 * requests)
    judge_effects(report, [seen], ledger)
    judge_answers(report, [seen], EVERY_ANSWER)
    report.none("requests lost without a kill of their hub", lost)
    report.counts |= {"faults": dict(faults.done), "lost with their hub": len(excused)}
    return report
