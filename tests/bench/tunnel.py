"""The tunnel as a chain: one hub and one agent as real processes, every feature at its default."""

from __future__ import annotations

import importlib.util
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

from tests.bench.chains import Chain
from tests.bench.children import MeasurementFailed
from tests.support.keys import KeyRing
from tests.support.process import Program
from tests.support.programs import Agent, Hub

AGENT = "leeds-1"
UPSTREAM_CONNECTIONS = 256
"""As many as the most callers at once in any row; the only setting that is not the default."""

PREFIXES = {"api": "/api/", "sink": "/sink/"}


class Tunnel(Chain):
    """hub.toml and agent.toml as in the documentation; access logs go to the programs' log files."""

    name = "tunnel"
    prefixes: ClassVar = PREFIXES
    """The hub's services and the paths that lead to them."""

    def start(self) -> None:
        self._programs: list[Program] = []
        for program in ("tunnel_hub.cli", "tunnel_agent.cli"):
            if importlib.util.find_spec(program) is None:
                raise MeasurementFailed(f"there is no {program} yet")
        try:
            self._start()
        except AssertionError as error:  # the test harness speaks in assertions
            raise MeasurementFailed(str(error)) from error

    def _start(self) -> None:
        keys = KeyRing(self.folder)
        self.hub = Hub(
            self.folder,
            keys.hub(),
            services={name: {"paths": [prefix]} for name, prefix in self.prefixes.items()},
            agents=self.registered(keys),
            options=self.hub_options(),
            env=self.environment(),
        )
        self._run(self.hub)
        hub = {
            "url": self.hub.tunnel_url(self.stretch(self.hub.agents_port)),
            "public_keys": [keys.hub().public],
        }
        upstreams = {"api": self.origin.api, "sink": self.origin.sink}
        services = {
            name: {
                "upstream": f"http://{upstreams[name]}",
                "allow": [f"GET {prefix}**", f"PUT {prefix}**"],
                "max_connections": UPSTREAM_CONNECTIONS,
            }
            for name, prefix in PREFIXES.items()
        }
        agent = Agent(
            self.folder,
            keys.agent(AGENT),
            name=AGENT,
            hubs=[hub],
            services=services,
            options=self.agent_options(),
            env=self.environment(),
        )
        self._run(agent)
        self.api = self.sink = f"127.0.0.1:{self.hub.callers_port}"

    def _run(self, program: Program) -> None:
        self._stack.enter_context(closing(program))
        self._programs.append(program)
        program.start()

    def environment(self) -> dict[str, str]:
        """What hub and agent get besides the usual."""
        return {}

    def hub_options(self) -> dict[str, Any]:
        """What hub.toml has besides the usual."""
        return {}

    def agent_options(self) -> dict[str, Any]:
        """What agent.toml has besides the usual."""
        return {}

    def registered(self, keys: KeyRing) -> dict[str, Any]:
        """The hub's table of agents."""
        return {AGENT: {"public_keys": [keys.agent(AGENT).public], "services": list(PREFIXES)}}

    def check(self) -> None:
        super().check()
        for program in self._programs:
            if not program.running:
                ending = " / ".join(program.tail(4).splitlines())
                raise MeasurementFailed(f"{program.name} ended with {program.process.poll()}: {ending}")

    @property
    def pids(self) -> list[int]:
        return [program.pid for program in self._programs]


class Former(Tunnel):
    """The tunnel of another checkout, `tree`, with the packages of this one: before and after in one run."""

    name = "former"
    tree: ClassVar[Path]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.tree), "PYTHONSAFEPATH": "1"}
