"""The firewall request: which connections this machine has to be allowed to open, as text for a mail."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

import msgspec

WIDTH: Final = 76


class Connection(msgspec.Struct, frozen=True, order=True):
    """A connection that this machine has to be allowed to open. addresses and sources: as far as known."""

    host: str
    port: int
    purpose: str
    """What it leads to, in few words."""
    why: str
    """Why it is needed and what else to ask for, in sentences."""
    addresses: list[str]
    sources: list[str]
    protocol: str = "tcp"


def request(connections: Sequence[Connection], machine: str) -> str:
    """The request to the network team: for what leaves this machine. machine: its name."""
    connections = [connection for connection in connections if not _stays(connection)]
    if not connections:
        return "Nothing to ask for: no connection leaves this machine.\n"
    lines = textwrap.wrap(
        'Please allow the following connections. Each is opened from the machine named under "from"; answers come '
        "back on it, and nothing has to be let in.",
        WIDTH,
    )
    for number, connection in enumerate(connections, 1):
        known = ", ".join(address for address in connection.addresses if address != connection.host)
        rows = {
            "from": _place(machine, ", ".join(connection.sources)),
            "to": _place(connection.host, known),
            "port": str(connection.port),
            "protocol": connection.protocol.upper(),
            "why": connection.why,
        }
        lines.append("")
        for name, text in rows.items():
            begin = f"{number:>2}. " if name == "from" else "    "
            lines += textwrap.wrap(text, WIDTH, initial_indent=f"{begin}{name:<10}", subsequent_indent=" " * 14)
    return "\n".join(lines) + "\n"


def _stays(connection: Connection) -> bool:
    addresses = connection.addresses
    return bool(addresses) and all(ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def _place(name: str, addresses: str) -> str:
    return f"{name} ({addresses})" if addresses else name
