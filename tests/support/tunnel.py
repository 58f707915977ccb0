"""A whole tunnel in one line: upstream, agent, hub and, when asked for, relay, proxy and TLS between them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.support.connect_proxy import ConnectProxy
from tests.support.keys import KeyRing
from tests.support.leaksearch import named
from tests.support.programs import ALLOW_ALL, Agent, Hub, Table
from tests.support.rawhttp import Answer, RawClient
from tests.support.relay import Relay
from tests.support.tls import PrivateCA
from tests.support.toml import merge
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

HOST = "visits.internal"
"""The Host by which the service `visits` is reached."""


class Tunnel:
    """Service `visits` (Host `visits.internal`, paths `/nomisapi/`) behind agent `leeds-1` and hub `hub-1`.

    relay: put a fault relay between agent and hub; proxy: the agent goes out through it; tls: `wss://` with a
    private CA; upstream_url: something else than the scripted upstream; *_options: merged into the TOML
    (None removes a key); service / agent_service: merged into `[services.visits]` of hub / agent.
    Nothing runs before `start`. Call `close` at the end.
    """

    def __init__(
        self,
        directory: Path,
        keys: KeyRing,
        *,
        relay: bool = False,
        relay_buffer: int | None = None,
        proxy: ConnectProxy | None = None,
        proxy_password: str | None = None,
        tls: bool = False,
        callers_tls: bool = False,
        sessions: int = 2,
        upstream_url: str | None = None,
        upstream: Upstream | None = None,
        service: Table | None = None,
        agent_service: Table | None = None,
        hub_options: Table | None = None,
        agent_options: Table | None = None,
        hub_entry: Table | None = None,
        agent_env: Mapping[str, str] | None = None,
        agent_ids: tuple[str, ...] = ("leeds-1",),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ca = PrivateCA(directory / "ca") if tls or callers_tls else None
        self._owns_upstream = upstream is None
        self.upstream = upstream or Upstream()
        self.hub = Hub(
            directory,
            keys.hub(),
            services={
                "visits": merge({"hosts": [HOST], "paths": ["/nomisapi/"], "deadline": "30s"}, service or {})
            },
            agents={
                name: {"public_keys": [keys.agent(name).public], "services": ["visits"]} for name in agent_ids
            },
            tls=self.ca if tls else None,
            callers_tls=self.ca if callers_tls else None,
            options=hub_options,
        )
        self.relay = Relay(self.hub.agents_port, buffer=relay_buffer) if relay else None
        self.proxy = proxy
        entry: dict[str, Any] = {
            "url": self.hub.tunnel_url(self.relay.port if self.relay else None),
            "public_keys": [keys.hub().public],
            "sessions": sessions,
        }
        if self.ca is not None and tls:
            entry["ca_file"] = str(self.ca.ca_file)
        if proxy is not None:
            entry["proxy"] = proxy.url
        if proxy_password is not None:
            secret = directory / "proxy.password"
            secret.write_text(named("the proxy's password", proxy_password) + "\n")
            secret.chmod(0o600)
            entry["proxy_password_file"] = str(secret)
        self.agents = [
            Agent(
                directory,
                keys.agent(name),
                name=name,
                hubs=[merge(entry, hub_entry or {})],
                services={
                    "visits": merge(
                        {"upstream": upstream_url or self.upstream.url, "allow": ALLOW_ALL},
                        agent_service or {},
                    )
                },
                options=agent_options,
                env=agent_env,
            )
            for name in agent_ids
        ]
        self.client = httpx.Client(
            base_url=self.hub.url,
            headers={"Host": HOST},
            timeout=30,
            trust_env=False,
            verify=self.ca.client_context() if callers_tls and self.ca else True,
        )

    @property
    def agent(self) -> Agent:
        return self.agents[0]

    def start(self) -> Tunnel:
        """Start whatever does not run and wait until a request would be served."""
        if not self.hub.running:
            self.hub.start()
            self.hub.wait_alive()  # else an agent may dial in vain first, and tests count what is dialled
        for agent in self.agents:
            if not agent.running:
                agent.start()
        self.wait_served()
        return self

    def wait_served(self, timeout: float = 20.0) -> None:
        for program in (self.hub, *self.agents):
            program.wait_ready(timeout)
        self.hub.wait_healthy(timeout)

    def wait_sessions(self, number: int, timeout: float = 15.0) -> None:
        """Wait until the hub counts `number` sessions for the service."""
        wait_until(lambda: self.sessions() == number, f"{number} sessions at the hub", timeout)

    def sessions(self) -> int:
        """How many sessions the hub has, by its metrics."""
        total = 0.0
        for line in self.hub.admin("/metrics").text.splitlines():
            if line.startswith(("tunnel_hub_sessions{", "tunnel_hub_sessions ")):
                total += float(line.rpartition(" ")[2])
        return int(total)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def fetch(
        self,
        target: str,
        *fields: str,
        method: str = "GET",
        host: str = HOST,
        body: bytes | None = None,
        timeout: float = 15.0,
        source: str | None = None,
    ) -> Answer:
        """One request on a connection of its own, the exact answer; `fields` are lines `Name: value`.

        source: the caller's address, such as 127.0.0.2.
        """
        framing = () if body is None else (f"Content-Length: {len(body)}",)
        with self.raw(timeout=timeout, source=source) as caller:
            caller.start(method, target, *fields, *framing, host=host, body=body or b"")
            return caller.answer(method)

    def socket(self) -> socket.socket:
        """A connection to the callers' port, for clients that speak over a given one."""
        return socket.create_connection(("127.0.0.1", self.hub.callers_port), 10)

    def raw(self, **options: Any) -> RawClient:
        return self.hub.raw(**options)

    def close(self) -> None:
        self.client.close()
        for program in (*self.agents, self.hub):
            program.close()
        if self.relay is not None:
            self.relay.close()
        if self._owns_upstream:
            self.upstream.close()
