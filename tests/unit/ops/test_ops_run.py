"""The life of a process, in real processes where signals and exit codes are the matter."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from protocol.ops import run
from protocol.ops.run import Process
from protocol.ops.sockets import StartError
from tests.support.logs import Logged, kept

HEAD = """
import asyncio, sys
from protocol.ops import log, run
from protocol.ops.sockets import StartError
from tests.support.logs import Logged, kept
log.setup("json", "info")

def say(text):
    print(text, flush=True)

"""


class Child:
    """A program that reports on stdout where it stands."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEAD + textwrap.dedent(code) + "\nsys.exit(run.run(main))\n"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def expect(self, text: str) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == text, f"{line!r} {self.process.stderr.read() if self.process.stderr else ''}"

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, list[dict[str, Any]]]:
        """The exit code and the events of the log."""
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, [json.loads(line) for line in errors.splitlines()]


@pytest.fixture
def start() -> Iterator[Any]:
    children: list[Child] = []

    def start(code: str) -> Child:
        children.append(Child(code))
        return children[-1]

    yield start
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
        child.process.communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops(start: Any, number: signal.Signals) -> None:
    child = start("""
        import uvloop
        async def main(process):
            assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
            say("up")
            await process.stop.wait()
            say("stopped")
    """)
    child.expect("up")
    child.send(number)
    child.expect("stopped")
    code, events = child.end()
    assert code == 0
    assert [event["signal"] for event in events] == [number.name]


def test_a_second_interrupt_ends_at_once(start: Any) -> None:
    child = start("""
        async def main(process):
            say("up")
            await process.stop.wait()
            say("draining")
            await asyncio.sleep(3600)
    """)
    child.expect("up")
    child.send(signal.SIGINT)
    child.expect("draining")
    child.send(signal.SIGINT)
    assert child.end()[0] == run.EXIT_INTERRUPTED


def test_a_second_terminate_does_not_cut_the_drain_short(start: Any) -> None:
    child = start("""
        async def main(process):
            say("up")
            await process.stop.wait()
            say("draining")
            drained = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(10, drained.set)
            say("waiting")
            await drained.wait()
            say("drained")
    """)
    child.expect("up")
    child.send(signal.SIGTERM)
    child.expect("draining")
    child.expect("waiting")
    child.send(signal.SIGTERM)
    child.send(signal.SIGUSR1)
    child.expect("drained")
    assert child.end()[0] == 0


def test_reloads_come_one_at_a_time_and_none_is_lost(start: Any) -> None:
    child = start("""
        async def main(process):
            running = 0
            async def reload():
                nonlocal running
                running += 1
                assert running == 1
                say("reloading")
                await process_gate.wait()
                running -= 1
                say("reloaded")
            process_gate = asyncio.Event()
            process.on_reload(reload)
            asyncio.get_running_loop().add_signal_handler(10, process_gate.set)
            say("up")
            await process.stop.wait()
    """)
    child.expect("up")
    child.send(signal.SIGHUP)
    child.expect("reloading")
    child.send(signal.SIGHUP)
    child.send(signal.SIGUSR1)
    child.expect("reloaded")
    child.expect("reloading")
    child.expect("reloaded")
    child.send(signal.SIGTERM)
    assert child.end()[0] == 0


def test_an_early_reload_counts_and_a_failing_one_is_logged(start: Any) -> None:
    child = start("""
        async def main(process):
            import os, signal
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.05)
            def reload():
                say("reloaded")
                raise RuntimeError("boom")
            process.on_reload(reload)
            await process.stop.wait()
            say(process.unexpected)
    """)
    child.expect("reloaded")
    child.send(signal.SIGHUP)
    child.expect("reloaded")
    child.send(signal.SIGTERM)
    child.expect("2")
    code, events = child.end()
    assert code == 0
    assert [event["event"] for event in events if event["level"] == "error"] == ["a task failed"] * 2
    assert all("boom" in event["exception"] for event in events if event["level"] == "error")


