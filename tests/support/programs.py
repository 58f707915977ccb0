"""Hub, agent and example API as processes: their configuration files, ports and addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.support.keys import Key
from tests.support.ports import free_port
from tests.support.process import Program, run_once
from tests.support.rawhttp import RawClient
from tests.support.tls import PrivateCA
from tests.support.toml import merge, to_toml

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ALLOW_ALL = [f"{method} /**" for method in METHODS]
Table = Mapping[str, Any]


class Hub(Program):
    """`tunnel-hub run`. `agents` maps agent ids to their public keys and services."""

    def __init__(
        self,
        directory: Path,
        key: Key,
        *,
        services: Table,
        agents: Table,
        tls: PrivateCA | None = None,
        callers_tls: PrivateCA | None = None,
        options: Table | None = None,
        name: str = "hub-1",
        env: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.key = key
        self.callers_port, self.agents_port, admin_port = free_port(), free_port(), free_port()
        self._tls = tls
        listen: dict[str, Any] = {
            "callers": f"127.0.0.1:{self.callers_port}",
            "agents": f"127.0.0.1:{self.agents_port}",
            "admin": f"127.0.0.1:{admin_port}",
        }
        for section, authority in (("agents_tls", tls), ("callers_tls", callers_tls)):
            if authority is not None:
                issued = authority.issue()
                listen[section] = {"certificate": str(issued.certificate), "key": str(issued.key)}
        self.config: dict[str, Any] = merge(
            {
                "hub": {"id": name, "key_file": str(key.file)},
                "listen": listen,
                "callers": {"authentication": "none"},
                "services": services,
                "agents": agents,
            },
            options or {},
        )
        self.config_file = directory / f"{name}.toml"
        self.write_config()
        super().__init__(name, ["tunnel_hub.cli", "run", "--config", str(self.config_file)], directory, env)
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.url = f"{'https' if callers_tls else 'http'}://127.0.0.1:{self.callers_port}"

    def write_config(self) -> None:
        self.config_file.write_text(to_toml(self.config))

    def tunnel_url(self, port: int | None = None) -> str:
        """The address for agents; through `port` (a relay's) when given."""
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{port or self.agents_port}/tunnel"

    def raw(self, **options: Any) -> RawClient:
        """A caller's bare connection."""
        return RawClient(self.callers_port, **options)

    def command(self, name: str, *arguments: str) -> Any:
        """`tunnel-hub NAME` with this hub's file."""
        return run_once("tunnel_hub.cli", name, "--config", str(self.config_file), *arguments)

    def check(self) -> Any:
        return self.command("check")

    def enrol_token(self, agent: str = "leeds-1", ttl: str = "1h") -> str:
        """A token as an operator gets it."""
        done = self.command("enrol-token", "--agent", agent, "--ttl", ttl)
        assert done.returncode == 0, done.stderr
        return str(done.stdout).rstrip("\n")


class Agent(Program):
    """`tunnel-agent run`. `hubs` is the list of `[[hubs]]` tables."""

    def __init__(
        self,
        directory: Path,
        key: Key,
        *,
        hubs: list[Table],
        services: Table,
        name: str = "leeds-1",
        options: Table | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        admin_port = free_port()
        self.config: dict[str, Any] = merge(
            {
                "agent": {"id": name, "key_file": str(key.file)},
                "hubs": hubs,
                "services": services,
                "admin": {"listen": f"127.0.0.1:{admin_port}"},
            },
            options or {},
        )
        self.config_file = directory / f"{name}.toml"
        self.write_config()
        super().__init__(name, ["tunnel_agent.cli", "run", "--config", str(self.config_file)], directory, env)
        self.admin_url = f"http://127.0.0.1:{admin_port}"

    def write_config(self) -> None:
        self.config_file.write_text(to_toml(self.config))

    def rotate_key(self) -> Any:
        return run_once("tunnel_agent.cli", "rotate-key", "--config", str(self.config_file))

    def check(self, *, as_json: bool = False) -> Any:
        arguments = ["check", "--config", str(self.config_file), *(["--json"] if as_json else [])]
        return run_once("tunnel_agent.cli", *arguments)

    def explain(self, method: str, path: str) -> Any:
        return run_once("tunnel_agent.cli", "explain", "--config", str(self.config_file), method, path)


class VisitsApi(Program):
    """`python -m examples.visits_api`, the stand-in for the legacy system."""

    _READY = re.compile(r"visits api ready on (http://\S+)")

    def __init__(self, directory: Path, *arguments: str, name: str = "visits-api") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(
            name,
            ["examples.visits_api", "--listen", f"127.0.0.1:{free_port()}", "--test-hooks", *arguments],
            directory,
        )
        self.url = ""

    def start(self) -> None:
        super().start()
        found = self._READY.search(self.wait_log("visits api ready on"))
        assert found
        self.url = found.group(1).rstrip("/")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, trust_env=False)
