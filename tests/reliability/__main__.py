"""`python -m tests.reliability RUN`: the promises of docs/reliability.md, each shown by a run."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tests.reliability.report import Report

OUT = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write the report there as JSON."
)
KEEP = click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep logs in this folder.")


def number(name: str, default: float | int, text: str) -> Any:
    return click.option(name, type=type(default), default=default, show_default=True, help=text)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Load and faults against real hubs and agents. Exit status 1: a promise was broken."""


def command(module: str, *options: Any) -> None:
    """Make a command of `tests.reliability.<module>.run`; its help is the module's first line."""
    name = module.replace("_", "-")

    def work(out: Path | None, keep: Path | None, **settings: Any) -> None:
        console = Console() if sys.stdout.isatty() else Console(width=130)
        folder = keep or Path(tempfile.mkdtemp(prefix=f"tunnel-{name}-"))
        found: Report = importlib.import_module(f"tests.reliability.{module}").run(
            folder, progress=lambda line: console.print(f"  {line}", highlight=False), **settings
        )
        found.show(console)
        if out is not None:
            console.print(f"  written to {found.write(out)}", highlight=False)
        if found.ok and keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        elif not found.ok:
            console.print(f"  logs: {folder}", highlight=False)
        sys.exit(0 if found.ok else 1)

    work.__doc__ = HELP[module]
    decorated: Any = work
    for option in (*reversed(options), OUT, KEEP):
        decorated = option(decorated)
    main.command(name)(decorated)


HELP = {
    "chaos": "Every fault and restarts of every process, close together.",
    "soak": "A long load with a fault every few seconds; nothing is left over.",
    "herd": "A thousand agents return after a hub's restart.",
    "scenario12": "Photographs and lookups on a narrow link.",
    "cuts": "Cut the link at every frame and at random bytes of a 150 kB answer.",
    "silence": "Silent cuts with requests waiting: time until noticed.",
    "resets": "Link resets: time until served again.",
    "outage": "A real outage: time until served again.",
    "restarts": "Restart agents and replace hubs under keep-alive callers.",
    "effects": "POSTs with unique refs under cuts and kills.",
    "mixups": "A million answers with deadlines and cancellations.",
}

command(
    "restarts",
    number("--requests", 100_000, "Answers to wait for."),
    number("--cycles", 50, "Restarts of an agent, and replacements of a hub."),
    number("--rate", 800.0, "Requests a second."),
    number("--connections", 24, "Callers' connections."),
)
command(
    "effects",
    number("--requests", 200_000, "POSTs, retries not counted."),
    number("--rate", 1_500.0, "POSTs a second."),
    number("--every", 0.7, "Mean seconds between faults."),
    number("--seed", 1, "Of the faults."),
)
command(
    "mixups",
    number("--answers", 1_000_000, "Right answers to wait for."),
    number("--connections", 64, "Callers' connections."),
)

command("cuts", number("--cuts", 200, "Cuts at random bytes."), number("--seed", 1, "Of the bytes."))
command(
    "silence",
    number("--cuts", 100, "Silent cuts."),
    number("--side-by-side", 4, "Tunnels cut at the same time."),
)
command(
    "resets",
    number("--resets", 300, "Resets."),
    number("--side-by-side", 6, "Tunnels reset at the same time."),
    number("--settle", 1.0, "Seconds of quiet before each."),
)
command(
    "outage",
    number("--seconds", 120.0, "Length of the outage."),
    number("--lanes-each", 2, "Tunnels of each kind of outage."),
)

command(
    "herd",
    number("--agents", 1_000, "Simulated agents."),
    number("--rate", 200.0, "Other requests a second."),
    click.option(
        "--how", type=click.Choice(["replace", "crash"]), default="replace", show_default=True, help="Restart."
    ),
)
command("scenario12", number("--seconds", 60.0, "For each round-trip time."))

command(
    "chaos",
    number("--seconds", 120.0, "How long."),
    number("--every", 0.5, "Mean seconds between faults."),
    number("--seed", 1, "Of load and faults."),
)
command(
    "soak",
    number("--minutes", 30.0, "How long, the warm-up included."),
    number("--every", 3.0, "Mean seconds between faults."),
    number("--seed", 1, "Of load and faults."),
)

if __name__ == "__main__":
    main()
