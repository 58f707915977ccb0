"""What of the hub ends by itself and when: certificates by their places in the file, and callers' credentials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocol.ops.expiry import ends

if TYPE_CHECKING:
    from .config import HubConfig
    from .hub import Hub

EXPIRED_FOR: Final = 86400.0
"""Seconds for which a caller's credential that has ended is still shown: perhaps it has another one by now."""


def shown(config: HubConfig) -> dict[str, float]:
    """When the certificates that the listeners show end: a reload renews them."""
    return ends(_files(config, "certificate"))


def trusted(config: HubConfig) -> dict[str, float]:
    """When the authorities of callers' and agents' certificates end: they stay until a restart."""
    return ends(_files(config, "client_ca"))


def known(hub: Hub, now: float) -> dict[str, float]:
    """The ends of all that is known now. now: as time.time()."""
    found = dict(hub.ends)
    for policy in hub.gate.directory if hub.gate is not None else ():
        for means, end in policy.ends.items():
            if end > now - EXPIRED_FOR:
                found[f"{means} of {policy.name}"] = end
    return found


def _files(config: HubConfig, key: str) -> dict[str, Path | None]:
    tables = {"callers_tls": config.listen.callers_tls, "agents_tls": config.listen.agents_tls}
    return {f"listen.{name}.{key}": getattr(table, key) for name, table in tables.items() if table is not None}
