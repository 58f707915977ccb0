"""What the two packages are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COMMON: Final = "protocol"
NOT_SHIPPED: Final = "caller"
"""The folder of COMMON that is for callers' programs: in the wheel, in neither .deb."""


@dataclass(frozen=True)
class Program:
    """One .deb.

    units: enabled is NAME.service; others wait for the administrator.
    unused: requirements of the whole project that this program does not import.
    libraries: Debian's packages of what the wheels' shared objects are linked with.
    """

    name: str
    module: str
    units: tuple[str, ...]
    unused: frozenset[str]
    libraries: tuple[str, ...]
    summary: str
    description: str


AGENT: Final = Program(
    name="tunnel-agent",
    module="tunnel_agent",
    units=("tunnel-agent.service",),
    unused=frozenset({"google-re2", "pyjwt"}),
    libraries=("libc6 (>= 2.34)", "libgcc-s1"),
    summary="HTTP tunnel, the end in the data centre",
    description="The agent opens websockets to a hub and passes the requests that come down them, as far as its"
    " own file allows, to upstreams that accept no connection from outside.",
)
HUB: Final = Program(
    name="tunnel-hub",
    module="tunnel_hub",
    units=("tunnel-hub.socket", "tunnel-hub.service"),
    unused=frozenset({"python-socks", "tenacity"}),
    libraries=("libc6 (>= 2.34)", "libgcc-s1", "libstdc++6"),
    summary="HTTP tunnel, the end in the cloud",
    description="The hub takes HTTP requests from callers that it knows and sends them down the websockets that"
    " agents in a data centre have opened to it.",
)
PROGRAMS: Final = (AGENT, HUB)
