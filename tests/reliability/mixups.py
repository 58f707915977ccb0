"""A million answers with deadlines passing and callers going away: each is its own request's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.reliability.plan import MIXED
from tests.reliability.report import Report
from tests.reliability.rig import Rig
from tests.reliability.verdict import judge_effects

CANCELLED = 0.02
CALLERS_FAULT = frozenset({200, 504})


def run(
    folder: Path,
    *,
    answers: int = 1_000_000,
    connections: int = 64,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """One hub and one agent, so that all callers share two sessions and their upstream connections."""
    report = Report("mixups", {"answers": answers, "connections": connections})
    with Rig(folder, hubs=1, agents=1, relayed=False) as rig:
        load = rig.load(
            "mixups",
            mix={**MIXED, "GET": 60.0, "POST": 10.0},
            connections=connections,
            cancel=CANCELLED,
            cancel_within=0.03,
            deadline=0.1,
            deadline_ms=(3, 60),
            delay=0.1,
            delay_ms=(1, 60),
        )
        count = before = 0
        while count < answers:
            load.ask("wait", seconds=1.0)
            before, count = count, load.ask("status")["by_status"].get("200", 0)
            if count // 100_000 > before // 100_000:
                progress(f"{count} answers")
            if count == before:
                report.problems.append(f"no answer came for a second after {count}")
                break
        load.ask("stop")
        seen, ledger = rig.dump(load), rig.dump(rig.ledger)
    report.at_least("right answers", seen["by_status"].get("200", 0), answers)
    report.none("mixed-up answers", seen["mixed_details"])
    judge_effects(report, [seen], ledger)
    report.none("connections lost, answers cut or not HTTP", seen["details"])
    report.none(
        "answers that are neither 200 nor 504",
        {kind: n for kind, n in seen["answers"].items() if int(kind.split()[0]) not in CALLERS_FAULT},
    )
    report.note("requests whose caller went away", seen["cancelled"])
    report.note("deadlines passed", seen["by_status"].get("504", 0))
    report.counts |= {"answers": seen["answers"], "abandoned at the upstream": ledger["abandoned"]}
    return report
