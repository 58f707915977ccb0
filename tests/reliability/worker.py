"""Processes of the harness that take commands: one JSON object a line on stdin, one a line back on stdout.

A worker ends when its stdin does, so none outlives its controller.
"""

from __future__ import annotations

import asyncio
import json
import select
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bench.children import Child

Handler = Callable[..., Awaitable[Any]]

READY_SECONDS = 30.0
LONGEST_LINE = 1 << 24


class WorkerFailed(Exception):
    """A worker ended, was silent for too long, or reported an exception of its own."""


class Worker:
    """The controller's side of `python -m tests.reliability.<name>`. Close it at the end."""

    def __init__(self, name: str, folder: Path, *arguments: object, label: str = "") -> None:
        """label: names the log file; for a second worker of the same kind."""
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", f"tests.reliability.{name}", *map(str, arguments)]
        self.name = label or name
        self._lock = threading.Lock()
        self._child = Child(self.name, command, folder, pipes=True)
        self.hello: dict[str, Any] = self._line(READY_SECONDS)

    @property
    def pid(self) -> int:
        return self._child.pid

    def ask(self, do: str, *, within: float = 60.0, **arguments: Any) -> Any:
        """Send one command, from any thread, and return its result; WorkerFailed after `within` seconds."""
        with self._lock:
            self.send(do, **arguments)
            return self.result(within)

    def send(self, do: str, **arguments: Any) -> None:
        """Send one command; its `result` must be fetched before the next one is sent."""
        stdin = self._child.process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            stdin.flush()
        except OSError:
            raise WorkerFailed(f"{self.name} has ended: {self._child.tail()}") from None

    def result(self, patience: float = 60.0) -> Any:
        answer = self._line(patience)
        if "failed" in answer:
            raise WorkerFailed(f"{self.name}: {answer['failed']}")
        return answer["result"]

    def close(self) -> None:
        stdin = self._child.process.stdin
        if stdin is not None and not stdin.closed:
            stdin.close()
        self._child.stop()

    def _line(self, patience: float) -> dict[str, Any]:
        stdout = self._child.process.stdout
        readable, _, _ = select.select([stdout], [], [], patience)
        line = stdout.readline() if readable and stdout is not None else ""
        if not line:
            state = "is silent" if self._child.process.poll() is None else "has ended"
            raise WorkerFailed(f"{self.name} {state}: {self._child.tail(12)}")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


async def serve(handlers: Mapping[str, Handler], hello: Mapping[str, Any]) -> None:
    """The worker's side: say `hello`, then answer commands in order until stdin ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say(hello)
    while line := await reader.readline():
        command = json.loads(line)
        handler = handlers[command.pop("do")]
        try:
            answer = {"result": await handler(**command)}
        except Exception:
            answer = {"failed": traceback.format_exc()}
        _say(answer)


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
