"""`python -m tests.hostility {hub|agent|paths}`: attacks by the thousand; exit status 1: one got through."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tests.hostility import agent, hub, paths
from tests.reliability.report import Report

KEEP = click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep logs in this folder.")
OUT = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write the report there as JSON."
)
SEED = click.option("--seed", type=int, default=1, show_default=True)
SESSIONS = click.option("--sessions", type=click.IntRange(20), default=10_000, show_default=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Generated attacks on real processes. What a seed generates does not change; what a peer makes of it may."""


def _carry_out(run: Callable[..., Report], keep: Path | None, out: Path | None, **settings: Any) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=130)
    folder = keep or Path(tempfile.mkdtemp(prefix="tunnel-hostility-"))
    folder.mkdir(parents=True, exist_ok=True)
    report = run(folder, progress=lambda line: console.print(f"  {line}", highlight=False), **settings)
    report.show(console)
    if out is not None:
        console.print(f"  written to {report.write(out)}", highlight=False)
    if report.ok and keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    elif not report.ok:
        console.print(f"  logs: {folder}", highlight=False)
    sys.exit(0 if report.ok else 1)


@main.command("hub")
@SESSIONS
@SEED
@KEEP
@OUT
def hub_command(sessions: int, seed: int, keep: Path | None, out: Path | None) -> None:
    """A fully compromised hub against a real agent."""
    _carry_out(hub.run, keep, out, sessions=sessions, seed=seed)


@main.command("agent")
@SESSIONS
@SEED
@KEEP
@OUT
def agent_command(sessions: int, seed: int, keep: Path | None, out: Path | None) -> None:
    """Hostile agents, and strangers, against a real hub."""
    _carry_out(agent.run, keep, out, sessions=sessions, seed=seed)


@main.command("paths")
@click.option("--variants", type=click.IntRange(100), default=50_000, show_default=True)
@click.option("--through", type=int, help="How many go through hub and agent; by default all.")
@click.option("--straight", type=int, help="How many a hostile hub sends to the agent; by default all.")
@SEED
@KEEP
@OUT
def paths_command(
    variants: int, through: int | None, straight: int | None, seed: int, keep: Path | None, out: Path | None
) -> None:
    """Spellings of paths against the allow lists."""
    _carry_out(paths.run, keep, out, variants=variants, through=through, straight=straight, seed=seed)


if __name__ == "__main__":
    main()
