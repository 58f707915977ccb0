"""The demo: its story, the processes it owns, and ``python -m examples.demo`` as a whole."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from examples.demo.outcome import Outcome
from examples.demo.processes import REPOSITORY, ChildError, Supervisor
from examples.demo.story import REFUSED, STEPS, Story, tell
from tests.support.effort import thorough_only
from tests.support.process import Program, clean_environment, run_once
from tests.support.programs import VisitsApi
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

SMALL = 300_000  # bytes to download where the size is not the point
# For `python -m timeit`, which runs a statement and so spares the tests a module of their own.
IDLE = "import time; print('idle', flush=True); time.sleep(300)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {IDLE}"


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.lines: list[str] = []
        self.downloaded = 0

    def begin(self, outcome: Outcome) -> None:
        self.begun.append(outcome.title)

    def line(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def download(self, total: int) -> Iterator[Callable[[int], None]]:
        def advance(size: int) -> None:
            self.downloaded += size

        assert total == SMALL
        yield advance


@pytest.fixture
def api(tmp_path: Path) -> Iterator[VisitsApi]:
    program = VisitsApi(tmp_path)
    program.start()
    yield program
    program.close()


def failures(outcomes: list[Outcome]) -> dict[str, list[str]]:
    return {
        outcome.title: [f"{c.what}: {c.expected} / {c.seen}" for c in outcome.checks if not c.ok]
        for outcome in outcomes
        if not outcome.ok
    }


# -- the story, told straight to the upstream -----------------------------------------------------


def test_story_holds_against_the_upstream_itself(api: VisitsApi) -> None:
    notes = Notes()
    story = Story(api.url, api.url, notes, download_bytes=SMALL)
    outcomes = list(tell(story, through_tunnel=False))
    assert failures(outcomes) == {}
    assert notes.begun == [outcome.title for outcome in outcomes]
    assert notes.begun == [step.title for step in STEPS if not step.tunnel_only]
    assert [outcome.status for outcome in outcomes] == [200, 200, 200, 200, 409, 200, 200, 200]
    assert len(notes.lines) == 5
    assert notes.downloaded == SMALL


def test_story_notices_a_boundary_that_lets_through(api: VisitsApi) -> None:
    story = Story(api.url, api.url, Notes(), download_bytes=SMALL)
    differing = failures(list(tell(story)))  # nothing refuses here, so the last step must differ
    assert list(differing) == [STEPS[-1].title]
    assert "times the upstream saw it: 0 / 1" in differing[STEPS[-1].title]
    assert any(line.startswith("status: 403 / 404") for line in differing[STEPS[-1].title])


def test_story_notices_what_an_earlier_booking_changed(api: VisitsApi) -> None:
    """Told twice to one upstream: each difference is named, and none ends the story."""
    for _ in range(2):
        outcomes = list(tell(Story(api.url, api.url, Notes(), download_bytes=SMALL), through_tunnel=False))
    differing = failures(outcomes)
    assert list(differing) == ["Book the visit", "Send the same booking again", "Cancel the visit"]
    assert differing["Book the visit"] == ["status: 200 / 409: {'message': 'Duplicate post'}"]


def test_story_survives_a_hub_that_is_not_there(api: VisitsApi) -> None:
    api.stop()
    outcomes = list(tell(Story(api.url, api.url, Notes(), download_bytes=SMALL)))
    assert len(outcomes) == len(STEPS)
    assert all(outcome.status is None and not outcome.ok for outcome in outcomes)
    assert "ConnectError" in outcomes[0].checks[0].seen


# -- the processes --------------------------------------------------------------------------------


def test_a_child_that_dies_at_start_is_named_with_its_log(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("visits api", ["examples.visits_api", "--latency", "long"])
        with pytest.raises(ChildError, match=r"visits api ended by itself \(exit code 2\)") as caught:
            supervisor.wait_ready(child, "http://127.0.0.1:9/never")
        assert caught.value.child is child
        assert any("no duration" in line for line in child.tail())


@thorough_only
def test_a_child_that_never_becomes_ready_is_given_up(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("visits api", ["examples.visits_api", "--listen", "127.0.0.1:0"])
        with pytest.raises(ChildError, match="was not ready within 0 s"):
            supervisor.wait_ready(child, "http://127.0.0.1:9/never", limit=0.2)
        pid = child.process.pid
    assert not psutil.pid_exists(pid)


@thorough_only
def test_stopping_kills_what_does_not_obey_and_says_so(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    deaf = supervisor.start("deaf", ["timeit", "-n1", "-r1", DEAF])
    obedient = supervisor.start("visits api", ["examples.visits_api", "--listen", "127.0.0.1:0"])
    for child in (deaf, obedient):
        wait_until(lambda child=child: child.tail(), f"{child.name} to start")  # type: ignore[misc]
    assert supervisor.stop(limit=3.0) == ["deaf did not stop within 3 s of SIGTERM and was killed"]
    assert not psutil.pid_exists(deaf.process.pid)
    assert not psutil.pid_exists(obedient.process.pid)
    assert supervisor.stop() == []


def test_stopping_reports_a_child_that_had_ended(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    child = supervisor.start("brief", ["examples.visits_api", "--latency", "long"])
    child.process.wait(20)
    assert supervisor.stop() == ["brief had already ended (exit code 2)"]


@pytest.mark.skipif(sys.platform != "linux", reason="relies on Linux's parent-death signal")
def test_children_end_even_when_the_demo_is_killed_outright(tmp_path: Path) -> None:
    script = (
        "import time; from pathlib import Path; from examples.demo.processes import Supervisor\n"
        f"child = Supervisor(Path({str(tmp_path)!r})).start('idle', ['timeit', '-n1', '-r1', {IDLE!r}])\n"
        "print(child.process.pid, flush=True); time.sleep(300)\n"
    )
    demo = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=REPOSITORY, env=clean_environment()
    )
    try:
        assert demo.stdout is not None
        child = psutil.Process(int(demo.stdout.readline()))
    finally:
        demo.kill()
        demo.communicate(timeout=10)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the orphan to end")


# -- the whole ------------------------------------------------------------------------------------


def processes_of(output: str) -> list[int]:
    pids = [int(found) for found in re.findall(r"process (\d+)\)", output)]
    assert len(pids) == 3, output
    return pids


def test_once(tmp_path: Path) -> None:
    work = tmp_path / "work"
    demo = Program("demo", ["examples.demo", "--once", "--keep", str(work)], tmp_path)
    demo.start()
    try:
        code = demo.wait_exit(110)
    finally:
        demo.close()
    output = demo.log()
    assert code == 0, output
    for number, step in enumerate(STEPS, start=1):
        assert f"{number}. {step.title}" in output
    assert "✗" not in output
    assert "every process stopped cleanly" in output
    assert "\x1b" not in output, "no terminal, so no colours and no progress bar"
    assert "\r" not in output
    assert output.count("MB/s") == 1
    assert not [pid for pid in processes_of(output) if psutil.pid_exists(pid)]
    assert {path.name for path in work.iterdir()} >= {"hub.toml", "agent.toml", "hub.log", "agent.log"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_runs_until_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    demo = Program("demo", ["examples.demo"], tmp_path)
    demo.start()
    try:
        demo.wait_log("Running until Ctrl-C", timeout=110)
        pids = processes_of(demo.log())
        assert all(psutil.pid_exists(pid) for pid in pids)
        demo.signal(number)
        code = demo.wait_exit(30)
    finally:
        demo.close()
    output = demo.log()
    assert code == 0, output
    assert "curl -i -H 'Host: visits.internal' 'http://127.0.0.1:" in output
    assert f"{REFUSED}'" in output
    assert "/health" in output
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


@thorough_only
def test_a_child_that_dies_later_ends_the_demo_and_is_named(tmp_path: Path) -> None:
    demo = Program("demo", ["examples.demo"], tmp_path)
    demo.start()
    try:
        demo.wait_log("Running until Ctrl-C", timeout=110)
        pids = processes_of(demo.log())
        psutil.Process(pids[0]).kill()
        code = demo.wait_exit(30)
    finally:
        demo.close()
    assert code == 1
    assert "visits api ended by itself (signal 9)" in demo.log()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_keep_refuses_a_directory_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = run_once("examples.demo", "--once", "--keep", str(tmp_path))
    assert done.returncode == 1
    assert "is not empty; name a new directory" in done.stderr
    assert "Traceback" not in done.stderr
