"""One hub and one agent in front of many upstreams: each server is a service with a Host of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.support.keys import KeyRing
from tests.support.programs import ALLOW_ALL
from tests.support.tunnel import Tunnel


def host_of(server: str) -> str:
    """The Host by which callers reach a server."""
    return f"{server}.internal"


def make_tunnel(folder: Path, upstreams: Mapping[str, str]) -> Tunnel:
    """A running tunnel to `upstreams` (URLs by server). The boundary lets everything in: the rest is to hold."""
    hub = {
        "services": {name: {"hosts": [host_of(name)], "deadline": "15s"} for name in upstreams},
        "agents": {"leeds-1": {"services": ["visits", *upstreams]}},
        "log": {"format": "json", "query_strings": True},
    }
    agent = {"services": {name: {"upstream": url, "allow": ALLOW_ALL} for name, url in upstreams.items()}}
    return Tunnel(folder, KeyRing(folder), hub_options=hub, agent_options=agent).start()


def carried(tunnel: Tunnel) -> dict[str, tuple[str, str]]:
    """Method and target by request id, for every exchange in the hub's access log."""
    found = {}
    for line in tunnel.hub.log().splitlines():
        if '"request_id"' in line:
            entry = json.loads(line)
            if entry.get("method", "-") != "-":
                query = entry.get("query")
                target = entry["path"] + (f"?{query}" if query else "")
                found[entry["request_id"]] = (entry["method"], target)
    return found
