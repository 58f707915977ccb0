"""Fixtures of the end-to-end tests.

`tunnel` is one running tunnel shared by every test of this process that does not disturb it; a test that
kills, cuts or configures takes `make_tunnel` and gets its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.connect_proxy import ConnectProxy
from tests.support.issuer import Issuer
from tests.support.keys import KeyRing
from tests.support.programs import Table, VisitsApi
from tests.support.seeded import SEEDED
from tests.support.toml import merge
from tests.support.tunnel import Tunnel
from tests.support.upstream import Upstream, reply

_numbers = itertools.count(1)

SHORT_DEADLINE = "visits-brisk.internal"
"""Host of the shared tunnel's second service, whose deadline is 1 s."""


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def _shared_tunnel(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Tunnel]:
    upstream = Upstream()
    tunnel = Tunnel(
        tmp_path_factory.mktemp("shared"),
        keys,
        upstream=upstream,
        hub_options={
            "services": {"brisk": {"hosts": [SHORT_DEADLINE], "deadline": "1s"}},
            "agents": {"leeds-1": {"services": ["visits", "brisk"]}},
        },
        service={"upgrades": ["websocket", "echo"]},
        agent_service={"upgrades": ["websocket", "echo"]},
        agent_options={
            "services": {"brisk": {"upstream": upstream.url, "allow": ["GET /**", "POST /**"]}},
        },
    )
    yield tunnel
    tunnel.close()
    upstream.close()


@pytest.fixture
def tunnel(_shared_tunnel: Tunnel) -> Iterator[Tunnel]:
    """The shared tunnel, running; a program that an earlier test crashed is started again."""
    _shared_tunnel.start()
    _shared_tunnel.client.cookies.clear()
    _shared_tunnel.upstream.errors.clear()
    yield _shared_tunnel
    assert not _shared_tunnel.upstream.errors, f"scripts failed: {_shared_tunnel.upstream.errors!r}"
    for program in (_shared_tunnel.hub, _shared_tunnel.agent):
        assert program.running, f"{program.name} ended with status {program.process.poll()}"


@pytest.fixture
def upstream(tunnel: Tunnel) -> Upstream:
    """The shared tunnel's upstream."""
    return tunnel.upstream


@pytest.fixture
def make_tunnel(tmp_path: Path, keys: KeyRing) -> Iterator[Callable[..., Tunnel]]:
    """Make tunnels of one's own (not started); they are closed after the test."""
    made: list[Tunnel] = []

    def make(**options: object) -> Tunnel:
        tunnel = Tunnel(tmp_path / f"tunnel-{len(made)}", keys, **options)  # type: ignore[arg-type]
        made.append(tunnel)
        return tunnel

    yield make
    for tunnel in made:
        tunnel.close()


def _gateways(make_tunnel: Callable[..., Tunnel]) -> Iterator[Callable[..., Tunnel]]:
    made: list[Tunnel] = []
    log = {"log": {"level": "debug", "format": "json"}}

    def make(callers: Table, hub_options: Table | None = None, **options: Any) -> Tunnel:
        hub = merge({"callers": {"authentication": "required", **callers}, **log}, hub_options or {})
        tunnel = make_tunnel(hub_options=hub, agent_options=log, **options)
        tunnel.upstream.on("/nomisapi/*", reply())
        made.append(tunnel)
        return tunnel

    yield make
    for tunnel in made:
        tunnel.close()
        for program in (tunnel.hub, *tunnel.agents):
            text = program.log()
            assert not [secret for secret in SEEDED if secret in text], f"{program.name} logged a secret"
            assert "Traceback" not in text, program.tail()


@pytest.fixture
def make_gateway(make_tunnel: Callable[..., Tunnel]) -> Iterator[Callable[..., Tunnel]]:
    """Make tunnels whose callers must authenticate; the first argument is [callers]. Everything is logged.

    In the end no secret that the tests made stands in a log.
    """
    yield from _gateways(make_tunnel)


@pytest.fixture(scope="module")
def make_shared_gateway(
    tmp_path_factory: pytest.TempPathFactory, keys: KeyRing
) -> Iterator[Callable[..., Tunnel]]:
    """The same for one that the tests of a module share."""

    def make(**options: Any) -> Tunnel:
        return Tunnel(tmp_path_factory.mktemp("gateway"), keys, **options)

    yield from _gateways(make)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An OAuth issuer with a revocation feed beside it."""
    server = Issuer()
    yield server
    server.close()


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., ConnectProxy]]:
    made: list[ConnectProxy] = []

    def make(user: str | None = None, password: str | None = None) -> ConnectProxy:
        made.append(ConnectProxy(user, password))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def visits_api(tmp_path: Path) -> Iterator[VisitsApi]:
    api = VisitsApi(tmp_path)
    api.start()
    yield api
    api.close()


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A path of this test's own on the upstream."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return f"/t/{name}-{next(_numbers)}"
