"""A program under test: started, watched, paused, killed, stopped with bounded waits; its log in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from tests.support.leaksearch import Trail
from tests.support.waiting import PATIENCE, wait_until

LIVE: list[Program] = []
"""Every program of this test process that was started and not yet closed."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "COVERAGE_PROCESS_START")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of programs under test: nothing of the developer's proxies or settings."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}


def run_once(
    *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 30.0, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m …` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=timeout * PATIENCE,
        check=False,
        cwd=cwd,
    )
    trail = Trail(" ".join(arguments[:2]))
    trail.look(done.stdout + done.stderr, "its output")
    trail.look("\0".join(arguments), "its command line")
    return done


class Program:
    """`python -m …` in the background. Call `close` (or `stop`, `kill`) at the end.

    Whatever it leaves behind is searched for seeded secrets then (leaksearch).
    """

    config: Mapping[str, Any] = {}

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        env: Mapping[str, str] | None = None,
        trail: Trail | None = None,
    ) -> None:
        """trail: where its secrets are sought, instead of among all that are seeded."""
        self.name = name
        self.arguments = list(arguments)
        self.env = dict(env or {})
        self.log_file = directory / f"{name}.log"
        self.admin_url: str | None = None
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._trail = trail or Trail(name)

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        self._start()

    def start_beside(self) -> subprocess.Popen[bytes]:
        """Start a second process of the same program, which this object stands for from now on; the first."""
        first = self.process
        self._start()
        return first

    def stand_for(self, process: subprocess.Popen[bytes]) -> None:
        """Go on with an earlier process of this program: the one started beside it did not serve."""
        if self.running:
            self.kill()
        self._process = process

    def _start(self) -> None:
        self.starts += 1
        with self.log_file.open("ab") as log:
            log.write(f"--- {self.name}: start {self.starts}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                env=clean_environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self not in LIVE:
            LIVE.append(self)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self.signal(signal.SIGTERM)

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM, wait, return the exit status; a program that does not end is killed and fails the test."""
        if self.running:
            self._look_at_life()
            self.terminate()
        return self.wait_exit(timeout)

    def kill(self) -> None:
        """SIGKILL: no farewell."""
        if self.running:
            self.process.kill()  # first: who measures has noted the moment
            self.process.wait(10)
        self._look_at_files()

    def wait_exit(self, timeout: float = 15.0) -> int:
        try:
            status = self.process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"{self.name} did not end within {timeout:g} s\n{self.tail()}") from None
        self._look_at_files()
        return status

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP: alive to the kernel, silent to everyone."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED, f"{self.name} to pause")

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        """End it without asking how: for the clean-up of fixtures."""
        if self.running:
            self.resume()
            self._look_at_life()
            self.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        self._look_at_files()
        if self in LIVE:
            LIVE.remove(self)

    def _look_at_life(self) -> None:
        """Search what only a running program shows."""
        self._trail.look_at_process(self.pid)
        if self.admin_url is not None:
            self._trail.look_at_metrics(self.admin_url)

    def _look_at_files(self) -> None:
        self._trail.look_at_files(self.log_file, self.config)

    # -- looking at it --------------------------------------------------------------------------

    def log(self, since: int = 0) -> str:
        """Its output from byte `since` on (see `mark`)."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as log:
            log.seek(since)
            return log.read().decode("utf-8", "replace")

    def mark(self) -> int:
        """A place in the log, for `log(since)`."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_log(self, *words: str, since: int = 0, timeout: float = 10.0) -> str:
        """Wait for one log line that contains every one of `words` (ignoring case); return that line."""

        def found() -> str:
            for line in self.log(since).splitlines():
                if all(word.lower() in line.lower() for word in words):
                    return line
            return ""

        try:
            return wait_until(found, f"a log line of {self.name} with {words}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def admin(self, path: str, timeout: float = 5.0) -> httpx.Response:
        """GET an admin endpoint."""
        assert self.admin_url is not None, f"{self.name} has no admin listener"
        return httpx.get(self.admin_url + path, timeout=timeout, trust_env=False, verify=False)  # no CAs to load

    def admin_status(self, path: str) -> int:
        """The status of an admin endpoint; 0 when nothing answers."""
        try:
            return self.admin(path, timeout=2.0).status_code
        except httpx.HTTPError:
            return 0

    def wait_ready(self, timeout: float = 20.0) -> None:
        """Wait for `/health/readiness`; fail at once when the program has ended."""
        self._wait_status("/health/readiness", timeout)

    def wait_alive(self, timeout: float = 20.0) -> None:
        """Wait for `/health/liveness`: its listeners are open, whoever else may be missing."""
        self._wait_status("/health/liveness", timeout)

    def wait_healthy(self, timeout: float = 20.0) -> None:
        self._wait_status("/health", timeout)

    def _wait_status(self, path: str, timeout: float) -> None:
        def there() -> bool:
            if not self.running:
                raise AssertionError(f"{self.name} ended with status {self.process.poll()}\n{self.tail()}")
            return self.admin_status(path) == 200

        try:
            wait_until(there, f"{self.name}{path} to answer 200", timeout, every=0.03)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
