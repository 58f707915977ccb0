"""Command line: ``python -m examples.demo [--once] [--keep DIR]``, or ``make demo``."""

from __future__ import annotations

import io
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from examples.demo.processes import ChildError, Supervisor
from examples.demo.setting import Stage, set_stage, start_all
from examples.demo.show import Show
from examples.demo.story import Story, tell

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WATCH_INTERVAL = 0.5  # seconds


class StopRequested(BaseException):
    """A signal asked the demo to end. No Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _Stopping:
    """Handles signals: the first one ends the demo, further ones cannot interrupt its bounded stopping."""

    def __init__(self) -> None:
        self.begun = False

    def __call__(self, signum: int, _: FrameType | None) -> None:
        if not self.begun:
            self.begun = True
            raise StopRequested(signum)


@contextmanager
def _work_directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="tunnel-demo-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    try:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = any(keep.iterdir())
    except OSError as exc:
        raise click.ClickException(f"cannot use {keep}: {exc.strerror}") from None
    if used:
        raise click.ClickException(f"{keep} is not empty; name a new directory")
    yield keep.resolve()


def _tell_story(show: Show, supervisor: Supervisor, stage: Stage) -> bool:
    story = Story(base=f"http://{stage.callers}", ledger=f"http://{stage.upstream}", watcher=show)
    suspects: set[str] = set()
    failed: list[str] = []
    with closing(tell(story)) as outcomes:  # a story cut short closes its connection, so that the hub can stop
        for outcome in outcomes:
            show.outcome(outcome)
            if not outcome.ok:
                failed.append(f"{outcome.number}. {outcome.title}")
                suspects.update(outcome.suspects)
    for child in supervisor.children:
        if child.name in suspects:
            show.log(child)
    if failed:
        show.problem(f"{len(failed)} step(s) differed: {', '.join(failed)}")
    return not failed


def _perform(show: Show, supervisor: Supervisor, stage: Stage, once: bool) -> bool:
    start_all(supervisor, stage)
    for child, address in zip(
        supervisor.children, (stage.upstream, stage.callers, stage.agent_admin), strict=True
    ):
        show.note(f"{child.name} is ready (http://{address}, process {child.process.pid})")
    show.heading("The story, told through the hub")
    good = _tell_story(show, supervisor, stage)
    if not once:
        show.invitation(stage)
        show.heading("Running until Ctrl-C")
        while True:
            supervisor.check()
            time.sleep(_WATCH_INTERVAL)
    return good


def _run(show: Show, directory: Path, once: bool, stopping: _Stopping) -> int:
    code = 1
    with Supervisor(directory) as supervisor:
        try:
            show.heading("Starting")
            stage = set_stage(directory)
            code = 0 if _perform(show, supervisor, stage, once) else 1
        except ChildError as exc:
            show.problem(str(exc))
            if exc.child is not None:
                show.log(exc.child)
        except StopRequested as stop:
            # Ctrl-C is how the long form ends; a story cut short is not a story told.
            code = 128 + stop.signum if once else 0
        stopping.begun = True
        show.heading("Stopping")
        trouble = supervisor.stop()
    for sentence in trouble:
        show.problem(sentence)
    if not trouble:
        show.note("every process stopped cleanly")
    return 1 if trouble and code == 0 else code


@click.command()
@click.option("--once", is_flag=True, help="End after the story: exit 0 if all went as expected, else 1.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Work in this new directory and leave keys, configuration and logs there.",
)
def main(once: bool, keep: Path | None) -> None:
    """Show the tunnel at work: an upstream, an agent and a hub as real processes on this machine."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a ✓ must not end the demo where output is ASCII
    show = Show(Console())
    stopping = _Stopping()
    for signum in _SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup stays in force
            signal.signal(signum, stopping)
    try:
        with _work_directory(keep) as directory:
            code = _run(show, directory, once, stopping)
    except StopRequested as stop:
        code = 128 + stop.signum
    sys.exit(code)


if __name__ == "__main__":
    main()
