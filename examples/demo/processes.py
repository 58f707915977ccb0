"""Starting, watching and stopping the demo's child processes. Nothing it starts outlives it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
START_LIMIT = 20.0  # seconds for one child to become ready
STOP_LIMIT = 10.0  # seconds for all children together to stop when asked
_KILL_LIMIT = 5.0
_POLL = 0.05
_PROXY_SETTINGS = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
_PR_SET_PDEATHSIG = 1


class ChildError(Exception):
    """A child could not do its work. The message is for the user; ``child`` is whose log to show."""

    def __init__(self, message: str, child: Child | None = None) -> None:
        super().__init__(message)
        self.child = child


class Child:
    """One running program and its log file."""

    __slots__ = ("log", "name", "process")

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def tail(self, lines: int = 15) -> list[str]:
        """The last lines of its log."""
        return tail(self.log, lines)


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a file; none when it does not exist."""
    try:
        with log.open(encoding="utf-8", errors="replace") as text:
            return [line.rstrip("\n")[:2000] for line in deque(text, lines)]
    except OSError:
        return []


def environment() -> dict[str, str]:
    """The children's environment: ours, without proxies, for every address of the demo is on this machine."""
    kept = {name: value for name, value in os.environ.items() if name.lower() not in _PROXY_SETTINGS}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def run_once(*arguments: str, limit: float = 30.0) -> str:
    """Run ``python -m ARGUMENTS`` to its end and return what it printed. Raises ChildError."""
    shown = f"python -m {' '.join(arguments[:2])}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChildError(f"{shown} did not end within {limit:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        raise ChildError(f"{shown} ended with code {done.returncode}; it said: {said[-1]}")
    return done.stdout


class Supervisor:
    """Owns the children. Use as a context manager, or call ``stop()`` whatever happens."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.children: list[Child] = []

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, arguments: Sequence[str]) -> Child:
        """Start ``python -m ARGUMENTS`` in a session of its own, its output going to a log file."""
        log = self._logs / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=REPOSITORY,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo only, which then stops the children
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - the demo has one thread at this point
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def wait_ready(self, child: Child, url: str, limit: float = START_LIMIT) -> None:
        """Poll ``url`` until it answers 200. Raises ChildError when it ends or ``limit`` seconds pass."""
        deadline = time.monotonic() + limit
        seen = "no answer"
        with httpx.Client(trust_env=False, timeout=2.0) as client:
            while True:
                self.check(child)
                try:
                    status = client.get(url).status_code
                except httpx.HTTPError as exc:
                    seen = type(exc).__name__
                else:
                    if status == 200:
                        return
                    seen = f"status {status}"
                if time.monotonic() > deadline:
                    message = f"{child.name} was not ready within {limit:.0f} s: {url} gave {seen}"
                    raise ChildError(message, child)
                time.sleep(_POLL)

    def check(self, *children: Child) -> None:
        """Raises ChildError when one of these children, or of all of them, has ended by itself."""
        for child in children or self.children:
            code = child.process.poll()
            if code is not None:
                raise ChildError(f"{child.name} ended by itself ({_ending(code)})", child)

    def stop(self, limit: float = STOP_LIMIT) -> list[str]:
        """SIGTERM to all, last started first; SIGKILL to what is left after ``limit`` seconds.

        Returns a sentence about each child that did not end cleanly. Further calls do nothing.
        """
        stopping = self.children[::-1]
        trouble: list[str] = []
        for child in stopping:
            code = child.process.poll()
            if code is None:
                child.process.terminate()
            else:
                trouble.append(f"{child.name} had already ended ({_ending(code)})")
        deadline = time.monotonic() + limit
        for child in stopping:
            if child.process.returncode is not None:
                continue
            try:
                code = child.process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait(_KILL_LIMIT)
                trouble.append(f"{child.name} did not stop within {limit:.0f} s of SIGTERM and was killed")
            else:
                if code not in (0, -signal.SIGTERM):
                    trouble.append(f"{child.name} stopped uncleanly ({_ending(code)})")
        self.children.clear()  # only now: a call that was interrupted can be made again
        return trouble


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux, what makes a child get SIGTERM when the demo is killed outright; elsewhere None."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # found before the fork, so that the child only calls it
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask
