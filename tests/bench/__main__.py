"""`python -m tests.bench`: the figures of docs/performance.md, on this machine."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from tests.bench import machine, nginx
from tests.bench.cases import QUICK, Case, Sizes
from tests.bench.children import MeasurementFailed
from tests.bench.report import print_report, read_json, to_json, write_json
from tests.bench.runner import Runner
from tests.bench.table import CASES
from tests.bench.tunnel import Former

ROW_NAMES = [row.name for case in CASES for row in case.rows]


def chosen(only: str | None, sizes: Sizes) -> list[Case]:
    """The cases that yield the wanted rows; raises click.BadParameter for a name that is none."""
    wanted = ROW_NAMES if only is None else [name.strip() for name in only.split(",") if name.strip()]
    for name in wanted:
        if name not in ROW_NAMES:
            raise click.BadParameter(f"no row is called {name!r}; there are: {', '.join(ROW_NAMES)}")
    return [kind(sizes) for kind in CASES if any(row.name in wanted for row in kind.rows)]


def draw(results: list, path: Path) -> None:  # type: ignore[type-arg]
    """Write the plot; raises click.ClickException without matplotlib."""
    try:
        from tests.bench.plot import plot
    except ImportError as error:
        raise click.ClickException(
            f"the plot needs {error.name}; install it with: pip install -e .[bench]"
        ) from error
    plot(results, path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Two short rounds of everything: to see that it works.")
@click.option("--only", metavar="ROW,...", help=f"Only these rows: {', '.join(ROW_NAMES)}.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Rounds for every row (default: 2 to 5, by row).")
@click.option(
    "--nginx-keepalive",
    "pool",
    type=click.IntRange(1, 10_000),
    default=nginx.POOL,
    show_default=True,
    help="Connections that nginx keeps to its upstream; the yardstick depends on it.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another checkout, whose tunnel takes its turn in every round: before and after.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("bench-results"))
@click.option("--plot", "plot_path", type=click.Path(path_type=Path, dir_okay=False), help="SVG or PNG.")
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Measure nothing: print (and plot) the JSON of an earlier run.",
)
def main(
    quick: bool,
    only: str | None,
    rounds: int | None,
    pool: int,
    against: Path | None,
    out: Path,
    plot_path: Path | None,
    earlier: Path | None,
) -> None:
    """Measure the tunnel beside nginx two-hop and ssh -R, in alternating rounds."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)  # a log file has no width of its own
    if earlier is not None:
        results = read_json(earlier)
        print_report(console, results)
        if plot_path is not None:
            draw(results, plot_path)
        return
    nginx.POOL = pool
    if against is not None:
        Former.tree = against.resolve()
    cases = chosen(only, QUICK if quick else Sizes())
    missing = machine.missing_tools()
    if missing:
        raise click.ClickException("\n".join(missing))
    machine.raise_file_limit()
    signal.signal(signal.SIGTERM, _interrupt)
    described = machine.describe()
    started = time.monotonic()
    interrupted = False
    broken: Exception | None = None
    with console.status("starting") as status:
        last = ""

        def progress(step: str) -> None:
            nonlocal last
            status.update(step)
            title = step.partition(": round")[0]
            if not console.is_terminal and title != last:
                console.print(title, highlight=False)
            last = title

        runner = Runner(
            cases, rounds=rounds or (2 if quick else None), progress=progress, former=against is not None
        )
        try:
            runner.run()
        except MeasurementFailed as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            interrupted = True
        except Exception as error:  # a fault of the benchmark: what it has measured is reported all the same
            broken = error
    results = list(runner.results.values())
    print_report(console, results)
    settings = {
        "quick": quick,
        "sizes": dataclasses.asdict(QUICK if quick else Sizes()),
        "rounds": {row.name: runner.rounds(case) for case in cases for row in case.rows},
        "seconds": round(time.monotonic() - started),
        "interrupted": interrupted,
    }
    path = write_json(to_json(results, described, settings), out)
    console.print(
        f"{settings['seconds']} s on {described['cpus']} processors; every sample: {path}", highlight=False
    )
    if plot_path is not None:
        draw(results, plot_path)
    if broken is not None:
        raise broken
    if interrupted:
        sys.exit(130)
    # A missed target is news, not a failure; a row that could not be measured is one.
    sys.exit(1 if any(result.met() is None for result in results) else 0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
