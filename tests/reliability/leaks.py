"""What a process keeps: memory, descriptors, threads and, by its metrics, streams and requests."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.reliability.report import Report
from tests.reliability.rig import gauges
from tests.support.process import Program
from tests.support.waiting import wait_until

MEMORY_FACTOR = 1.25
MEMORY_SLACK = 8 * 1024 * 1024
"""Above both a process has kept something: the allocator alone gives back less than it took."""
AT_REST = ("_streams", "_in_flight", "_held", "_queued", "_waiting", "_active")
"""Endings of gauges that are 0 while nothing is going on."""
QUIET_SECONDS = 150.0
"""Longer than a hub keeps an idle connection; it takes so long only where something is left."""


@dataclass(frozen=True)
class Kept:
    """One process at rest. `busy` are the gauges that are not 0 though nothing goes on."""

    memory: int
    descriptors: int
    threads: int
    tasks: int | None
    busy: dict[str, float]
    open: Counter[str]
    """The descriptors by what they are."""


def look(program: Program) -> Kept:
    process = psutil.Process(program.pid)
    opened, count = descriptors(process), process.num_fds()
    found = gauges(program)  # last: its own connection is one more descriptor, for a moment
    tasks = [int(value) for name, value in found.items() if name.endswith("asyncio_tasks")]
    return Kept(
        memory=process.memory_info().rss,
        descriptors=count,
        threads=process.num_threads(),
        tasks=tasks[0] if tasks else None,
        open=opened,
        busy={name: value for name, value in found.items() if value and name.endswith(AT_REST)},
    )


def descriptors(process: psutil.Process) -> Counter[str]:
    """What the descriptors of a process are: sockets by state and local port, files by path."""
    found: Counter[str] = Counter()
    folder = Path(f"/proc/{process.pid}/fd")
    for entry in folder.iterdir():
        with suppress(OSError):
            name = str(entry.readlink())
            found["socket" if name.startswith("socket:") else re.sub(r":\[\d+\]$", "", name)] += 1
    connections = process.net_connections("all")
    for connection in connections:
        place = connection.laddr[1] if isinstance(connection.laddr, tuple) and connection.laddr else "-"
        found[f"{connection.status} {place}"] += 1
    found["socket without a state"] = found.pop("socket", 0) - len(connections)
    return found


def wait_quiet(program: Program, before: Kept | None = None) -> Kept:
    """Wait, within bounds, until nothing goes on and no more descriptors are open than `before`."""

    seen: list[Kept] = []

    def quiet() -> bool:
        seen[:] = [look(program)]
        return not seen[0].busy and (before is None or seen[0].descriptors <= before.descriptors)

    with suppress(AssertionError):  # the comparison says what is left
        wait_until(quiet, f"{program.name} to come to rest", QUIET_SECONDS, every=0.5)
    return seen[0]


def compare(report: Report, program: Program, before: Kept, after: Kept) -> None:
    """Hold a process at the end against itself, or its predecessor, at the start."""
    mib = 1024 * 1024
    bound = max(MEMORY_FACTOR * before.memory, before.memory + MEMORY_SLACK)
    report.at_most(f"{program.name}: memory", round(after.memory / mib, 1), round(bound / mib, 1), "MiB")
    report.at_most(f"{program.name}: descriptors", after.descriptors, before.descriptors)
    if after.descriptors > before.descriptors:
        report.problems.append(f"{program.name} has more of {dict(after.open - before.open)}")
    report.at_most(f"{program.name}: threads", after.threads, max(before.threads, 1) + 1)
    if before.tasks is not None and after.tasks is not None:
        report.at_most(f"{program.name}: asyncio tasks", after.tasks, before.tasks)
    report.none(f"{program.name}: streams and requests left", after.busy)
