"""SIGHUP at the agent: what its hubs are told, what keeps its connections, which key the next handshake shows."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.events import Answered, OfferState, StreamReset
from protocol.keys import generate, save_private_key
from protocol.limits import Limits
from protocol.ops import log
from tests.support.agent import HandLink, agent_config, agent_toml, make_agent
from tests.support.ports import free_port
from tests.support.slots import Noted
from tests.unit.egress.harness import OK, Peer, Server, both_loops, serving, until
from tunnel_agent import health
from tunnel_agent.config import AgentConfig
from tunnel_agent.dial import Identity
from tunnel_agent.enrolling import own_key
from tunnel_agent.killswitch import KillSwitch
from tunnel_agent.operation import Operation
from tunnel_agent.reload import Reloader

UP, DOWN, WITHDRAWN = OfferState.UP, OfferState.DOWN, OfferState.WITHDRAWN


@pytest.fixture(autouse=True)
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    log.setup("text", "info", stream)
    setup = log.setup
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "setup", lambda form, level: setup("text", level, stream))
        yield stream
    log.structlog.reset_defaults()


class Bench:
    """A running agent with one link, its file, and what the supervisor was told."""

    def __init__(self, folder: Path, config: AgentConfig) -> None:
        self.folder = folder
        self.file = folder / "agent.toml"
        self.agent = make_agent(config)
        self.identity = Identity("leeds-1", own_key(config), self.agent.services, Limits())
        self.hubs: list[Any] = []
        self.renewed: list[bool] = []
        self.admins: list[Any] = []
        supervisor: Any = SimpleNamespace(apply=self._apply)
        console: Any = SimpleNamespace(use=self.admins.append)
        switch = KillSwitch(self.agent)
        self.reloader = Reloader(config, self.file, self.agent, supervisor, self.identity, console, switch)
        self.operation = Operation(self.agent, switch, self.reloader.enables)
        for service in self.agent.services.values():
            service.watch.start(self.agent.announce)
        self.link = HandLink(self.agent).establish()
        self.link.turn()
        self.link.events.clear()

    def _apply(self, hubs: Any, patience: float, *, renew: bool) -> None:
        self.hubs.append((hubs, patience))
        self.renewed.append(renew)

    async def reload(self, upstream: str = "http://127.0.0.1:9", **tables: Any) -> None:
        self.file.write_text(agent_toml(self.folder, upstream, **tables))
        await self.reloader.reload()

    async def close(self) -> None:
        await self.reloader.stop()
        for service in self.agent.services.values():
            await service.watch.stop()
            await service.upstream.close()
        self.agent.wheel.close()


@contextlib.asynccontextmanager
async def running(folder: Path, upstream: str = "http://127.0.0.1:9", **tables: Any) -> AsyncIterator[Bench]:
    bench = Bench(folder, agent_config(folder, upstream, **tables))
    try:
        yield bench
    finally:
        await bench.close()


MORE = {"upstream": "http://127.0.0.1:9", "allow": ["GET /**"]}


@both_loops
async def test_services_come_and_go_on_the_sessions_that_stand(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        await bench.reload(services={"more": MORE})
        assert bench.link.offers == [("more", UP, 80)]
        await bench.reload(services={"more": {**MORE, "max_connections": 4}})
        assert bench.link.offers[1:] == [("more", UP, 5)]
        await bench.reload()
        assert bench.link.offers[2:] == [("more", WITHDRAWN, None)]
        assert set(bench.agent.services) == {"visits"}
        await bench.reload(services={"visits": {"enabled": False}})
        assert bench.link.offers[3:] == [("visits", DOWN, 80)]
        handshake = bench.identity.handshake(agent_config(tmp_path).hubs[0], None)
        assert list(handshake._services) == ["visits"]  # type: ignore[attr-defined]


@both_loops
async def test_a_service_that_a_reload_took_away_meanwhile_cannot_be_switched(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.operation.switch_off("gone", "alice", "INC-7")
        bench.operation.switch_on("gone", "alice", "INC-7")
        assert not bench.agent.switches


@both_loops
async def test_an_operators_switch_holds_over_reloads(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        services, audit = bench.agent.services, Noted()
        bench.agent.audit = audit
        for _ in range(2):
            bench.operation.switch_off("visits", "alice", "INC-7")
        assert bench.link.offers == [("visits", DOWN, 80)]
        assert [event for event, _ in audit.events] == ["service switched off"]
        await bench.reload(services={"visits": {"max_connections": 4}})
        assert not services["visits"].enabled
        await bench.reload(services={"visits": {"enabled": False}})
        bench.operation.switch_on("visits", "alice", "mended")
        assert not services["visits"].enabled, "the file's own switch"
        await bench.reload()
        assert services["visits"].enabled
        bench.operation.switch_on("visits", "alice", "again")
        assert [event for event, _ in audit.events if "config" not in event] == [
            "service switched off",
            "switch taken back",
            "service switched on",
        ]
        assert bench.admins, "operators are those of the file"


@both_loops
async def test_the_next_handshake_offers_what_is_offered_now(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        hub = agent_config(tmp_path).hubs[0]
        before = bench.identity.handshake(hub, None).start()
        await bench.reload(services={"more": MORE})
        assert b"more" not in before
        assert b"more" in bench.identity.handshake(hub, None).start()


@both_loops
async def test_what_runs_ends_as_it_began(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await go.wait()
            await peer.send(OK)

    async with (
        serving(script) as old,
        serving(lambda peer: peer.serve()) as new,
        running(tmp_path, f"http://127.0.0.1:{old.port}") as bench,
    ):
        bench.link.open()
        bench.link.turn()
        await until(lambda: old.heads, "the request is sent")
        await bench.reload(f"http://127.0.0.1:{new.port}")
        bench.link.open()
        await until(lambda: len(bench.link.of(Answered)) == 1, "the new upstream answers")
        assert len(new.heads) == 1
        go.set()
        await until(lambda: len(bench.link.of(Answered)) == 2, "the old one, too")
        assert not bench.link.of(StreamReset)
        await until(lambda: old.live == 0, "the replaced upstream is closed")


@both_loops
async def test_a_new_boundary_keeps_the_connections(tmp_path: Path) -> None:
    async with serving(lambda peer: peer.serve()) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with running(tmp_path, url) as bench:
            for number in range(3):
                bench.link.open()
                await until(lambda: len(bench.link.of(Answered)) == number + 1, "an answer")  # noqa: B023
                await bench.reload(url, services={"visits": {"allow": [f"GET /{number}", "GET /x"]}})
            assert len(server.peers) == 1
            assert bench.agent.services["visits"].requests == 3, "counters go on"
            assert len(bench.link.offers) == 3


@both_loops
async def test_a_new_secret_in_an_old_file_is_taken(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    secret.chmod(0o600)
    async with serving(lambda peer: peer.serve()) as server:
        url = f"http://127.0.0.1:{server.port}"
        tables = {"services": {"visits": {"headers": {"Authorization": {"file": str(secret)}}}}}
        async with running(tmp_path, url, **tables) as bench:
            secret.write_text("two\n")
            await bench.reload(url, **tables)
            bench.link.open()
            await until(lambda: bench.link.of(Answered), "an answer")
            assert b"\r\nAuthorization: two\r\n" in server.heads[0]
            before = bench.agent.services["visits"]
            await bench.reload(url, **tables)
            assert bench.agent.services["visits"] is before, "nothing changed"


@both_loops
async def test_a_failing_upstream_stays_known_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_EVERY", 0.02)
    url = f"http://127.0.0.1:{(port := free_port())}"
    async with running(tmp_path, url) as bench:
        for _ in range(2):
            bench.link.open()
        await until(lambda: bench.link.offers == [("visits", DOWN, 80)], "calls show it")
        await bench.reload(url, services={"visits": {"max_connections": 8}})
        assert bench.link.offers[1:] == [("visits", DOWN, 10)]
        server = Server(lambda peer: peer.serve())
        listener = await asyncio.start_server(server.accept, "127.0.0.1", port)
        await until(lambda: bench.link.offers[2:] == [("visits", UP, 10)], "a probe finds it up")
        listener.close()
        await server.stop()


@both_loops
async def test_keys_change_for_the_handshakes_to_come(tmp_path: Path, logged: io.StringIO) -> None:
    async with running(tmp_path) as bench:
        first = bench.identity.key
        (tmp_path / "agent.key").unlink()
        save_private_key(generate(), tmp_path / "agent.key")
        await bench.reload()
        second = bench.identity.key
        save_private_key(generate(), tmp_path / "other.key")
        await bench.reload(agent={"key_file": "other.key"})
        third = bench.identity.key
        assert len({key.public.raw for key in (first, second, third)}) == 3
        await bench.reload(agent={"key_file": "other.key"})
        assert bench.renewed == [True, True, False], "sessions are renewed when the key is another one"
        assert "restart" not in logged.getvalue()


@both_loops
async def test_what_needs_a_restart_is_named(tmp_path: Path, logged: io.StringIO) -> None:
    async with running(tmp_path) as bench:
        key = bench.identity.key
        save_private_key(generate(), tmp_path / "other.key")
        await bench.reload(
            agent={"id": "leeds-2", "key_file": "other.key"},
            admin={"listen": "127.0.0.1:1"},
            limits={"drain_timeout": "1s"},
        )
        lines = [line for line in logged.getvalue().splitlines() if "only after a restart" in line]
        assert [line.rpartition("what=")[2] for line in lines] == ["agent.id", "admin.listen", "limits"]
        assert bench.identity.key is key, "another agent's key is not shown under this id"
        assert bench.hubs[-1][1] == 30.0


@both_loops
async def test_hubs_are_handed_on(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        await bench.reload()
        [(hubs, _)] = bench.hubs
        assert hubs == bench.reloader.config.hubs


@both_loops
async def test_a_broken_file_changes_nothing(tmp_path: Path, logged: io.StringIO) -> None:
    async with running(tmp_path) as bench:
        before = dict(bench.agent.services)
        await bench.reload(servcies={})
        await bench.reload(agent={"key_file": "nowhere.key"})
        bench.file.write_text("[agent")
        await bench.reloader.reload()
        assert bench.agent.services == before
        assert bench.link.offers == []
        assert bench.hubs == []
        assert logged.getvalue().count("the new configuration is not used") >= 3


@both_loops
async def test_nothing_changes_any_more_while_the_agent_drains(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.agent.draining = True
        await bench.reload(services={"more": MORE})
        assert bench.link.offers == []
        assert bench.hubs == []
