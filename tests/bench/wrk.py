"""wrk as a function: so many connections for so long, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.children import MeasurementFailed, run_json
from tests.bench.machine import tool

_REPORT = Path(__file__).with_name("wrk_report.lua")
_BEARERS = Path(__file__).with_name("wrk_bearers.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk: requests per second, and latencies in seconds."""

    rate: float
    p50: float
    p99: float


def load(
    url: str,
    *,
    connections: int,
    seconds: int,
    folder: Path,
    fields: Sequence[str] = (),
    bearers: Path | None = None,
) -> Load:
    """Run `wrk -t1` for whole seconds. One failed answer fails the measurement: fast errors are no speed.

    fields: lines `Name: value` for every request; bearers: a file with a bearer for each request, line by line.
    """
    command = [
        tool("wrk"),
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "5s",
        "-s",
        str(_REPORT if bearers is None else _BEARERS),
        *(option for field in fields for option in ("-H", field)),
        url,
    ]
    env = {} if bearers is None else {"BEARERS": str(bearers), "REPORT": str(_REPORT)}
    result = run_json("wrk", command, folder, timeout=seconds + 30, env=env)
    if result["failed"] or not result["requests"]:
        raise MeasurementFailed(f"{result['failed']} of {result['requests']} requests failed")
    return Load(
        rate=result["requests"] / (result["duration"] / 1e6),
        p50=result["p50"] / 1e6,
        p99=result["p99"] / 1e6,
    )
