"""The demo's stage: free ports, keys made by the programs themselves, and the two configuration files."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from examples.demo.processes import ChildError, Supervisor, run_once

AGENT_ID = "leeds-1"
SERVICE_HOST = "visits.internal"
_PUBLIC_KEY = re.compile(r"ed25519:[A-Za-z0-9+/_-]+={0,2}")

_HUB = """\
[hub]
id = "hub-1"
key_file = "{key_file}"

[listen]
callers = "{stage.callers}"
agents = "{stage.agents}"
admin = "{stage.hub_admin}"

[callers]
authentication = "none"

[services.visits]
hosts = ["{host}"]
paths = ["/nomisapi/"]
deadline = "30s"

[agents.{agent}]
public_keys = ["{agent_key}"]
services = ["visits"]
"""

_AGENT = """\
[agent]
id = "{agent}"
key_file = "{key_file}"

[[hubs]]
url = "ws://{stage.agents}/tunnel"
public_keys = ["{hub_key}"]
sessions = 2

[services.visits]
upstream = "http://{stage.upstream}"
allow = [
    "GET /nomisapi/**",
    "POST /nomisapi/offenders/*/visits/booking",
    "PATCH /nomisapi/offenders/*/visits/booking/*/cancel",
]

[admin]
listen = "{stage.agent_admin}"
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Addresses, each ``127.0.0.1:PORT``, and the directory that holds keys, configuration and logs."""

    directory: Path
    upstream: str
    callers: str
    agents: str
    hub_admin: str
    agent_admin: str


def set_stage(directory: Path) -> Stage:
    """Choose ports, make both keys and write ``hub.toml`` and ``agent.toml``. Raises ChildError."""
    stage = Stage(directory, *_free_addresses(5))
    hub_key = _keygen("tunnel_hub", directory / "hub.key")
    agent_key = _keygen("tunnel_agent", directory / "agent.key")
    hub = _HUB.format(
        stage=stage, host=SERVICE_HOST, agent=AGENT_ID, agent_key=agent_key, key_file=directory / "hub.key"
    )
    agent = _AGENT.format(stage=stage, agent=AGENT_ID, hub_key=hub_key, key_file=directory / "agent.key")
    (directory / "hub.toml").write_text(hub, encoding="utf-8")
    (directory / "agent.toml").write_text(agent, encoding="utf-8")
    return stage


def start_all(supervisor: Supervisor, stage: Stage) -> None:
    """Start upstream, hub and agent, each ready before the next. Raises ChildError."""
    upstream = supervisor.start(
        "visits api", ["examples.visits_api", "--listen", stage.upstream, "--latency", "4ms", "--test-hooks"]
    )
    supervisor.wait_ready(upstream, f"http://{stage.upstream}/nomisapi/health")
    hub = supervisor.start("hub", ["tunnel_hub.cli", "run", "--config", str(stage.directory / "hub.toml")])
    supervisor.wait_ready(hub, f"http://{stage.hub_admin}/health/liveness")
    agent = supervisor.start("agent", ["tunnel_agent.cli", "run", "--config", str(stage.directory / "agent.toml")])
    supervisor.wait_ready(agent, f"http://{stage.agent_admin}/health/readiness")
    supervisor.wait_ready(hub, f"http://{stage.hub_admin}/health/readiness")


def _keygen(package: str, path: Path) -> str:
    printed = run_once(f"{package}.cli", "keygen", "--out", str(path))
    found = _PUBLIC_KEY.search(printed)
    if not found:
        raise ChildError(f"python -m {package}.cli keygen printed no public key (ed25519:...)")
    return found[0]


def _free_addresses(count: int) -> list[str]:
    with ExitStack() as held:
        # All are held at once, so that they differ.
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
