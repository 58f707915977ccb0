"""How each figure is taken. A Case measures one chain once and yields a value for each of its rows."""

from __future__ import annotations

import abc
import json
import mmap
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

from tests.bench.chains import GIB, SMALL_PATH, UPLOAD_PATH, Chain, Direct, Link, NginxTwoHop, Origin, file_path
from tests.bench.children import Child, MeasurementFailed, descendants, module, run_json
from tests.bench.guarded import GuardedTunnel
from tests.bench.rows import TUNNEL, Row
from tests.bench.ssh import SshReverse
from tests.bench.tunnel import Former, Tunnel
from tests.bench.wrk import load

NGINX = "nginx two-hop"
SSH = "ssh -R"
DIRECT = "direct"
ALL = (TUNNEL, NGINX, SSH)
MIB = 2**20
KINDS: dict[str, type[Chain]] = {
    kind.name: kind for kind in (Tunnel, Former, GuardedTunnel, NginxTwoHop, SshReverse, Direct)
}
LONG_LINK = Link(delay=0.04, rate=50e6)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each measurement does. Seconds, bytes, counts."""

    load_seconds: int = 3
    single_seconds: int = 2
    bulk_bytes: int = 1_000_000_000
    haul_bytes: int = 200_000_000
    mixed_seconds: float = 4.0
    stall_seconds: float = 4.0
    idle_sessions: int = 2000


QUICK = Sizes(
    load_seconds=1,
    single_seconds=1,
    bulk_bytes=200_000_000,
    haul_bytes=100_000_000,
    mixed_seconds=2.0,
    stall_seconds=3.0,
    idle_sessions=200,
)


class Lifetime(Enum):
    """How long a chain's processes are used."""

    RUN = "shared by all cases of the run"
    CASE = "started for this case"
    MEASUREMENT = "started anew for each measurement, since memory is measured"


@dataclass(slots=True)
class Measured:
    """One round's figures of one chain, by row name; extra figures go into the JSON."""

    values: dict[str, float]
    extra: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Case(abc.ABC):
    """`measure` is called once per round and chain, chains alternating."""

    rows: Sequence[Row]
    chains: ClassVar[Sequence[str]] = ALL
    rounds: ClassVar[int] = 3
    every_round: ClassVar[bool] = True
    """False: only the tunnel is measured in every round, the others once: nothing is divided by theirs."""
    former: ClassVar[bool] = True
    """Whether the tunnel of another checkout can be measured as well."""
    lifetime: ClassVar[Lifetime] = Lifetime.RUN
    link: ClassVar[Link | None] = None

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes

    def warm_up(self, chain: Chain) -> None:
        """Before the first round: connections, caches and windows find their size."""
        load(f"http://{chain.api}{SMALL_PATH}", connections=16, seconds=1, folder=chain.folder)

    def make(self, name: str, folder: Path, origin: Origin) -> Chain:
        """A new chain of this name for this case."""
        return KINDS[name](folder, origin, self.link)

    @abc.abstractmethod
    def measure(self, chain: Chain, round_number: int) -> Measured:
        """Take this case's figures once; raises MeasurementFailed."""


class SmallAnswers(Case):
    """1 KB of JSON as fast as so many callers can ask."""

    rounds = 5
    connections: ClassVar[int]

    def measure(self, chain: Chain, round_number: int) -> Measured:
        single = self.connections == 1
        seconds = self.sizes.single_seconds if single else self.sizes.load_seconds
        url = f"http://{chain.api}{SMALL_PATH}"
        result = load(url, connections=self.connections, seconds=seconds, folder=chain.folder)
        figures = {"rate": result.rate, "p99": result.p99, "p50": result.p50}
        values = {row.name: figures[row.name.partition("-")[0]] for row in self.rows}
        return Measured(values, extra=figures)


class SmallAnswers64(SmallAnswers):
    connections = 64
    rows = (
        Row("rate-64", "1 KB answers, 64 callers, req/s", "req/s", "high", 1.0, NGINX),
        Row("p99-64", "1 KB answers, 64 callers, p99", "s", "low", 1.0, NGINX),
    )


class SmallAnswers256(SmallAnswers):
    connections = 256
    rows = (Row("rate-256", "1 KB answers, 256 callers, req/s", "req/s", "high", 1.0, NGINX),)


class SmallAnswers1(SmallAnswers):
    connections = 1
    rows = (Row("p50-1", "1 KB answers, 1 caller, p50", "s", "low", 1.2, SSH),)


class Bulk(Case):
    """One large body on one connection."""

    direction: ClassVar[str]

    def measure(self, chain: Chain, round_number: int) -> Measured:
        size = self.sizes.bulk_bytes
        return Measured({self.rows[0].name: transfer(chain, self.direction, size)})


class Download(Bulk):
    direction = "download"
    rows = (Row("download", "one 1 GB download", "MB/s", "high", 2.0, SSH),)


class Upload(Bulk):
    direction = "upload"
    rows = (Row("upload", "one 1 GB upload", "MB/s", "high", 2.0, SSH),)


class LongHaul(Case):
    """One download over a link of 80 ms round trip and 50 MB/s, against the same download without a tunnel."""

    rows = (Row("long-haul", "200 MB over 80 ms, against the link alone", "MB/s", "high", 0.8, DIRECT),)
    chains = (TUNNEL, DIRECT, NGINX, SSH)
    lifetime = Lifetime.CASE
    link = LONG_LINK

    def warm_up(self, chain: Chain) -> None:
        """None: how fast the windows grow is part of the figure."""

    def measure(self, chain: Chain, round_number: int) -> Measured:
        return Measured({"long-haul": transfer(chain, "download", self.sizes.haul_bytes)})


