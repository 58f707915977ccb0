"""A thousand agents come back after their hub was restarted, while other callers are served."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocol import keys as identity
from tests.bench.idle_agents import SERVICE
from tests.bench.machine import raise_file_limit
from tests.reliability.report import Report, quantile
from tests.reliability.rig import Rig

BACK_BOUND = 10.0
RATIO_BOUND = 2.0
LEAST_SECONDS = 2.0
"""Over which the other traffic is looked at after the restart, at the least."""


def run(
    folder: Path,
    *,
    agents: int = 1_000,
    rate: float = 200.0,
    before: float = 10.0,
    how: str = "replace",
    bound: float = BACK_BOUND,
    ratio: float = RATIO_BOUND,
    idle: bool = True,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """how: "replace" starts a second process of the hub first, "crash" kills it and starts it again.

    idle: the agents have what the others leave of the processors. In earnest they are so many other machines and
    take nothing from the hub; on a machine that is busy anyway they would not get anywhere.

    Other traffic is one real agent and `rate` requests a second; its time before is taken over `before` seconds.
    """
    report = Report("herd", {"agents": agents, "rate": rate, "how": how})
    raise_file_limit()
    folder.mkdir(parents=True, exist_ok=True)
    registered = make_keys(folder / "herd", agents)
    options = {"services": {SERVICE: {"paths": ["/idle/"]}}, "agents": registered}
    with Rig(folder, hubs=1, agents=1, relayed=False, hub_options=options) as rig:
        hub = rig.hubs[0]
        (folder / "herd" / "hub.pub").write_text(hub.key.public + "\n")
        herd = rig.worker("herd_agents", hub.tunnel_url(), folder / "herd", *(["--idle"] if idle else []))
        first = herd.ask("back", since=0.0, patience=60.0, within=70.0)
        report.none("agents that never connected", first["sessions"] - first["back"])
        progress(f"{first['back']} agents connected")
        load = rig.load("herd", rate=rate, connections=16)
        load.ask("wait", seconds=before)
        at = time.monotonic()
        if how == "replace":
            rig.replace(hub)
        else:
            rig.crash(hub)
        found = herd.ask("back", since=at, patience=60.0, within=70.0)
        served = load.ask("next_right", since=time.monotonic() if how == "replace" else at, patience=30.0)
        load.ask("wait", seconds=LEAST_SECONDS)
        load.ask("stop")
        seen = rig.dump(load)
    report.none("agents that did not come back", found["sessions"] - found["back"])
    back = found["last"] or float("nan")
    report.at_most("all agents are back after", back - at, bound, "s")
    report.none("other callers that were never served again", int(served is None))
    begins = at if how == "replace" else served or at
    if how == "crash":
        report.note("other callers are served again after", begins - at, "s")
    quiet = times(seen, 0.0, at)
    busy = times(seen, begins, max(back, begins + LEAST_SECONDS))
    report.at_least("answers in that time", len(busy), rate)
    report.note("p99 of other traffic before", 1e3 * quantile(quiet, 0.99), "ms")
    report.note("p99 of other traffic while they return", 1e3 * quantile(busy, 0.99), "ms")
    report.at_most("ratio of the two", quantile(busy, 0.99) / quantile(quiet, 0.99), ratio)
    report.counts |= {"answers": seen["answers"], "failures": seen["failures"]}
    if how == "replace":
        report.none("requests without an answer", seen["failures"])
    return report


def make_keys(folder: Path, agents: int) -> dict[str, Any]:
    """Private keys in `folder`; the hub's table of their agents."""
    folder.mkdir()
    registered = {}
    for number in range(agents):
        key = identity.generate()
        identity.save_private_key(key, folder / f"herd-{number}.key")
        registered[f"herd-{number}"] = {"public_keys": [key.public.line], "services": [SERVICE]}
    return registered


def times(seen: dict[str, Any], begin: float, end: float) -> list[float]:
    """Seconds that the answers took that were complete in this span."""
    return [took for at, took in zip(seen["finished"], seen["latency"], strict=True) if begin <= at <= end]
