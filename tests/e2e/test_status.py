"""`status` of both programs beside what they say elsewhere: words, JSON, exit codes, and watching."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.metrics import metric
from tests.support.process import clean_environment, run_once
from tests.support.programs import Agent, Hub
from tests.support.tunnel import Tunnel
from tests.support.upstream import Upstream, reply
from tests.support.waiting import PATIENCE, Gate, wait_until

MakeTunnel = Callable[..., Tunnel]
ESCAPE = "\x1b"


def status(program: Agent | Hub, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    module = program.arguments[0]
    return run_once(module, "status", "--config", str(program.config_file), *arguments, env=environment or None)


def snapshot(program: Agent | Hub) -> dict[str, Any]:
    answer = program.admin("/api/status")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


class TestAgent:
    def test_all_is_up(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel().start()
        tunnel.upstream.on("/ok", reply())
        for _ in range(3):
            assert tunnel.get("/ok").status_code == 200
        done = status(tunnel.agent)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0] == "tunnel-agent leeds-1: up"
        assert "2 of 2 sessions" in lines[1]
        assert "!" not in done.stdout
        assert ESCAPE not in done.stdout
        [service] = [line for line in lines if line.startswith("visits")]
        assert service.split()[:4] == ["visits", "up", "0", "80"]
        assert tunnel.upstream.url in service
        as_json = status(tunnel.agent, "--json")
        assert (as_json.returncode, as_json.stderr) == (0, "")
        told = json.loads(as_json.stdout)
        assert told.keys() == snapshot(tunnel.agent).keys()
        assert told["services"][0]["requests"] == metric(tunnel.agent, "tunnel_agent_requests_total") == 3
        assert [len(hub["sessions"]) for hub in told["hubs"]] == [2]

    def test_what_is_down_is_said_first(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel(
            agent_service={"unhealthy_after": 1},
            agent_options={
                "services": {"chat": {"upstream": "http://127.0.0.1:1", "allow": ["GET /**"], "enabled": False}}
            },
            hub_options={
                "services": {"chat": {"hosts": ["chat.internal"]}},
                "agents": {"leeds-1": {"services": ["visits", "chat"]}},
            },
        ).start()
        switched_off = status(tunnel.agent)
        assert switched_off.returncode == 0, "what was switched off is not down"
        assert "! chat is switched off at the agent" in switched_off.stdout
        tunnel.upstream.close()
        assert tunnel.fetch("/nobody").status == 503
        wait_until(lambda: snapshot(tunnel.agent)["state"] == "down", "the agent to notice")
        assert tunnel.agent.admin_status("/health") == 503
        done = status(tunnel.agent)
        assert done.returncode == 1
        assert "tunnel-agent leeds-1: DOWN" in done.stdout
        assert "! visits is down: connection refused" in done.stdout
        assert "connect_failed" in done.stdout
        tunnel.hub.stop()
        wait_until(lambda: not snapshot(tunnel.agent)["hubs"][0]["up"], "the sessions to end")
        done = status(tunnel.agent, COLUMNS="80")
        assert done.returncode == 1
        assert re.search(r"! no session at ws://127.0.0.1:\d+/tunnel", done.stdout)
        wait_until(lambda: "next try in" in status(tunnel.agent).stdout, "a wait between two attempts", every=0.1)
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_failures_and_refusals_with_the_shape_of_the_path_only(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel(agent_service={"allow": ["GET /offenders/**"]}).start()

        async def nonsense(x: Any) -> None:
            await x.body()
            await x.send(b"nonsense\r\n\r\n")
            x.close()

        tunnel.upstream.on("/offenders/*", nonsense)
        failed = tunnel.fetch("/offenders/A1234BC/image?noms_id=A1234BC")
        refused = tunnel.fetch("/offenders/A1234BC?dob=1979-04-23", method="POST", body=b"x")
        assert (failed.status, refused.status) == (502, 403)
        told = snapshot(tunnel.agent)
        assert [
            (each["origin"], each["method"], each["path"], each["code"], each["request_id"], each["hub"])
            for each in told["failures"]
        ] == [
            ("boundary", "POST", "/offenders/*", "boundary_refused", _id(refused), "hub-1"),
            ("upstream", "GET", "/offenders/*/image", "upstream_invalid", _id(failed), "hub-1"),
        ]
        [service] = told["services"]
        assert service["failures"] == {"upstream_invalid": 1}
        assert service["refusals"] == {"boundary_refused": 1}
        done = status(tunnel.agent)
        assert done.returncode == 0
        for text in (done.stdout, tunnel.agent.admin("/api/status").text):
            assert "A1234BC" not in text
            assert "1979" not in text
        assert "GET /offenders/*/image" in done.stdout
        assert _id(failed) in done.stdout

    def test_what_runs_now(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel(agent_service={"max_connections": 1}).start()
        gate = Gate()

        async def late(x: Any) -> None:
            await x.body()
            await gate.passed()
            await x.answer(200)

        tunnel.upstream.on("/late", late)
        with tunnel.raw() as one, tunnel.raw() as two:
            one.start("GET", "/late")
            wait_until(lambda: snapshot(tunnel.agent)["services"][0]["connections"]["busy"], "the first to run")
            two.start("GET", "/late")
            wait_until(lambda: snapshot(tunnel.agent)["services"][0]["waiting"] == 1, "one that waits")
            told = snapshot(tunnel.agent)
            [service] = told["services"]
            assert (told["in_flight"], service["in_flight"], service["connections"]["busy"]) == (2, 2, 1)
            assert sum(session["outstanding"] for session in told["hubs"][0]["sessions"]) == 2
            gate.open()
            assert one.answer().status == two.answer().status == 200


def _id(answer: Any) -> str:
    return str(answer.json()["request_id"])


class TestHub:
    def test_all_is_up(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel().start()
        tunnel.upstream.on("/ok", reply())
        for _ in range(3):
            assert tunnel.get("/ok").status_code == 200
        done = status(tunnel.hub)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0] == "tunnel-hub hub-1: up"
        assert "1 of 1 agent, 2 sessions" in lines[1]
        assert "!" not in done.stdout
        assert ESCAPE not in done.stdout
        [service] = [line for line in lines if line.startswith("visits")]
        assert service.split()[:5] == ["visits", "up", "1", "of", "1"]
        [agent] = [line for line in lines if line.startswith("leeds-1")]
        assert "127.0.0.1" in agent
        as_json = status(tunnel.hub, "--json")
        assert (as_json.returncode, as_json.stderr) == (0, "")
        told = json.loads(as_json.stdout)
        assert told["services"][0]["requests"] == metric(tunnel.hub, "tunnel_hub_requests_total") == 3
        assert told["sessions"] == metric(tunnel.hub, "tunnel_hub_sessions") == 2

    def test_what_is_down_is_said_first(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel(
            agent_ids=("leeds-1", "leeds-2"),
            service={"hold": "0s"},
            agent_service={"unhealthy_after": 1},
            hub_options={"services": {"chat": {"hosts": ["chat.internal"], "enabled": False}}},
        ).start()
        wait_until(lambda: snapshot(tunnel.hub)["agents_up"] == 2, "both agents")
        tunnel.agents[1].stop()
        wait_until(lambda: snapshot(tunnel.hub)["agents_up"] == 1, "the hub to notice")
        done = status(tunnel.hub)
        assert done.returncode == 0, "callers are served, and what was switched off is not down"
        assert "! no session with leeds-2" in done.stdout
        assert "! chat is switched off by the file" in done.stdout
        assert re.search(r"^leeds-2 +AWAY *$", done.stdout, re.M)
        tunnel.upstream.close()
        assert tunnel.fetch("/offenders/A1234BC?noms_id=A1234BC").status == 503
        wait_until(
            lambda: snapshot(tunnel.hub)["services"][0]["state"] == "down at every agent", "the hub to notice"
        )
        done = status(tunnel.hub, COLUMNS="80")
        assert done.returncode == 1
        assert done.stdout.startswith("tunnel-hub hub-1: DOWN\n")
        assert "! visits is down at every agent" in done.stdout
        assert "! upstreams fail at leeds-1 (visits)" in done.stdout
        assert "connect_failed" in done.stdout
        assert "GET /offenders/*" in done.stdout
        assert "A1234BC" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
        tunnel.agents[0].stop()
        wait_until(lambda: tunnel.hub.admin_status("/health") == 503, "the hub to notice")
        done = status(tunnel.hub)
        assert done.returncode == 1
        assert "! visits is without agent" in done.stdout
        assert "! no session with leeds-1, leeds-2" in done.stdout

    def test_the_hub_is_not_there(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel()
        done = status(tunnel.hub)
        assert (done.returncode, done.stdout) == (3, "")
        assert "nothing listens at 127.0.0.1:" in done.stderr
        assert "systemctl start tunnel-hub" in done.stderr
        assert f"[listen] admin of {tunnel.hub.config_file}" in done.stderr

    def test_the_agent_at_the_hubs_address(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel().start()
        tunnel.hub.config["listen"]["admin"] = tunnel.agent.config["admin"]["listen"]
        tunnel.hub.write_config()
        done = status(tunnel.hub)
        assert (done.returncode, done.stdout) == (3, "")
        assert "does not understand" in done.stderr

    def test_watching(self, make_tunnel: MakeTunnel, watch: Callable[..., Watcher]) -> None:
        tunnel = make_tunnel().start()
        watcher = watch(tunnel.hub, "--watch", "0.2")
        wait_until(lambda: watcher.read().count("tunnel-hub hub-1: up") >= 2, "two blocks")
        assert watcher.interrupt() == 0


class TestExitCodes:
    """One sentence on stderr, nothing on stdout."""

    @pytest.fixture
    def agent(self, make_tunnel: MakeTunnel) -> Agent:
        """Configured, not started."""
        return make_tunnel().agent

    def test_nothing_listens(self, agent: Agent) -> None:
        done = status(agent)
        assert (done.returncode, done.stdout) == (3, "")
        assert len(done.stderr.splitlines()) == 1
        assert "nothing listens at 127.0.0.1:" in done.stderr
        assert "systemctl start tunnel-agent" in done.stderr
        assert "[admin] listen" in done.stderr
        assert str(agent.config_file) in done.stderr

    def test_another_program_listens(self, agent: Agent) -> None:
        api = Upstream()
        api.on("/api/status", reply(200, body=b'{"program":"something"}'))
        agent.config["admin"]["listen"] = api.url.removeprefix("http://")
        agent.write_config()
        for arguments in ((), ("--json",)):
            done = status(agent, *arguments)
            assert (done.returncode, done.stdout) == (3, "")
            assert "does not understand" in done.stderr
        api.on("/api/status", reply(404))
        done = status(agent)
        api.close()
        assert (done.returncode, done.stdout) == (3, "")
        assert "no running tunnel-agent of this release (status 404)" in done.stderr

    def test_a_program_that_hangs(self, make_tunnel: MakeTunnel) -> None:
        tunnel = make_tunnel().start()
        tunnel.agent.pause()
        done = status(tunnel.agent)
        tunnel.agent.resume()
        assert (done.returncode, done.stdout) == (3, "")
        assert "does not answer within 5 s" in done.stderr

    def test_no_fixed_port(self, agent: Agent) -> None:
        agent.config["admin"]["listen"] = "127.0.0.1:0"
        agent.write_config()
        done = status(agent)
        assert (done.returncode, done.stdout) == (3, "")
        assert "has port 0" in done.stderr

    def test_bad_configuration(self, agent: Agent) -> None:
        agent.config["admin"]["lisen"] = "127.0.0.1:1"
        agent.write_config()
        done = status(agent)
        assert (done.returncode, done.stdout) == (2, "")
        assert "admin.lisen: unknown key" in done.stderr

    def test_keys_need_not_be_readable(self, make_tunnel: MakeTunnel) -> None:
        """Whoever may look need not be the program's user."""
        tunnel = make_tunnel().start()
        Path(tunnel.agent.config["agent"]["key_file"]).rename(tunnel.directory / "elsewhere.key")
        try:
            assert status(tunnel.agent).returncode == 0
        finally:
            (tunnel.directory / "elsewhere.key").rename(tunnel.agent.config["agent"]["key_file"])