class Mixed(Case):
    """Small requests while paced downloads run, against the same requests alone on the same chain."""

    rows = (Row("mixed", "p99 beside 20 downloads, against alone", "x", "low", 2.0, None),)
    downloads: ClassVar[int] = 20
    total_rate: ClassVar[float] = 50e6

    def measure(self, chain: Chain, round_number: int) -> Measured:
        alone = steady_requests(chain, rate=100, seconds=self.sizes.mixed_seconds, seed=round_number)
        notes = []
        path = file_path(self.sizes.bulk_bytes)
        each = self.total_rate / self.downloads
        options = ("--count", self.downloads, "--rate", each)
        with Child("readers", module("readers", chain.api, path, *options), chain.folder, pipes=True) as child:
            child.line()
            time.sleep(1.0)  # the first second of the downloads fills buffers; it is not measured
            loaded = steady_requests(chain, rate=100, seconds=self.sizes.mixed_seconds, seed=1000 + round_number)
            done = finish(child)
        rate = done["bytes"] / done["seconds"]
        if rate < 0.9 * self.total_rate:
            notes.append(f"{chain.name}: the downloads together reached only {rate / 1e6:.0f} MB/s")
        extra = {
            "p99_alone": alone["p99"],
            "p99_loaded": loaded["p99"],
            "p50_alone": alone["p50"],
            "p50_loaded": loaded["p50"],
            "client_late_p99": loaded["client_late_p99"],
            "downloads_rate": rate,
        }
        return Measured({"mixed": loaded["p99"] / alone["p99"]}, extra, notes)


class Stalled(Case):
    """Callers that ask for 1 GiB and read nothing: how much memory they cost on both sides together."""

    rounds = 2
    every_round = False
    lifetime = Lifetime.MEASUREMENT
    readers: ClassVar[int]

    def measure(self, chain: Chain, round_number: int) -> Measured:
        row = self.rows[0].name
        options = ("--count", self.readers, "--stall")
        command = module("readers", chain.api, file_path(GIB), *options)
        kernel = socket_memory()
        with PeakMemory(chain.pids) as memory, Child("readers", command, chain.folder, pipes=True) as child:
            child.line()
            memory.settle()  # the buffers fill first; then the others' requests are timed
            kernel = socket_memory() - kernel
            others = steady_requests(chain, rate=50, seconds=self.sizes.stall_seconds, seed=round_number)
            done = finish(child)
        notes = []
        if done["cut_off"]:
            notes.append(f"{chain.name}: {done['cut_off']:.0f} of the stalled downloads were closed")
        return Measured(
            {row: memory.growth / MIB},
            {"others_p50": others["p50"], "others_p99": others["p99"], "kernel_mib": kernel / MIB},
            notes,
        )


class Stalled1(Stalled):
    readers = 1
    rows = (Row("stalled-1", "one reader stalled on 1 GiB, memory of both ends", "MiB", "low", 20, None),)


class Stalled200(Stalled):
    readers = 200
    rows = (Row("stalled-200", "200 stalled readers, memory of both ends", "MiB", "low", 128, None),)


class PeakMemory:
    """The highest resident memory of some processes while the context lasts, over what it was at its start."""

    EVERY_SECONDS = 0.05
    SETTLED_SAMPLES = 20
    SETTLED_WITHIN = 1 * MIB
    SETTLE_SECONDS = 15.0

    def __init__(self, pids: Sequence[int]) -> None:
        self._processes = [process for pid in pids for process in (psutil.Process(pid), *descendants(pid))]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._before = self._resident()
        self._samples = [self._before]

    @property
    def growth(self) -> int:
        """Bytes; never negative."""
        return max(self._samples) - self._before

    @property
    def growth_now(self) -> int:
        """As `growth`, by what is resident now."""
        return self._resident() - self._before

    def settle(self) -> None:
        """Return once memory has hardly changed for a second, at the latest after SETTLE_SECONDS."""
        deadline = time.monotonic() + self.SETTLE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(self.EVERY_SECONDS)
            recent = self._samples[-self.SETTLED_SAMPLES :]
            if len(recent) == self.SETTLED_SAMPLES and max(recent) - min(recent) < self.SETTLED_WITHIN:
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _resident(self) -> int:
        try:
            return sum(process.memory_info().rss for process in self._processes)
        except psutil.NoSuchProcess:
            return 0  # a chain that died fails its measurement by itself

    def _watch(self) -> None:
        while not self._stopped.wait(self.EVERY_SECONDS):
            self._samples.append(self._resident())


def socket_memory() -> int:
    """Bytes in the kernel's TCP buffers, of the whole machine: upstream and callers are in it too."""
    line = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    return int(line.split()[-1]) * mmap.PAGESIZE


def transfer(chain: Chain, direction: str, size: int) -> float:
    """MB/s of one transfer, by a client process of its own."""
    where, path = (chain.api, file_path(size)) if direction == "download" else (chain.sink, UPLOAD_PATH)
    command = module("transfer", direction, where, path, size)
    result = run_json(f"transfer-{direction}", command, chain.folder, timeout=120)
    return size / result["seconds"] / 1e6


def steady_requests(chain: Chain, *, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Open-loop 1 KB requests by a process of their own; one failed answer fails the measurement."""
    options = ("--rate", rate, "--seconds", seconds, "--seed", seed)
    command = module("openloop", chain.api, SMALL_PATH, *options)
    result = run_json("openloop", command, chain.folder, timeout=seconds + 60)
    if result["errors"]:
        raise MeasurementFailed(f"{result['errors']} of {result['sent']} small requests failed")
    return result


def finish(readers: Child) -> dict[str, Any]:
    """End a `readers` process and return what it saw."""
    assert readers.process.stdin is not None
    readers.process.stdin.close()
    result = json.loads(readers.line())
    assert isinstance(result, dict)
    return result
