"""Which certificates the hub uses, by their places in the file, for whoever watches when they end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from protocol.ops.expiry import ends

if TYPE_CHECKING:
    from .config import HubConfig


def shown(config: HubConfig) -> dict[str, float]:
    """When the certificates that the listeners show end: a reload renews them."""
    return ends(_files(config, "certificate"))


def trusted(config: HubConfig) -> dict[str, float]:
    """When the authorities of callers' and agents' certificates end: they stay until a restart."""
    return ends(_files(config, "client_ca"))


def _files(config: HubConfig, key: str) -> dict[str, Path | None]:
    tables = {"callers_tls": config.listen.callers_tls, "agents_tls": config.listen.agents_tls}
    return {f"listen.{name}.{key}": getattr(table, key) for name, table in tables.items() if table is not None}
