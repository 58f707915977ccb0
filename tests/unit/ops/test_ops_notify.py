"""What the service manager hears, from a socket of its kind; time is simulated where it matters."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.ops.notify import LOOK_EVERY, STATUS_MAX, Notifier, Reporter
from tests.support import virtual
from tests.support.logs import Logged, kept


class Manager:
    """The other end."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + place[1:] if place.startswith("@") else place)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Every line since the last call."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify")
    made = Manager(name if request.param == "file" else "@" + name)
    yield made
    made.close()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


# -- The way to the manager -------------------------------------------------------------------------


def test_lines_arrive(manager: Manager) -> None:
    notifier = Notifier(manager.place)
    assert notifier.active
    assert notifier.send("READY=1", "STATUS=grün")
    assert manager.heard() == ["READY=1", "STATUS=grün"]
    notifier.close()
    notifier.close()
    assert not notifier.active


@pytest.mark.parametrize("place", ["", "vsock:2:1234", "relative"])
def test_without_a_manager_nothing_happens(place: str) -> None:
    notifier = Notifier(place)
    assert not notifier.active
    assert notifier.send("READY=1")
    notifier.close()


@pytest.mark.parametrize("place", ["/nowhere/at/all", "/" + "x" * 300, "/a\0b"])
def test_a_manager_that_is_not_there_is_no_error(place: str) -> None:
    notifier = Notifier(place)
    assert not notifier.send("READY=1")
    notifier.close()


def test_a_manager_that_does_not_read_blocks_nobody(one: Manager) -> None:
    notifier = Notifier(one.place)
    sent = [notifier.send("STATUS=" + "x" * 1000) for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]
    notifier.close()


def test_the_variables_are_taken(one: Manager) -> None:
    environment = {"NOTIFY_SOCKET": one.place, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.from_environment(environment)
    assert environment == {}
    assert notifier.active
    assert notifier.watchdog == 30.0
    notifier.close()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "2000000"}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "", "WATCHDOG_PID": str(os.getpid())}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "²"}, 0.0),
    ],
)
def test_who_waits_for_signs_of_life(variables: dict[str, str], seconds: float) -> None:
    assert Notifier.from_environment(dict(variables)).watchdog == seconds


# -- What is said when ------------------------------------------------------------------------------


class Program:
    """A program with a loop of its own whose state the test sets."""

    def __init__(self, manager: Manager, watchdog: float) -> None:
        self.now = "2 sessions"
        self.wrong = ""
        self.reporter = Reporter(Notifier(manager.place, watchdog), asyncio.get_running_loop())

    def start(self) -> None:
        self.reporter.start(lambda: self.now, lambda: self.wrong)


def simulate(manager: Manager, watchdog: float, scenario: Callable[[Program], Any]) -> None:
    async def whole() -> None:
        program = Program(manager, watchdog)
        try:
            await scenario(program)
        finally:
            program.reporter.close()

    virtual.run(whole())


def test_ready_comes_with_the_start_and_not_before(one: Manager) -> None:
    async def scenario(program: Program) -> None:
        await asyncio.sleep(60)
        assert one.heard() == []
        program.start()
        assert one.heard() == ["READY=1", "WATCHDOG=1", "STATUS=2 sessions"]

    simulate(one, 30.0, scenario)


@pytest.mark.parametrize("watchdog", [0.5, 2.0, 5.0, 30.0, 600.0])
def test_signs_of_life_come_twice_in_each_interval_or_more(one: Manager, watchdog: float) -> None:
    async def scenario(program: Program) -> None:
        program.start()
        assert "WATCHDOG=1" in one.heard()
        last = worst = 0.0
        step = watchdog / 20
        for turn in range(1, 400):
            await asyncio.sleep(step)
            if "WATCHDOG=1" in one.heard():
                worst = max(worst, turn * step - last)
                last = turn * step
        assert 0 < worst <= watchdog / 2 + 2 * step

    simulate(one, watchdog, scenario)


