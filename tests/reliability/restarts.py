"""Agents restarted and hubs replaced, one by one, under keep-alive callers: no request fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.reliability.report import Report, quantile
from tests.reliability.rig import Rig

SHOWN_EVERY = 10


def run(
    folder: Path,
    *,
    requests: int = 100_000,
    cycles: int = 50,
    rate: float = 800.0,
    connections: int = 24,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """`cycles` restarts of an agent and as many replacements of a hub, by SIGTERM, while `requests` are served."""
    report = Report("restarts", {"requests": requests, "cycles": cycles, "rate": rate, "connections": connections})
    durations: list[float] = []
    with Rig(folder) as rig:
        load = rig.load("restarts", rate=rate, connections=connections, track_all=True, delay=0.1)
        for cycle in range(cycles):
            agent, hub = rig.agents[cycle % len(rig.agents)], rig.hubs[cycle % len(rig.hubs)]
            acts: list[tuple[str, Callable[[], None]]] = [
                ("restart", partial(rig.restart, agent)),
                ("replacement", partial(rig.replace, hub)),
            ]
            for kind, act in acts:
                began = time.monotonic()
                try:
                    act()
                    rig.wait_settled()
                except AssertionError as error:
                    report.problems.append(f"{kind} {cycle + 1}: {str(error).splitlines()[0]}")
                    with contextlib.suppress(AssertionError):
                        rig.start()
                durations.append(time.monotonic() - began)
            if (cycle + 1) % SHOWN_EVERY == 0:
                progress(f"{cycle + 1} cycles, {load.ask('status')['complete']} answers")
        while load.ask("status")["complete"] < requests:
            time.sleep(0.2)
        load.ask("stop")
        seen, ledger = rig.dump(load), rig.dump(rig.ledger)
    report.at_least("requests answered", seen["complete"], requests)
    others = {kind: count for kind, count in seen["answers"].items() if kind != "200"}
    report.none("answers that are not 200", others)
    report.none("requests without an answer", seen["failures"])
    report.none("mixed-up answers", seen["mixed_details"])
    twice = [name for name in ledger["repeated_attempts"] if name.startswith(("POST", "PATCH"))]
    report.none("POST or PATCH delivered twice", twice)
    report.note("longest answer", max(seen["latency"], default=float("nan")), "s")
    report.note("p99 of all answers", quantile(seen["latency"], 0.99), "s")
    report.note("mean time of a restart or replacement", sum(durations) / max(1, len(durations)), "s")
    report.counts["told to close"] = seen["told_to_close"]
    report.counts["closed while idle"] = seen["closed_idle"]
    report.problems += [f"failed: {detail}" for detail in seen["details"][:12]]
    return report
