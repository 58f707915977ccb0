"""The rows about idle sessions: what each costs a hub that knows many agents, and what an open page costs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil

from protocol import keys as identity
from tests.bench.cases import Case, Lifetime, Measured, PeakMemory, finish
from tests.bench.chains import Chain, Origin
from tests.bench.children import Child, MeasurementFailed, module
from tests.bench.idle_agents import SERVICE
from tests.bench.rows import FORMER, TUNNEL, Row
from tests.bench.tunnel import PREFIXES, Former, Tunnel
from tests.support.keys import KeyRing

SESSIONS_EACH = 16
"""A hub's default bound on the sessions of one agent."""

PROBES_SECONDS = 12.0
"""Idle sessions are probed every 10 s; what that leaves behind belongs to the figure."""


class IdleTunnel(Tunnel):
    """A tunnel whose hub has further agents registered: theirs are the idle sessions."""

    prefixes: ClassVar = {**PREFIXES, SERVICE: "/idle/"}

    def __init__(self, folder: Path, origin: Origin, agents: int) -> None:
        super().__init__(folder, origin)
        self.keys = folder / "idle-keys"
        self._agents = agents

    def registered(self, keys: KeyRing) -> dict[str, Any]:
        self.keys.mkdir()
        (self.keys / "hub.pub").write_text(keys.hub().public + "\n")
        found = super().registered(keys)
        for number in range(self._agents):
            key = identity.generate()
            identity.save_private_key(key, self.keys / f"idle-{number}.key")
            found[f"idle-{number}"] = {"public_keys": [key.public.line], "services": [SERVICE]}
        return found


class FormerIdle(IdleTunnel, Former):
    """The same of another checkout."""


class Idle(Case):
    """Growth of the hub's memory by so many sessions that do nothing, for each of them; then somebody looks."""

    rows = (
        Row("idle-sessions", "2,000 idle sessions, hub memory each", "KiB", "low", 40, None),
        Row("idle-watched", "2,000 idle sessions, a page open: hub's processor", "%", "low", 5, None),
    )
    chains = (TUNNEL,)
    rounds = 1
    lifetime = Lifetime.MEASUREMENT

    def make(self, name: str, folder: Path, origin: Origin) -> Chain:
        kind = FormerIdle if name == FORMER else IdleTunnel
        return kind(folder, origin, -(-self.sizes.idle_sessions // SESSIONS_EACH))

    def warm_up(self, chain: Chain) -> None:
        """None: memory that a load has left free would take sessions in without growing."""

    def measure(self, chain: Chain, round_number: int) -> Measured:
        assert isinstance(chain, IdleTunnel)
        command = module("idle_agents", chain.hub.tunnel_url(), chain.keys, "--each", SESSIONS_EACH)
        started = time.monotonic()
        with PeakMemory([chain.hub.pid]) as memory, Child("idle", command, chain.folder, pipes=True) as child:
            child.line()
            connected = time.monotonic() - started
            busy = processor_seconds(chain.hub.pid)
            time.sleep(PROBES_SECONDS)
            busy = processor_seconds(chain.hub.pid) - busy
            growth = memory.growth_now
            standing = sessions(chain)
            with watched(chain) as events:
                watching = processor_seconds(chain.hub.pid)
                time.sleep(PROBES_SECONDS)
                watching = processor_seconds(chain.hub.pid) - watching
            done = finish(child)
        if done["lost"]:
            raise MeasurementFailed(f"{done['lost']} of {done['sessions']} idle sessions were lost")
        if standing < done["sessions"]:
            raise MeasurementFailed(f"the hub counts {standing} sessions instead of {done['sessions']}")
        extra = {"seconds_to_connect": connected, "hub_processor_share": busy / PROBES_SECONDS}
        figures = {"idle-sessions": growth / done["sessions"] / 1024}
        if len(events) >= PROBES_SECONDS / 2:
            figures["idle-watched"] = watching / PROBES_SECONDS * 100
        return Measured(figures, extra)


@contextmanager
def watched(chain: Tunnel) -> Iterator[list[str]]:
    """Somebody has the status page open: the events that came; none from a hub without page."""
    events: list[str] = []
    url = f"{chain.hub.admin_url}/events?view=overview"
    with httpx.Client(trust_env=False, timeout=30) as client, client.stream("GET", url) as stream:
        over = threading.Event()

        def read() -> None:
            for line in stream.iter_lines():
                if over.is_set():
                    return
                if line.startswith("data: "):
                    events.append(line)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield events
        over.set()
        reader.join(30)


def sessions(chain: Tunnel) -> int:
    """How many sessions the hub has, by its metrics."""
    lines = chain.hub.admin("/metrics").text.splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("tunnel_hub_sessions{"))


def processor_seconds(pid: int) -> float:
    """User and system time a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
