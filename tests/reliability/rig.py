"""Hubs, agents, ledger and relays as processes, and everything that may happen to them."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.reliability.bodies import HOST
from tests.reliability.plan import Plan
from tests.reliability.worker import Worker
from tests.support.keys import KeyRing
from tests.support.process import Program
from tests.support.programs import ALLOW_ALL, Agent, Hub, Table
from tests.support.toml import merge
from tests.support.waiting import wait_until

_GAUGE = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
AGENTS = ("leeds-1", "leeds-2", "york-1", "york-2")
DRAIN_SECONDS = 45.0


class Rig:
    """Service `visits` behind `agents` agents, each with `sessions` sessions to each of `hubs` hubs.

    Every agent reaches every hub through a relay of its own (`relayed`), so that any leg can be cut alone.
    Use as a context manager: leaving it stops everything.
    """

    def __init__(
        self,
        folder: Path,
        *,
        hubs: int = 2,
        agents: int = 2,
        sessions: int = 2,
        relayed: bool = True,
        relay_options: dict[str, Any] | None = None,
        service: Table | None = None,
        agent_service: Table | None = None,
        hub_options: Table | None = None,
        agent_options: Table | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.sessions = sessions
        self._closers: list[Callable[[], None]] = []
        self._loads = 0
        self.ledger = self.worker("ledger", "--port", 0)
        self.relay = self.worker("relay")
        keys = KeyRing(folder)
        names = AGENTS[:agents]
        self.hubs = [
            Hub(
                folder / f"hub-{number}",
                keys.hub(f"hub-{number}"),
                name=f"hub-{number}",
                services={"visits": merge({"hosts": [HOST], "upgrades": ["websocket", "echo"]}, service or {})},
                agents={
                    name: {"public_keys": [keys.agent(name).public], "services": ["visits"]} for name in names
                },
                options=merge({"log": {"access": False}}, hub_options or {}),
            )
            for number in range(1, hubs + 1)
        ]
        self.relays: dict[tuple[int, int], int] = {}
        """The relay's port of each leg (agent, hub)."""
        self.agents = []
        for number, name in enumerate(names):
            entries: list[Table] = []
            for at, hub in enumerate(self.hubs):
                port = hub.agents_port
                if relayed:
                    port = self.relay.ask("open", target=port, **(relay_options or {}))["port"]
                    self.relays[number, at] = port
                entries.append(
                    {"url": hub.tunnel_url(port), "public_keys": [hub.key.public], "sessions": sessions}
                )
            upstream = {
                "upstream": f"http://127.0.0.1:{self.ledger.hello['port']}",
                "allow": ALLOW_ALL,
                "max_connections": 256,
                "upgrades": ["websocket", "echo"],
            }
            self.agents.append(
                Agent(
                    folder / name,
                    keys.agent(name),
                    name=name,
                    hubs=entries,
                    services={"visits": merge(upstream, agent_service or {})},
                    options=agent_options,
                )
            )

    def worker(self, name: str, *arguments: object) -> Worker:
        self._loads += 1
        made = Worker(name, self.folder, *arguments, label=f"{name}-{self._loads}")
        self._closers.append(made.close)
        return made

    def __enter__(self) -> Rig:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- start and end --------------------------------------------------------------------------

    @property
    def programs(self) -> list[Program]:
        return [*self.hubs, *self.agents]

    def start(self) -> None:
        for hub in self.hubs:
            if not hub.running:
                hub.start()
        for hub in self.hubs:
            hub.wait_alive()
        for agent in self.agents:
            if not agent.running:
                agent.start()
        self.wait_settled()

    def close(self) -> None:
        for program in (*self.agents, *self.hubs):
            program.close()
        for closer in reversed(self._closers):
            closer()

    def wait_lane(self, hub: Hub, ports: list[int], timeout: float = 30.0) -> None:
        """Wait until `hub` has all its sessions again, over links that are not dark, through these relays."""
        wanted = len(self.agents) * self.sessions

        def whole() -> bool:
            links = self.relay.ask("state", ports=ports)["links"]
            return links == wanted and gauges(hub).get("tunnel_hub_service_sessions") == wanted

        wait_until(whole, f"{wanted} sound sessions at {hub.name}", timeout, every=0.01)

    def wait_settled(self, timeout: float = 30.0) -> None:
        """Wait until every hub has every session of every agent."""
        wanted = len(self.agents) * self.sessions

        def settled() -> bool:
            for program in self.programs:
                if not program.running:
                    raise AssertionError(f"{program.name} ended by itself\n{program.tail(20)}")
            return all(gauges(hub).get("tunnel_hub_service_sessions", 0) >= wanted for hub in self.hubs)

        wait_until(settled, f"{wanted} sessions at each of {len(self.hubs)} hubs", timeout, every=0.05)

    # -- load -----------------------------------------------------------------------------------

    @property
    def targets(self) -> list[int]:
        return [hub.callers_port for hub in self.hubs]

    def load(self, prefix: str, **options: Any) -> Worker:
        """Start a load over all hubs in a process of its own."""
        load = self.worker("load")
        plan = Plan(**{"targets": self.targets, "prefix": prefix, **options})
        load.ask("start", plan={name: getattr(plan, name) for name in Plan.__dataclass_fields__})
        return load

    def dump(self, worker: Worker) -> dict[str, Any]:
        """Everything that a load or the ledger remembers."""
        file = self.folder / f"{worker.name}.json"
        worker.ask("dump", file=str(file))
        found = json.loads(file.read_text())
        assert isinstance(found, dict)
        return found

    # -- faults ---------------------------------------------------------------------------------

    def legs(self, *, agent: int | None = None, hub: int | None = None) -> list[int]:
        """Ports of the relays of an agent, of a hub, or of both, or all."""
        return [
            port
            for (from_agent, to_hub), port in self.relays.items()
            if agent in {None, from_agent} and hub in {None, to_hub}
        ]

    def cut(self, ports: Iterable[int] | None = None, ending: str = "reset") -> float:
        """Reset links; the moment."""
        at = self.relay.ask("cut", ports=None if ports is None else list(ports), ending=ending)["at"]
        return float(at)

    def restart(self, program: Program) -> None:
        """SIGTERM, wait for exit status 0, start again."""
        status = program.stop(DRAIN_SECONDS)
        assert status == 0, f"{program.name} ended with {status} after SIGTERM\n{program.tail(20)}"
        program.start()

    def crash(self, program: Program) -> float:
        """SIGKILL and start again; the moment of the first."""
        at = time.monotonic()
        program.kill()
        program.start()
        return at

    def replace(self, hub: Hub) -> None:
        """Start a second process of a hub beside the first, wait until it is ready, end the first by SIGTERM."""
        mark = hub.mark()
        first = hub.start_beside()
        try:
            wait_until(
                lambda: not hub.running or '"event":"ready"' in hub.log(mark),
                f"the second {hub.name} to be ready",
                20,
            )
            assert hub.running, f"the second {hub.name} ended with {hub.process.poll()}: {hub.tail(1)}"
        except AssertionError:
            hub.stand_for(first)
            raise
        first.terminate()
        try:
            status = first.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            first.kill()
            first.wait(10)
            raise AssertionError(f"the first {hub.name} did not end\n{hub.tail(20)}") from None
        assert status == 0, f"the first {hub.name} ended with {status}\n{hub.tail(20)}"


def gauges(program: Program) -> dict[str, float]:
    """Every metric of a program, summed over its labels; empty while nothing answers."""
    text = admin(program, "/metrics")
    found: dict[str, float] = {}
    for name, value in _GAUGE.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def admin(program: Program, path: str) -> str:
    """The body of an admin endpoint, empty while nothing answers; cheaper than an httpx client each time."""
    assert program.admin_url is not None
    connection = http.client.HTTPConnection(program.admin_url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
