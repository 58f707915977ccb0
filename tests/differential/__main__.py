"""`python -m tests.differential`: malformed requests to real servers through the tunnel; exit 1 on any finding."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from tests.differential.campaign import Tally
from tests.differential.run import run
from tests.differential.servers import Kind, kinds


def choose(wanted: str | None, console: Console) -> list[Kind]:
    """The installed servers among those asked for; says which are missing and why."""
    known = kinds()
    names = [kind.name for kind in known] if wanted is None else [name.strip() for name in wanted.split(",")]
    if unknown := set(names) - {kind.name for kind in known}:
        raise click.BadParameter(f"no such server: {', '.join(sorted(unknown))}")
    chosen = [kind for kind in known if kind.name in names]
    for kind in chosen:
        if not kind.version:
            console.print(f"{kind.name} is left out: {kind.why_not}", style="yellow")
    return [kind for kind in chosen if kind.version]


def report(console: Console, tallies: list[Tally]) -> None:
    """The table, what the cases were made of, and every finding (the first hundred in full)."""
    columns = ("server", "version", "cases", "refused", "forwarded", "upstream refused", "unanswered", "repeated")
    table = Table(*columns, "desynchronised", box=box.SIMPLE_HEAD)
    for tally in tallies:
        numbers = (tally.cases, tally.refused, tally.forwarded, tally.upstream_refused, tally.unanswered)
        row = (*numbers, tally.repeated, len(tally.findings))
        table.add_row(tally.server, tally.version, *(f"{number:,}" for number in row))
    console.print(table)
    families: Counter[str] = sum((tally.families for tally in tallies), Counter())
    if families:
        console.print("; ".join(f"{name} {count:,}" for name, count in families.most_common()))
    for finding in [finding for tally in tallies for finding in tally.findings][:100]:
        console.print(finding, markup=False, highlight=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--cases", type=click.IntRange(1), default=32_000, show_default=True, help="Over all servers together."
)
@click.option(
    "--answers", type=click.IntRange(1), default=6_000, show_default=True, help="Of the hostile upstream."
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--servers", metavar="NAME,...", help=f"Only these: {', '.join(kind.name for kind in kinds())}.")
def main(cases: int, answers: int, seed: int, servers: str | None) -> None:
    """One request in is one request, or none, out, whatever a caller sends and an upstream answers."""
    console = Console(width=140, soft_wrap=True)
    chosen = choose(servers, console)
    if not chosen:
        raise click.ClickException("none of the servers is installed")
    began = time.monotonic()
    share = -(-cases // len(chosen))
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        tallies = run(Path(folder), chosen, cases=share, answers=answers, seed=seed, tell=console.print)
    report(console, tallies)
    findings = sum(len(tally.findings) for tally in tallies)
    sent = sum(tally.cases for tally in tallies[:-1])
    console.print(
        f"{sent:,} requests over {len(chosen)} servers and {answers:,} answers "
        f"in {time.monotonic() - began:.0f} s, seed {seed}: {findings} findings"
    )
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