def test_nobody_is_fed_where_nobody_waits(one: Manager) -> None:
    async def scenario(program: Program) -> None:
        program.start()
        await asyncio.sleep(100)
        assert one.heard() == ["READY=1", "STATUS=2 sessions"]

    simulate(one, 0.0, scenario)


def test_no_sign_of_life_while_something_is_wrong(one: Manager, logged: Logged) -> None:
    async def scenario(program: Program) -> None:
        program.start()
        one.heard()
        program.wrong = "stuck"
        await asyncio.sleep(100)
        assert one.heard() == ["STATUS=stuck; 2 sessions"]
        assert logged.texts == ["this process is of no use; the service manager gets no sign of life"]
        program.wrong = ""
        await asyncio.sleep(LOOK_EVERY)
        assert one.heard() == ["WATCHDOG=1", "STATUS=2 sessions"]

    simulate(one, 30.0, scenario)


def test_a_loop_that_does_not_turn_gives_no_sign(one: Manager) -> None:
    async def blocked() -> None:
        program = Program(one, 0.1)
        program.start()
        one.heard()
        time.sleep(0.3)  # noqa: ASYNC251  # this is the fault
        assert one.heard() == []
        await asyncio.sleep(0.06)
        assert "WATCHDOG=1" in one.heard()
        program.reporter.close()

    asyncio.run(blocked())


def test_a_status_is_sent_when_it_changes(one: Manager) -> None:
    async def scenario(program: Program) -> None:
        program.start()
        one.heard()
        await asyncio.sleep(60)
        assert one.heard() == []
        program.now = "no session\nREADY=0"
        await asyncio.sleep(LOOK_EVERY)
        assert one.heard() == ["STATUS=no session READY=0"], "one line, whatever is in it"
        program.now = "x" * 5000
        await asyncio.sleep(LOOK_EVERY)
        assert one.heard() == ["STATUS=" + "x" * STATUS_MAX]

    simulate(one, 0.0, scenario)


def test_a_status_that_cannot_be_told_does_not_starve_the_watchdog(one: Manager) -> None:
    async def scenario(program: Program) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        program.start()
        one.heard()
        del program.now
        await asyncio.sleep(100)
        assert one.heard().count("WATCHDOG=1") >= 6

    simulate(one, 30.0, scenario)


def test_ready_is_owed_until_it_could_be_said(one: Manager) -> None:
    async def scenario(program: Program) -> None:
        while program.reporter._notifier.send("STATUS=" + "x" * 1000):
            pass
        program.start()
        one.heard()
        await asyncio.sleep(LOOK_EVERY)
        assert one.heard() == ["READY=1", "WATCHDOG=1", "STATUS=2 sessions"]

    simulate(one, 30.0, scenario)


def test_a_reload_is_announced(one: Manager) -> None:
    async def scenario(program: Program) -> None:
        program.start()
        one.heard()
        before = time.monotonic_ns() // 1000
        program.reporter.reloading()
        reloading, stamp = one.heard()
        assert reloading == "RELOADING=1"
        assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        program.reporter.reloaded()
        assert one.heard() == ["READY=1"]

    simulate(one, 0.0, scenario)


def test_stopping_asks_for_the_time_that_draining_takes_and_lives_on(one: Manager) -> None:
    async def scenario(program: Program) -> None:
        program.start()
        one.heard()
        program.reporter.stopping(60.0)
        assert one.heard() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=80000000", "STATUS=draining"]
        program.wrong = "closed"
        await asyncio.sleep(60)
        lines = one.heard()
        assert lines.count("WATCHDOG=1") >= 3
        assert lines.count("STATUS=draining; 2 sessions") == 1

    simulate(one, 30.0, scenario)


def test_no_timer_where_nobody_listens() -> None:
    async def whole() -> None:
        reporter = Reporter(Notifier(), asyncio.get_running_loop())
        reporter.start(lambda: 1 / 0, lambda: 1 / 0)  # type: ignore[return-value, arg-type]
        reporter.reloading()
        reporter.reloaded()
        reporter.stopping(30.0)
        reporter.close()

    virtual.run(whole())
