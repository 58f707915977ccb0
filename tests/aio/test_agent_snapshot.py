"""The agent's snapshot and what `status` makes of it, in each state of sessions, services and the agent."""

from __future__ import annotations

import asyncio
import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from rich.console import Console

from protocol.errors import StreamCode
from protocol.ops.version import Build
from tests.support.agent import HandLink, agent_config, make_agent
from tests.unit.egress.harness import both_loops
from tunnel_agent.console import snapshot, terminal
from tunnel_agent.console.problems import meaning, problems
from tunnel_agent.console.snapshot import Snapshot

BUILD = Build("1.2", "0123456789abcdef", "3.11")
URL = "ws://hub.example:8081/tunnel"


class Bench:
    """An agent whose slots are what a test says."""

    def __init__(self, folder: Path, **tables: Any) -> None:
        self.agent = make_agent(agent_config(folder, **tables))
        self.now = self.agent.loop.time()
        self.slots: list[Any] = []

    def slot(self, url: str = URL, *, listed: bool = True, **values: Any) -> Any:
        fields = {
            "link": None,
            "dialling": False,
            "due": self.now + 4.4,
            "last_error": "",
            "number": len(self.slots),
        }
        slot = SimpleNamespace(hub=SimpleNamespace(url=url), **{**fields, **values})
        slot.up = slot.link is not None
        if listed:
            self.slots.append(slot)
        return slot

    def link(self, slot: Any, *, current: bool = True) -> HandLink:
        """A session of the slot; not current: its hub drains, and the slot looks for another."""
        link = HandLink(self.agent)
        link.established_at = self.now - 100.0  # type: ignore[attr-defined]
        self.agent.links[link] = SimpleNamespace(slot=slot)  # type: ignore[index, assignment]
        if current:
            slot.link, slot.up = link, True
        return link

    def take(self, *, serving: bool = True) -> Snapshot:
        supervisor: Any = SimpleNamespace(slots=self.slots)
        return snapshot.take(self.agent, supervisor, BUILD, 1000.0, serving=serving)


@both_loops
async def test_sessions_by_hub(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.link(bench.slot())
    bench.slot(dialling=True, due=bench.now)
    drained = bench.slot(last_error="shutdown: the hub drains")
    bench.link(drained, current=False)
    bench.slot("ws://other/tunnel", last_error="connect: refused")
    bench.link(bench.slot("ws://gone/tunnel", listed=False))
    hub, other, gone = bench.take().hubs
    assert (hub.url, hub.id, hub.wanted, hub.up) == (URL, "hub-1", 3, 1)
    assert [session.state for session in hub.sessions] == ["up", "dialling", "waiting", "draining"]
    up, dialling, waiting, draining = hub.sessions
    assert up.age == pytest.approx(100, abs=5)
    assert (up.next_try, dialling.next_try) == (None, None)
    assert waiting.next_try == pytest.approx(4.4, abs=2)
    assert waiting.last_error == "shutdown: the hub drains"
    assert draining.age is not None
    assert (other.id, other.wanted, other.up) == ("", 1, 0)
    assert (gone.wanted, gone.up, [session.state for session in gone.sessions]) == (0, 0, ["draining"])


@both_loops
async def test_the_state_is_what_health_says(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.link(bench.slot())
    service = bench.agent.services["visits"]
    assert bench.take().state == "up"
    assert bench.take(serving=False).state == "starting"
    service.watch.down = "connection refused"
    assert bench.take().state == "down"
    service.enabled = False
    assert (bench.take().state, bench.take().services[0].state) == ("up", "switched off")
    bench.slot("ws://other/tunnel")
    assert bench.take().state == "down"
    bench.agent.draining = True
    assert bench.take().state == "draining"
    assert bench.take(serving=False).state == "draining"


@both_loops
async def test_streams_count_for_their_session_and_service(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    slot = bench.slot()
    link = bench.link(slot)
    for _ in range(3):
        stream = link.open(b"x", end=False, method=b"POST", length=2000)
        link.turn()
        link.hub.send(stream, b"y" * 1000)
    link.turn()
    assert bench.take().hubs[0].sessions[0].window == 0, "nothing was taken yet"
    for stream in link.session.streams.values():
        link.session.consumed(stream, 500, bench.now)
    told = bench.take()
    assert told.in_flight == told.services[0].in_flight == told.hubs[0].sessions[0].outstanding == 3
    assert told.services[0].waiting == 3
    assert told.hubs[0].sessions[0].window == 3 * 256 * 1024
    assert told.hubs[0].sessions[0].bytes_in > 0
    for stream in list(link.session.streams.values()):
        stream.owner.cancel()
    await bench.agent.services["visits"].upstream.close()
    await asyncio.sleep(0)


@both_loops
async def test_a_slot_that_is_to_end_says_no_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.slot(due=math.inf)
    [session] = bench.take().hubs[0].sessions
    assert (session.state, session.next_try) == ("waiting", None)


@both_loops
async def test_the_terminal_understands_what_is_served(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, services={"chat": {"upstream": "http://[::1]:9", "allow": ["GET /**"], "read_only": True}}
    )
    bench.link(bench.slot())
    bench.slot(last_error="connect: refused")
    bench.slot("ws://other/tunnel", last_error="tls: who is that")
    bench.agent.services["chat"].enabled = False
    bench.agent.services["visits"].failures[StreamCode.IDLE_TIMEOUT] = 2
    bench.agent.recent.note(
        "visits", b"GET", b"/x", StreamCode.IDLE_TIMEOUT, "no byte for 300 s", hub="hub-1", request_id=b"r-1"
    )
    told = bench.take()
    reading = terminal.read(msgspec.json.encode(told))
    assert not reading.up
    console = Console(file=io.StringIO(), width=200)
    for part in reading.parts(200):
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "tunnel-agent leeds-1: DOWN",
        "version 1.2 (git 0123456)",
        "1 of 3 sessions",
        f"! 1 of 2 sessions at {URL}",
        "! no session at ws://other/tunnel: tls: who is that",
        "! chat is switched off at the agent by the file",
        "next try in 4 s",
        "http://[::1]:9",
        "read-only",
        meaning("idle_timeout"),
        "no byte for 300 s",
        "r-1",
    ):
        assert words in text
    assert list(problems(told)) == [
        line.strip("! ").rstrip() for line in text.splitlines() if line.startswith("!")
    ]


def test_what_is_no_snapshot_is_refused() -> None:
    for answer in (b"", b"[]", b"{}", b'{"agent": "leeds-1"}'):
        with pytest.raises(msgspec.DecodeError):
            terminal.read(answer)


def test_codes_of_other_releases_have_no_meaning_here() -> None:
    assert meaning("boundary_refused")
    assert meaning("not_yet_invented") == ""
