"""Which peers count as proxies."""

from __future__ import annotations

import ipaddress

import pytest

from tunnel_hub import proxies
from tunnel_hub.proxies import TrustedProxies

TEN = ipaddress.ip_network("10.0.0.0/8")


def test_networks_and_nobody_else() -> None:
    trusted = TrustedProxies((TEN, ipaddress.ip_network("fd00::/8")))
    for _ in range(2):
        assert trusted.has("10.1.2.3")
        assert trusted.has("fd00::1")
        assert not trusted.has("11.0.0.1")
        assert not trusted.has("")
        assert not trusted.has("unix")
    assert not TrustedProxies().has("10.1.2.3")


def test_a_reload_replaces_them() -> None:
    trusted = TrustedProxies((TEN,))
    assert trusted.has("10.1.2.3")
    trusted.replace(())
    assert not trusted.has("10.1.2.3")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "REMEMBERED", 3)
    trusted = TrustedProxies((TEN,))
    assert all(trusted.has(f"10.0.0.{number}") for number in range(20))
    assert len(trusted._known) <= 3
