"""The servers: which there are, what version, and each as a process of its own on a free port."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.differential import debian
from tests.support.ports import free_port
from tests.support.process import clean_environment
from tests.support.waiting import wait_until

ROOT: Final = Path(__file__).parents[2]
ECHO: Final = "tests.differential.echo"


@dataclass(frozen=True)
class Kind:
    """One kind of server. `command` makes its command line; `version` is "" where it is not installed."""

    name: str
    version: str
    command: Callable[[Path, int, Path], list[str]]
    why_not: str = ""


def _python(name: str, package: str, *arguments: str) -> Kind:
    """A server that runs as a Python module; `{port}` in its arguments is replaced."""

    def command(_folder: Path, port: int, _ledger: Path) -> list[str]:
        return [sys.executable, "-m", *(each.format(port=port) for each in arguments)]

    if importlib.util.find_spec(package) is None:
        return Kind(name, "", command, f"{package} is not installed (constraints-differential.txt)")
    return Kind(name, importlib.metadata.version(package), command)


def _native(name: str) -> Kind:
    return _python(name, name, "tests.differential.native", name, "{port}")


def _debian(name: str) -> Kind:
    program, arguments, command = debian.COMMANDS[name]
    if not Path(program).exists():
        return Kind(name, "", command, f"{program} is not installed (apt-get install {name})")
    told = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"\d+(\.\d+)+", told.stdout + told.stderr)
    return Kind(name, found[0] if found else "unknown", command)


def kinds() -> list[Kind]:
    """All kinds, installed or not."""
    uvicorn = ("uvicorn", ECHO + ":asgi", "--port", "{port}", "--ws", "none", "--log-level", "critical")
    return [
        *map(_debian, debian.COMMANDS),
        _python("uvicorn-httptools", "uvicorn", *uvicorn, "--http", "httptools"),
        _python("uvicorn-h11", "uvicorn", *uvicorn, "--http", "h11"),
        _python(
            "hypercorn", "hypercorn", "hypercorn", ECHO + ":asgi", "-b", "127.0.0.1:{port}", "--keep-alive", "600"
        ),
        _python(
            "granian", "granian", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}",
            "--no-ws", ECHO + ":asgi",
        ),
        _python(
            "gunicorn", "gunicorn", "gunicorn", "-k", "gthread", "--threads", "16", "--keep-alive", "600",
            "-b", "127.0.0.1:{port}", ECHO + ":wsgi",
        ),
        *map(_native, ("waitress", "cheroot", "werkzeug", "aiohttp", "tornado", "twisted")),
    ]  # fmt: skip


class Server:
    """A running server. Call `close` at the end."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.ledger = folder / "ledger"
        self.log = folder / "log"
        environment = clean_environment({"LEDGER": str(self.ledger), "PYTHONPATH": str(ROOT)})
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                kind.command(folder, self.port, self.ledger),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until it accepts connections; AssertionError with its output when it does not."""
        wait_until(
            self._accepts, f"{self.kind.name} to listen\n{self.log.read_text(errors='replace')[-2000:]}", 30
        )

    def _accepts(self) -> bool:
        if not self.running:
            raise AssertionError(f"{self.kind.name} ended: {self.log.read_text(errors='replace')[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