def test_exit_codes(start: Any) -> None:
    cannot = start("""
        async def main(process):
            raise StartError("listen.callers: the port is taken")
    """)
    wrong = start("""
        async def main(process):
            raise RuntimeError("boom")
    """)
    code, events = cannot.end()
    assert code == run.EXIT_FAILED
    assert [(e["event"], e["reason"], e.get("exception")) for e in events] == [
        ("cannot start", "listen.callers: the port is taken", None)
    ]
    code, events = wrong.end()
    assert code == run.EXIT_FAILED
    assert "RuntimeError: boom" in events[0]["exception"]


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(0)


@pytest.mark.usefixtures("logged")
def test_signals_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as above where coverage can see it."""
    seen: list[Any] = []
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    async def main(process: Process) -> None:
        async def reload() -> None:
            seen.append("reload")
            if seen == ["reload"]:
                os.kill(os.getpid(), signal.SIGHUP)
                await until(lambda: process._reload_asked)

        process.on_reload(reload)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(seen) == 2)
        os.kill(os.getpid(), signal.SIGTERM)
        await process.stop.wait()
        process._on_terminate()
        for count in (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
            await until(lambda count=count: process._interrupts == count)
        seen.append("stopped")

    before = [signal.getsignal(number) for number in numbers]
    monkeypatch.setattr(os, "_exit", seen.append)
    assert run.run(main) == run.EXIT_OK
    assert seen == ["reload", "reload", run.EXIT_INTERRUPTED, "stopped"]
    assert [signal.getsignal(number) for number in numbers] == before


def test_exit_codes_in_this_process(logged: Logged) -> None:
    async def cannot(_process: Process) -> None:
        raise StartError("the port is taken")

    async def wrong(_process: Process) -> None:
        raise RuntimeError("boom")

    assert run.run(cannot) == run.EXIT_FAILED
    assert run.run(wrong) == run.EXIT_FAILED
    assert logged.texts == ["cannot start", "unexpected error"]
    assert logged.events[0]["reason"] == "the port is taken"
    assert "RuntimeError: boom" in logged.events[1]["exception"]


async def test_an_early_reload_counts(process: Process) -> None:
    seen: list[str] = []
    process._on_hangup()
    assert seen == []
    process.on_reload(lambda: seen.append("reload"))
    await until(lambda: seen)
    assert seen == ["reload"]


async def test_no_reload_begins_while_stopping(process: Process) -> None:
    seen: list[str] = []
    gate = asyncio.Event()

    async def reload() -> None:
        seen.append("reload")
        await gate.wait()

    process.on_reload(reload)
    process._on_hangup()
    await until(lambda: seen)
    process._on_hangup()
    process.stop.set()
    gate.set()
    await process.close()
    assert seen == ["reload"]


@pytest.fixture
async def process(logged: Logged) -> Any:
    loop = asyncio.get_running_loop()
    process = Process(loop)
    yield process
    await process.close()
    loop.set_exception_handler(None)


async def test_a_failing_task_is_counted(process: Process, logged: Logged) -> None:
    async def fail() -> None:
        raise RuntimeError("boom")

    task = process.spawn(fail(), "careless")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert process.unexpected == 1
    asyncio.get_running_loop().call_exception_handler({"message": "odd"})
    assert process.unexpected == 2
    assert logged.texts == ["a task failed", "odd"]
    assert logged.events[0]["task"] == "careless"


async def test_close_cancels_and_waits(process: Process, logged: Logged) -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            ended = True

    task = process.spawn(work(), "work")
    await asyncio.sleep(0)
    await process.close()
    assert ended
    assert task.cancelled()
    assert logged.texts == []


async def test_close_is_bounded(process: Process, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TASKS_PATIENCE", 0.01)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    task = process.spawn(stubborn(), "stubborn")
    await asyncio.sleep(0)
    await process.close()
    release.set()
    await task
    assert logged.texts == ["a task did not end"]


def test_tune_gc() -> None:
    before = gc.get_threshold()
    try:
        run.tune_gc()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