class Watcher:
    """`status --watch` as a process. terminal: it has one of 100 cells."""

    def __init__(self, program: Agent | Hub, *arguments: str, terminal: bool = False, **environment: str) -> None:
        self._ours, theirs = pty.openpty() if terminal else os.pipe()
        command = [sys.executable, "-m", program.arguments[0], "status", "--config", str(program.config_file)]
        size = {"COLUMNS": "100", "LINES": "40", "TERM": "xterm"} if terminal else {}
        self.process = subprocess.Popen(
            [*command, *arguments],
            env=clean_environment({**size, **environment}),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.shown = ""

    def read(self) -> str:
        """All that it has written so far."""
        try:
            while data := os.read(self._ours, 65536):
                self.shown += data.decode("utf-8", "replace")
        except OSError:  # nothing more now, or at all
            pass
        return self.shown

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(10 * PATIENCE)
        self.read()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._ours)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def watch() -> Iterator[Callable[..., Watcher]]:
    made: list[Watcher] = []

    def start(*arguments: Any, **options: Any) -> Watcher:
        made.append(Watcher(*arguments, **options))
        return made[-1]

    yield start
    for watcher in made:
        watcher.close()


class TestWatch:
    def test_a_block_for_each_look_where_there_is_no_terminal(
        self, make_tunnel: MakeTunnel, watch: Callable[..., Watcher]
    ) -> None:
        tunnel = make_tunnel().start()
        watcher = watch(tunnel.agent, "--watch", "0.2")
        wait_until(lambda: watcher.read().count("tunnel-agent leeds-1: up") >= 2, "two blocks")
        tunnel.hub.stop()
        wait_until(lambda: "tunnel-agent leeds-1: DOWN" in watcher.read(), "a block with the change")
        tunnel.agent.stop()
        tunnel.agent.start()
        tunnel.hub.start()
        seen = len(watcher.read())
        wait_until(lambda: "tunnel-agent leeds-1: up" in watcher.read()[seen:], "it to outlive a restart", 30)
        assert watcher.interrupt() == 0
        assert ESCAPE not in watcher.shown
        assert re.match(r"--- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\n", watcher.shown)

    def test_a_line_of_json_for_each_look(self, make_tunnel: MakeTunnel, watch: Callable[..., Watcher]) -> None:
        tunnel = make_tunnel().start()
        watcher = watch(tunnel.agent, "--watch", "0.2", "--json")
        wait_until(lambda: watcher.read().count("\n") >= 2, "two lines")
        assert watcher.interrupt() == 0
        assert {json.loads(line)["state"] for line in watcher.shown.splitlines()} == {"up"}

    def test_a_terminal_is_redrawn_and_restored(
        self, make_tunnel: MakeTunnel, watch: Callable[..., Watcher]
    ) -> None:
        tunnel = make_tunnel().start()
        watcher = watch(tunnel.agent, "--watch", terminal=True)
        wait_until(lambda: watcher.read().count("every 2 s; Ctrl-C ends") >= 2, "two pictures")
        assert watcher.interrupt() == 0
        first, _, rest = watcher.shown.partition(f"{ESCAPE}[?1049h")
        picture, left, last = rest.partition(f"{ESCAPE}[?1049l")
        assert left, "the terminal has its own screen back"
        assert not first.strip()
        assert f"{ESCAPE}[32mup" in picture
        assert "tunnel-agent leeds-1: " in last, "the last picture stays"

    def test_no_colour_where_it_is_not_wanted(
        self, make_tunnel: MakeTunnel, watch: Callable[..., Watcher]
    ) -> None:
        tunnel = make_tunnel().start()
        for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            watcher = watch(tunnel.agent, terminal=True, **environment)
            assert watcher.process.wait(20 * PATIENCE) == 0
            assert "tunnel-agent leeds-1: " in watcher.read()
            assert (re.search(r"\x1b\[[0-9;]*3[0-7]m", watcher.shown) is not None) is coloured
            assert (
                max(len(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)) for line in watcher.shown.split("\r\n"))
                <= 100
            )

    def test_an_interval_that_makes_no_sense(self, make_tunnel: MakeTunnel) -> None:
        done = status(make_tunnel().agent, "--watch", "0")
        assert done.returncode == 2
        assert "--watch" in done.stderr


def _id(answer: Any) -> str:
    return str(answer.json()["request_id"])
