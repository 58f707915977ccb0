"""What the demo prints: readable in a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from examples.demo.outcome import Outcome
from examples.demo.processes import Child
from examples.demo.setting import SERVICE_HOST, Stage
from examples.demo.story import BOOKING, REFUSED


class Show:
    """Prints to ``console``; a progress bar only appears in a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def heading(self, text: str) -> None:
        """The title of a part."""
        self._say(f"\n[bold]{escape(text)}[/bold]")

    def note(self, text: str) -> None:
        """A line of information."""
        self._say(f"  {escape(text)}")

    def begin(self, outcome: Outcome) -> None:
        """A step begins."""
        self._say(f"[bold]{outcome.number}. {escape(outcome.title)}[/bold]")

    def line(self, text: str) -> None:
        """Something that arrived within a step, printed at once."""
        self._say(f"    [dim]{escape(text)}[/dim]")

    @contextmanager
    def download(self, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar, gone when the download is done; nothing outside a terminal."""
        if not self._console.is_terminal:
            yield lambda _: None
            return
        columns = (
            TextColumn("   "),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=total)
            yield lambda size: progress.advance(task, size)

    def outcome(self, outcome: Outcome) -> None:
        """A finished step: the call, what came back, and every expectation."""
        sign = "[green]✓[/green]" if outcome.ok else "[red]✗[/red]"
        status = outcome.status if outcome.status is not None else "no answer"
        self._say(f"  {sign} [cyan]{outcome.method} {escape(outcome.path)}[/cyan]")
        self._say(f"    {status} in {_time(outcome.seconds)}{_fact(outcome)}")
        for check in outcome.checks:
            if check.ok:
                self._say(f"    [green]✓[/green] {escape(check.what)}: {escape(check.seen)}")
            else:
                expected, seen = escape(check.expected), escape(check.seen)
                self._say(f"    [red]✗[/red] {escape(check.what)}: expected {expected}, seen {seen}")

    def problem(self, text: str) -> None:
        """Something that went wrong outside a step."""
        self._say(f"[red]✗ {escape(text)}[/red]")

    def log(self, child: Child, lines: int = 15) -> None:
        """The end of a child's log."""
        self._say(f"  the end of {escape(str(child.log))}:")
        for line in child.tail(lines) or ["(empty)"]:
            self._say(f"  [dim]| {escape(line)}[/dim]")

    def invitation(self, stage: Stage) -> None:
        """Lines to copy, and where to look."""
        hub = f"http://{stage.callers}"
        self.heading("Try it yourself (through the hub)")
        for command in (
            f"curl -i '{hub}/nomisapi/lookup/active_offender?noms_id=A1475AE&date_of_birth=1979-04-23'",
            f"curl -i '{hub}/nomisapi/prison/LEI/slots?start_date=2018-04-05&end_date=2018-04-08'",
            f"curl -i -H 'Content-Type: application/json' '{hub}{BOOKING}' \\\n"
            '    -d \'{"lead_contact":13429,"slot":"2018-04-06T14:00/15:30","client_unique_ref":"mine-1"}\'',
            f"curl -N '{hub}/nomisapi/events/stream?count=20'",
            f"curl -o /dev/null '{hub}/nomisapi/bulk?bytes=1000000000'",
            f"curl -i -H 'Host: {SERVICE_HOST}' '{hub}{REFUSED}'    # the boundary refuses",
        ):
            self.note(command)
        self.heading("Status")
        self.note(f"hub:   http://{stage.hub_admin}/health  http://{stage.hub_admin}/metrics")
        self.note(f"agent: http://{stage.agent_admin}/health  http://{stage.agent_admin}/metrics")
        self.note(f"what the upstream received: http://{stage.upstream}/ledger")
        self.note(f"keys, configuration and logs: {stage.directory}")

    def _say(self, markup: str) -> None:
        # Unwrapped, so that what is printed can be copied.
        self._console.print(markup, soft_wrap=True, highlight=False, emoji=False)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _fact(outcome: Outcome) -> str:
    return f" — {escape(outcome.fact)}" if outcome.ok and outcome.fact else ""
