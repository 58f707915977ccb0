"""Which certificates the agent uses, by their places in the file, for whoever watches when they end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from protocol.ops.expiry import ends

if TYPE_CHECKING:
    from .config import AgentConfig

_KEYS = ("client_certificate", "ca_file")


def of(config: AgentConfig) -> dict[str, float]:
    """When what it shows to hubs and upstreams ends, and the authorities that it trusts for them."""
    tables = {f"hubs[{number}]": hub for number, hub in enumerate(config.hubs)}
    files: dict[str, Path | None] = {}
    for place, table in (*tables.items(), *((f"services.{name}", each) for name, each in config.services.items())):
        files.update({f"{place}.{key}": getattr(table, key) for key in _KEYS})
    return ends(files)
