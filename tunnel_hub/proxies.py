"""Which peers are listed proxies, so that their forwarding fields are believed."""

from __future__ import annotations

import ipaddress
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REMEMBERED: Final = 10_000
"""Addresses whose answer is kept."""


class TrustedProxies:
    """The networks of the configuration; `replace` at a reload."""

    __slots__ = ("_known", "_networks")

    def __init__(self, networks: tuple[Network, ...] = ()) -> None:
        self._networks = networks
        self._known: dict[str, bool] = {}

    def replace(self, networks: tuple[Network, ...]) -> None:
        """Believe callers in these networks from now on, and no others."""
        self._networks = networks
        self._known.clear()

    def has(self, peer: str) -> bool:
        """Whether the peer, an IP address, is a listed proxy."""
        if not self._networks:
            return False
        known = self._known.get(peer)
        if known is None:
            try:
                address = ipaddress.ip_address(peer)
            except ValueError:
                return False
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[peer] = any(address in network for network in self._networks)
        return known
