"""The audit files of real processes: what stands in them, what does not, and that `audit verify` follows them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from protocol.errors import SessionError
from protocol.ops.audit import file_hash
from tests.e2e.test_agent_changes import reload
from tests.support.hostile import HostileAgent
from tests.support.keys import KeyRing
from tests.support.problems import assert_problem
from tests.support.process import run_once
from tests.support.programs import Agent, Hub
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

MakeTunnel = Callable[..., Tunnel]
AUDIT = {"audit": {"file": "audit.jsonl"}}

SECRETS = ("s3cret", "1979-04-23", "A1484AE-in-query", "Bearer")


def make_audited(make_tunnel: MakeTunnel, **options: Any) -> Tunnel:
    return make_tunnel(
        hub_options={"audit": {"file": "hub-audit.jsonl"}},
        agent_options={"audit": {"file": "agent-audit.jsonl"}},
        **options,
    )


def file_of(program: Hub | Agent) -> Path:
    return program.config_file.parent / str(program.config["audit"]["file"])


def lines(program: Hub | Agent) -> list[dict[str, Any]]:
    whole = [line for line in file_of(program).read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]
    return [json.loads(line) for line in whole]


def wait_line(program: Hub | Agent, event: str, **fields: Any) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        for line in lines(program):
            if line["event"] == event and fields.items() <= line.items():
                return line
        return None

    line = wait_until(found, f"{event} {fields} in the audit")
    assert line is not None
    return line


def verify(program: str, *files: Path) -> str:
    done = run_once(f"tunnel_{program}.cli", "audit", "verify", *map(str, files))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_both_ends_write(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    rules = ["GET /nomisapi/lookup?noms_id&date_of_birth", "POST /nomisapi/x"]
    tunnel = make_audited(make_tunnel, agent_service={"allow": rules}, sessions=1)
    hub, agent = tunnel.hub, tunnel.agent
    tunnel.start()
    tunnel.upstream.on("/nomisapi/*", reply())
    secret = "Authorization: Bearer s3cret"
    assert tunnel.fetch("/nomisapi/lookup?date_of_birth=1979-04-23&noms_id=A1484AE-in-query", secret).status == 200
    said = assert_problem(
        tunnel.fetch("/nomisapi/lookup?noms_id=A1484AE-in-query&1979-04-23&token=s3cret", secret),
        403,
        origin="agent",
        code="boundary_refused",
        hidden=("/nomisapi/lookup", *SECRETS),
    )
    assert "query keys" in said["detail"]
    assert_problem(tunnel.fetch("/nomisapi/env?x=s3cret", secret), 403, origin="agent", hidden=("/env",))

    refused = wait_line(agent, "boundary refused", path="/nomisapi/lookup")
    assert refused["query_keys"] == ["noms_id", "*", "token"]
    assert (refused["service"], refused["method"], refused["hub"]) == ("visits", "GET", "hub-1")
    assert refused["code"] == "BOUNDARY_REFUSED"
    assert refused["request_id"] == said["request_id"]
    assert "query_keys" not in wait_line(agent, "boundary refused", path="/nomisapi/env")

    with HostileAgent(hub.agents_port) as stranger, pytest.raises((ConnectionClosed, SessionError)):
        stranger.shake(keys.agent("stranger"), keys.hub())
    wait_line(hub, "session refused", peer="127.0.0.1", code="NOT_REGISTERED")
    opened = wait_line(hub, "session opened", agent="leeds-1", peer="127.0.0.1")
    assert len(opened["key"]) == 16
    theirs = wait_line(agent, "session opened", hub="hub-1")
    assert theirs["session"] == opened["session"]

    for program in (hub, agent):
        program.config["services"]["visits"]["enabled"] = False
        reload(program)
        program.config_file.write_text("nonsense")
        program.signal(signal.SIGHUP)
        wait_line(program, "config refused")
        program.config["services"]["visits"]["enabled"] = True
        reload(program)
    agent.stop()
    wait_line(hub, "session ended", agent="leeds-1", code="SHUTDOWN")
    hub.stop()
    for program, name in ((hub, "hub"), (agent, "agent")):
        events = [line["event"] for line in lines(program)]
        assert events[0] == "start"
        assert events[-1] == "stop"
        assert [event for event in events if event.startswith(("config", "service"))] == [
            *("service switched off", "config reloaded", "config refused"),
            *("service switched on", "config reloaded"),
        ]
        hashes = [line["sha256"] for line in lines(program) if line["event"] == "config reloaded"]
        assert len({*hashes, lines(program)[0]["config_sha256"]}) == 3
        assert hashes[-1] == file_hash(program.config_file)
        assert f"{len(events)} lines from " in verify(name, file_of(program))
        text = file_of(program).read_text()
        for word in SECRETS:
            assert word not in text
        assert file_of(program).stat().st_mode & 0o777 == 0o600
    assert "session ended" in [line["event"] for line in lines(agent)]


def test_the_chain_goes_over_restarts_crashes_and_rotation(make_tunnel: MakeTunnel) -> None:
    tunnel = make_audited(make_tunnel, sessions=1).start()
    hub = tunnel.hub
    file = file_of(hub)
    wait_line(hub, "session opened")
    hub.kill()
    with file.open("ab") as end:
        end.write(b'{"seq":3,"time":"2026')
    hub.start()
    wait_line(hub, "torn")
    old = file.with_suffix(".jsonl.1")
    tunnel.wait_served()
    wait_until(lambda: [line["event"] for line in lines(hub)].count("session opened") == 2, "the session's line")
    file.rename(old)
    mark = hub.mark()
    hub.signal(signal.SIGHUP)
    hub.wait_log("configuration reloaded", since=mark)
    wait_until(file.exists, "the new file")
    wait_line(hub, "config reloaded")
    hub.stop()
    hub.start()
    tunnel.wait_served()
    hub.stop()
    assert [line["event"] for line in lines(hub)][:2] == ["continued", "config reloaded"]
    assert "torn by a crash" in verify("hub", old, file)
    assert "continues a file" in verify("hub", file)

    changed = bytearray(old.read_bytes())
    changed[changed.index(b"leeds-1")] ^= 1
    old.write_bytes(changed)
    done = run_once("tunnel_hub.cli", "audit", "verify", str(old), str(file))
    assert done.returncode == 1
    assert "was changed" in done.stderr


def test_a_hub_that_follows_a_hub_goes_on_with_its_chain(make_tunnel: MakeTunnel) -> None:
    tunnel = make_audited(make_tunnel, sessions=1).start()
    tunnel.upstream.on("/x", reply())
    hub = tunnel.hub
    mark = hub.mark()
    first = hub.start_beside()
    first.wait(30)
    hub.wait_log("ready", "took_over", since=mark)
    wait_until(lambda: tunnel.fetch("/x").status == 200, "service")
    hub.stop()
    verify("hub", file_of(hub))
    events = [line["event"] for line in lines(hub)]
    assert (events.count("start"), events.count("stop")) == (2, 2)
    assert events.index("stop") > len(events) - events[::-1].index("start") - 1, "they overlapped"


@pytest.mark.parametrize("which", ["hub", "agent"])
def test_an_audit_that_cannot_be_kept_is_no_start(make_tunnel: MakeTunnel, which: str) -> None:
    tunnel = make_tunnel(**{f"{which}_options": {"audit": {"file": "nowhere/audit.jsonl"}}})
    program: Hub | Agent = getattr(tunnel, which)
    program.start()
    assert program.wait_exit() == 1
    line = program.wait_log("cannot start")
    assert "nowhere/audit.jsonl cannot be written" in line
    assert "Traceback" not in program.log()
