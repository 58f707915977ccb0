"""The second tunnel of these tests: a hub with a listed proxy, and a service that lets ambiguous paths through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.keys import KeyRing
from tests.support.programs import ALLOW_ALL
from tests.support.tunnel import Tunnel
from tests.support.upstream import Upstream

from .path_rows import LENIENT


@pytest.fixture(scope="package")
def lenient(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Tunnel]:
    """Callers on loopback are listed proxies; the service with Host LENIENT allows every path exception."""
    exceptions = ["%2f", "%5c", "%25", ";", "//"]
    upstream = Upstream()
    tunnel = Tunnel(
        tmp_path_factory.mktemp("lenient"),
        keys,
        upstream=upstream,
        hub_options={
            "callers": {"trusted_proxies": ["127.0.0.0/8"]},
            "services": {"lenient": {"hosts": [LENIENT], "allow_paths": exceptions}},
            "agents": {"leeds-1": {"services": ["visits", "lenient"]}},
        },
        agent_options={
            "services": {
                "lenient": {
                    "upstream": upstream.url,
                    "allow": ALLOW_ALL,
                    "allow_paths": exceptions,
                    "host": "caller",
                }
            }
        },
    )
    tunnel.start()
    yield tunnel
    tunnel.close()
    upstream.close()


@pytest.fixture
def tunnel(_shared_tunnel: Tunnel) -> Iterator[Tunnel]:
    """As tests/e2e's fixture, but asks the programs for their health only when one of them does not run."""
    programs = (_shared_tunnel.hub, _shared_tunnel.agent)
    if not all(program.running for program in programs):
        _shared_tunnel.start()
    _shared_tunnel.upstream.errors.clear()
    yield _shared_tunnel
    assert not _shared_tunnel.upstream.errors, f"scripts failed: {_shared_tunnel.upstream.errors!r}"
    for program in programs:
        assert program.running, f"{program.name} ended with status {program.process.poll()}"
