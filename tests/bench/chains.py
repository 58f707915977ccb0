"""What is compared: the ways from a caller to the same upstreams. Each is a context manager that cleans up.

The upstreams (`Origin`) are one nginx, which answers 1 KB of JSON and sends files, and one sink for uploads.
A `Chain` leads to both; `Chain.api` and `Chain.sink` are the addresses where callers reach them.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from tests.bench import nginx
from tests.bench.children import Child, listening, module, wait_until
from tests.bench.http_client import BadAnswer, connect, read_head, request
from tests.bench.relay import address
from tests.support.ports import free_port

SMALL_PATH = "/api/1k"
UPLOAD_PATH = "/sink/upload"
GIB = 2**30


def small_answer() -> str:
    """A JSON object of exactly 1024 bytes."""
    empty = json.dumps({"offender": "A1234BC", "note": ""})
    return json.dumps({"offender": "A1234BC", "note": "x" * (1024 - len(empty))})


def file_path(size: int) -> str:
    """The path of a download of `size` bytes; `Origin.files` must hold it."""
    return f"/api/files/{size}"


def answers(where: str, path: str, *fields: str) -> bool:
    """Whether a GET with these lines `Name: value` gives 200."""
    host, port = address(where)
    try:
        with connect(host, port, timeout=5) as sock:
            sock.sendall(request("GET", path, where, *fields))
            read_head(sock)
    except (BadAnswer, OSError):
        return False
    return True


@dataclass(frozen=True)
class Link:
    """A long link, made by `tests.bench.relay`: seconds each way, bytes per second."""

    delay: float
    rate: float


class Chain(abc.ABC):
    """A way from callers to the upstreams. `with chain:` starts it, waits until it serves, and stops it."""

    name: ClassVar[str]

    def __init__(self, folder: Path, origin: Origin, link: Link | None = None) -> None:
        """`link`: stands between the cloud side's process and the on-premises side's."""
        self.folder = folder
        self.origin = origin
        self.link = link
        self.api = ""
        self.sink = ""
        self.children: list[Child] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.start()
            wait_until(
                self.answers,
                f"an answer through {self.name}",
                check=self.check,
            )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.children.clear()

    @abc.abstractmethod
    def start(self) -> None:
        """Start the processes and set `api` and `sink`."""

    def answers(self) -> bool:
        """Whether it serves."""
        return answers(self.api, SMALL_PATH)

    @property
    def pids(self) -> Sequence[int]:
        """The processes whose memory is this chain's cost; their descendants count too."""
        return [child.pid for child in self.children if child.name != "relay"]

    def check(self) -> None:
        """Raise MeasurementFailed, with the end of its log, when one of the processes has ended."""
        for child in self.children:
            child.check()

    def spawn(self, name: str, command: Sequence[str]) -> Child:
        """Start a process that ends with the chain, the last first."""
        child = self._stack.enter_context(Child(name, command, self.folder))
        self.children.append(child)
        return child

    def stretch(self, port: int) -> int:
        """The port that leads to `port` over the link, when there is one; else `port` itself."""
        if self.link is None:
            return port
        near = free_port()
        self.spawn(
            "relay",
            module(
                "relay",
                *("--listen", f"127.0.0.1:{near}", "--to", f"127.0.0.1:{port}"),
                *("--delay-ms", self.link.delay * 1000, "--rate-mbit", self.link.rate * 8 / 1e6),
            ),
        )
        wait_until(lambda: listening(near), "the relay's listener", check=self.check)
        return near


class Origin(Chain):
    """The upstreams themselves, and the shortest chain: callers reach them directly."""

    name = "direct"

    def __init__(self, folder: Path, file_sizes: Sequence[int]) -> None:
        super().__init__(folder, self)
        self._file_sizes = file_sizes

    def start(self) -> None:
        files = self.folder / "files"
        files.mkdir(exist_ok=True)
        for size in self._file_sizes:
            with (files / str(size)).open("wb") as file:
                file.truncate(size)  # sparse: costs no disk
        api, sink = free_port(), free_port()
        self.api, self.sink = f"127.0.0.1:{api}", f"127.0.0.1:{sink}"
        config = nginx.upstream(port=api, files=files, answer=small_answer())
        self.spawn("nginx-upstream", nginx.command(self.folder / "nginx-upstream", config))
        self.spawn("sink", module("sink", self.sink))


class Direct(Chain):
    """Callers reach the upstream without any proxy: over the link when there is one."""

    name = "direct"

    def start(self) -> None:
        self.api = f"127.0.0.1:{self.stretch(address(self.origin.api)[1])}"
        self.sink = self.origin.sink


class NginxTwoHop(Chain):
    """Two plain proxy hops, nginx to nginx, each with one worker and the manual's connection pool."""

    name = "nginx two-hop"

    def start(self) -> None:
        near, far = free_port(), free_port()
        inner = nginx.proxy(port=far, api=self.origin.api, sink=self.origin.sink)
        self.spawn("nginx-far", nginx.command(self.folder / "nginx-far", inner))
        hop = f"127.0.0.1:{self.stretch(far)}"
        outer = nginx.proxy(port=near, api=hop, sink=hop)
        self.spawn("nginx-near", nginx.command(self.folder / "nginx-near", outer))
        self.api = self.sink = f"127.0.0.1:{near}"
