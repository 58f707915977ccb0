"""What docs/operations.md promises of lost files and new machines, tried on real processes."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from protocol.keys import load_private_key
from tests.support.effort import thorough_only
from tests.support.keys import KeyRing
from tests.support.metrics import metric
from tests.support.process import Program
from tests.support.programs import Agent
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

pytestmark = thorough_only

BRISK = {"limits": {"reconnect_max": "500ms"}}


@pytest.fixture
def tunnel(tmp_path: Path) -> Iterator[Tunnel]:
    """A tunnel whose agent has enrolled its key with a token, and serves."""
    tunnel = Tunnel(
        tmp_path,
        KeyRing(tmp_path),
        hub_options={"agents": {"leeds-1": {"public_keys": None}, "leeds-2": {"services": ["visits"]}}},
        agent_options={**BRISK, "agent": {"key_file": "leeds-1.agent.key"}},
        hub_entry={"enrol_token_file": "leeds-1.token"},
    )
    try:
        tunnel.upstream.on("/nomisapi/x", reply())
        give_token(tunnel, "leeds-1")
        tunnel.start()
        tunnel.wait_sessions(2)
        yield tunnel
    finally:
        tunnel.close()


def give_token(tunnel: Tunnel, agent: str) -> None:
    (tunnel.directory / f"{agent}.token").write_text(tunnel.hub.enrol_token(agent) + "\n")


def served(tunnel: Tunnel) -> bool:
    return tunnel.fetch("/nomisapi/x").status == 200


def state_files(tunnel: Tunnel) -> list[Path]:
    files = list(tunnel.directory.glob("hub.db*"))
    assert files
    return files


def reload(program: Program) -> None:
    mark = program.mark()
    program.signal(signal.SIGHUP)
    program.wait_log("configuration reloaded", since=mark)


def restart_hub(tunnel: Tunnel) -> int:
    """The hub starts; where the agent's log stood before."""
    mark = tunnel.agent.mark()
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    return mark


def lose_the_state(tunnel: Tunnel) -> str:
    """The hub starts without it; what the agent's log says then."""
    tunnel.hub.stop()
    for file in state_files(tunnel):
        file.unlink()
    return tunnel.agent.wait_log("no session", "does not know the agent leeds-1", since=restart_hub(tunnel))


def test_a_lost_state_with_a_new_token(tunnel: Tunnel) -> None:
    key = (tunnel.directory / "leeds-1.agent.key").read_bytes()
    lose_the_state(tunnel)
    give_token(tunnel, "leeds-1")
    tunnel.wait_sessions(2)
    assert served(tunnel)
    assert (tunnel.directory / "leeds-1.agent.key").read_bytes() == key, "the key that it has is enrolled"
    assert not (tunnel.directory / "leeds-1.token").exists()


def test_a_lost_state_with_the_line_from_the_log(tunnel: Tunnel) -> None:
    said = lose_the_state(tunnel)
    line = load_private_key(tunnel.directory / "leeds-1.agent.key").public.line
    assert line in said
    tunnel.hub.config["agents"]["leeds-1"]["public_keys"] = [line]
    tunnel.hub.write_config()
    reload(tunnel.hub)
    tunnel.wait_sessions(2)
    assert served(tunnel)


def test_a_state_from_a_backup_made_while_it_runs(tunnel: Tunnel) -> None:
    backup = tunnel.directory / "backup"
    with closing(sqlite3.connect(tunnel.directory / "hub.db")) as now, closing(sqlite3.connect(backup)) as then:
        now.backup(then)  # what sqlite3's .backup does
    tunnel.hub.stop()
    for file in state_files(tunnel):
        file.unlink()
    shutil.copy(backup, tunnel.directory / "hub.db")
    (tunnel.directory / "hub.db").chmod(0o600)
    restart_hub(tunnel)
    tunnel.wait_sessions(2)
    assert served(tunnel)


def test_a_lost_key_of_the_hub(tunnel: Tunnel) -> None:
    new = KeyRing(tunnel.directory / "new")
    (tunnel.directory / "new").mkdir()
    tunnel.hub.stop()
    tunnel.hub.config["hub"]["key_file"] = str(new.hub().file)
    tunnel.hub.write_config()
    tunnel.agent.wait_log("no session", "proved none of the keys", since=restart_hub(tunnel))
    tunnel.agent.config["hubs"][0]["public_keys"].append(new.hub().public)
    tunnel.agent.write_config()
    reload(tunnel.agent)
    tunnel.wait_sessions(2)
    assert served(tunnel)


@contextmanager
def load(tunnel: Tunnel) -> Iterator[Counter[int]]:
    """Requests one after the other; how each was answered."""
    statuses: Counter[int] = Counter()
    end = threading.Event()

    def ask() -> None:
        while not end.is_set():
            statuses[tunnel.fetch("/nomisapi/x").status] += 1

    askers = [threading.Thread(target=ask, name=f"load-{number}") for number in range(3)]
    for asker in askers:
        asker.start()
    try:
        wait_until(lambda: statuses[200] > 20, "some requests")
        yield statuses
        seen = statuses[200]
        wait_until(lambda: statuses[200] > seen + 50, "some more requests")
    finally:
        end.set()
        for asker in askers:
            asker.join(30)


def test_an_agent_moves_and_no_request_is_lost(tunnel: Tunnel) -> None:
    give_token(tunnel, "leeds-2")
    key = tunnel.directory / "leeds-2.agent.key"
    entry = {**tunnel.agent.config["hubs"][0], "enrol_token_file": "leeds-2.token"}
    successor = Agent(
        tunnel.directory,
        KeyRing(tunnel.directory).agent("unused"),
        name="leeds-2",
        hubs=[entry],
        services=tunnel.agent.config["services"],
        options={**BRISK, "agent": {"key_file": key.name}},
    )
    tunnel.agents.append(successor)
    with load(tunnel) as statuses:
        assert successor.check().returncode == 0
        successor.start()
        wait_until(lambda: metric(tunnel.hub, "tunnel_hub_sessions", agent="leeds-2") == 2, "both to serve")
        assert tunnel.agents[0].stop() == 0
        done = tunnel.hub.command("revoke", "--agent", "leeds-1")
        assert done.returncode == 0, done.stderr
    assert set(statuses) == {200}
