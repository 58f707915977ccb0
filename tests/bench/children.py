"""Child processes of the benchmark: started with a log, watched, and stopped with all they started."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.support.process import clean_environment

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 5.0


class MeasurementFailed(Exception):
    """A chain could not be started, or one of its figures could not be taken; the message says why."""


def module(name: str, *arguments: object) -> list[str]:
    """The command line that runs `tests.bench.<name>` in a process of its own."""
    return [sys.executable, "-m", f"tests.bench.{name}", *map(str, arguments)]


class Child:
    """One process and its descendants. A context manager: leaving it stops them all, whatever happened."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, *, pipes: bool = False) -> None:
        """`pipes`: stdin and stdout are ours; otherwise stdout goes to the log with stderr."""
        self.name = name
        self.log_file = folder / f"{name}.log"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=clean_environment(),
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else log,
                stderr=log,
                text=True,
                # Ctrl-C reaches the benchmark alone, which then stops its children in order.
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raise MeasurementFailed, with the end of its log, when the process has ended."""
        status = self.process.poll()
        if status is not None:
            raise MeasurementFailed(f"{self.name} ended with status {status}: {self.tail()}")

    def tail(self, lines: int = 5) -> str:
        text = self.log_file.read_text(errors="replace").strip().splitlines()
        return " / ".join(text[-lines:]) or "nothing in its log"

    def line(self) -> str:
        """The next line of its stdout (with `pipes`); raises MeasurementFailed at its end."""
        assert self.process.stdout is not None, "started without pipes"
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(STOP_SECONDS)
            self.check()
        return line.strip()

    def stop(self) -> None:
        """SIGTERM, wait, then SIGKILL for it and for whatever it left behind."""
        family = descendants(self.pid)
        with suppress(ProcessLookupError):
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        _, left = psutil.wait_procs(family, timeout=1.0 if self.process.poll() is not None else 0)
        for straggler in left:
            with suppress(psutil.NoSuchProcess):
                straggler.kill()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def descendants(pid: int) -> list[psutil.Process]:
    """The processes that `pid` started, directly or not."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def resident(pids: Sequence[int]) -> int:
    """Resident bytes of these processes and all their descendants together."""
    total = 0
    for pid in pids:
        for process in (psutil.Process(pid), *descendants(pid)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total


def run_json(
    name: str, command: Sequence[str], folder: Path, *, timeout: float, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a short-lived client to its end and return the JSON object on its last line of output."""
    log_file = folder / f"{name}.log"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise MeasurementFailed(f"{name} did not end within {timeout:g} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
    lines = output.strip().splitlines()
    if process.returncode != 0 or not lines:
        errors = log_file.read_text(errors="replace").strip().splitlines()
        raise MeasurementFailed(f"{name} failed: {errors[-1] if errors else f'status {process.returncode}'}")
    result = json.loads(lines[-1])
    assert isinstance(result, dict)
    return result


def listening(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(ready: Callable[[], bool], what: str, *, check: Callable[[], None], timeout: float = 15.0) -> None:
    """Poll `ready` every 20 ms; `check` raises when waiting is in vain.

    Raises MeasurementFailed after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        check()
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"{what} did not come within {timeout:g} s")
        time.sleep(0.02)
