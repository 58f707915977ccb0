"""Both command lines, as an operator meets them: words, streams and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from protocol import keys
from protocol.ops import chain
from tests.support.logs import kept
from tests.support.toml import merge, to_toml
from tunnel_agent import cli as agent_cli
from tunnel_agent.check import Connection, Outcome, Result
from tunnel_hub import cli as hub_cli
from tunnel_hub.gateway.apikeys import ApiKeys

runner = CliRunner()

AGENT: dict[str, Any] = {
    "agent": {"id": "leeds-1", "key_file": "agent.key"},
    "hubs": [{"url": "ws://127.0.0.1:8081/tunnel", "public_keys": [keys.public_line(keys.generate())]}],
    "services": {
        "visits": {"upstream": "http://127.0.0.1:9000", "allow": ["GET /nomisapi/**", "POST /nomisapi/*/booking"]}
    },
}
HUB: dict[str, Any] = {
    "hub": {"id": "hub-1", "key_file": "hub.key"},
    "callers": {"authentication": "none"},
    "services": {"visits": {"hosts": ["visits.internal"]}},
}


@pytest.fixture(autouse=True)
def _keep() -> Iterator[None]:
    with kept():
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a hub.toml, an agent.toml and their keys."""
    monkeypatch.chdir(tmp_path)
    for name, table in (("hub", HUB), ("agent", AGENT)):
        (tmp_path / f"{name}.toml").write_text(to_toml(table))
        keys.save_private_key(keys.generate(), tmp_path / f"{name}.key")
    return tmp_path


def hub(*arguments: str) -> Any:
    return runner.invoke(hub_cli.main, arguments)


def agent(*arguments: str) -> Any:
    return runner.invoke(agent_cli.main, arguments)


@pytest.mark.parametrize("invoke", [hub, agent])
def test_keygen_prints_the_public_line_and_nothing_else(invoke: Any, tmp_path: Path) -> None:
    file = tmp_path / "x.key"
    result = invoke("keygen", "--out", str(file))
    assert result.exit_code == 0
    assert result.stdout == keys.load_private_key(file).public.line + "\n"
    assert result.stderr == ""
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    result = invoke("keygen", "--out", str(file))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "exists already" in result.stderr
    assert file.read_bytes() == before
    assert invoke("keygen").exit_code == 2


def test_keygen_where_nothing_can_be_written(tmp_path: Path) -> None:
    result = hub("keygen", "--out", str(tmp_path / "no" / "x.key"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1


def test_an_api_key_is_shown_once_with_its_hash() -> None:
    result = hub("api-key")
    assert result.exit_code == 0
    found = re.fullmatch(r"key:  (tk_[\w-]{43})\nhash: (sha256:[0-9a-f]{64})\n", result.stdout)
    assert found, "two lines, each of which can be copied"
    key, line = found.groups()
    assert ApiKeys({line: "visits"}).verify(key.encode(), 0).grant.name == "visits"
    assert result.stderr == (
        "Give the key to its owner: it is shown only now. Write the hash into the hub's configuration.\n"
    )
    assert key not in hub("api-key").stdout


@pytest.mark.parametrize(("invoke", "name"), [(hub, "tunnel-hub"), (agent, "tunnel-agent")])
def test_version(invoke: Any, name: str) -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{name} ")


class TestHubCheck:
    def test_fine(self, folder: Path) -> None:
        result = hub("check", "--config", "hub.toml")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == (
            "hub.toml: fine (1 services, 0 agents, 0 callers)\n"
            'warning: authentication = "none" lets whoever reaches listen.callers use every service\n'
        )
        assert hub("check").exit_code == 0

    def test_every_problem_and_exit_code_2(self, folder: Path) -> None:
        bad = merge(HUB, {"hub": {"id": "a b"}, "callers": {"authentication": "required"}, "lisen": {}})
        (folder / "hub.toml").write_text(to_toml(bad))
        for command in ("check", "run"):
            result = hub(command, "--config", "hub.toml")
            assert result.exit_code == 2
            assert result.stdout == ""
            lines = result.stderr.splitlines()
            assert len(lines) == 3
            assert lines[0] == 'hub.toml: lisen: unknown key; did you mean "listen"?'

    def test_missing_file(self) -> None:
        result = hub("check", "--config", "/nonexistent/hub.toml")
        assert result.exit_code == 2
        assert result.stderr == (
            "/nonexistent/hub.toml: cannot be read: no such file or directory; name the file with --config\n"
        )


@pytest.mark.parametrize(("invoke", "package"), [(hub, "tunnel_hub"), (agent, "tunnel_agent")])
def test_run_hands_over_to_the_server(
    invoke: Any, package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def run(config: Any, path: Path, *_more: Any) -> int:
        asked.append((type(config).__module__, path))
        return 7

    server = types.ModuleType(f"{package}.server")
    server.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"{package}.server", server)
    monkeypatch.setattr(sys.modules[package], "server", server, raising=False)
    name = package.removeprefix("tunnel_") + ".toml"
    assert invoke("run", "--config", name).exit_code == 7
    assert asked == [(f"{package}.config", Path(name))]


class TestExplain:
    def test_allowed_names_the_rule(self, folder: Path) -> None:
        result = agent("explain", "GET", "/nomisapi/health?x=1")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "visits: allowed. Allowed by the rule 'GET /nomisapi/**'.\n"

    @pytest.mark.parametrize(
        ("method", "path", "reason"),
        [
            ("DELETE", "/nomisapi/health", "The path is allowed for GET, HEAD only."),
            ("GET", "/heapdump", "No rule allows this path."),
            ("GET", "/nomisapi/../heapdump", "The path holds a dot segment, which no rule can allow."),
            ("GET", "nomisapi", "The target does not begin with a slash, which no rule can allow."),
            ("CONNECT", "/nomisapi/x", "CONNECT is never allowed."),
            ("G T", "/nomisapi/x", "The method is not a valid HTTP method."),
        ],
    )
    def test_refused_says_why(self, folder: Path, method: str, path: str, reason: str) -> None:
        result = agent("explain", "--config", "agent.toml", method, path)
        assert result.exit_code == 1
        assert result.stdout == f"visits: refused. {reason}\n"

    def test_every_service_speaks(self, folder: Path) -> None:
        services = {
            "photos": {"upstream": "http://127.0.0.1:1", "allow": ["GET /photos/*"]},
            "closed": {"upstream": "http://127.0.0.1:1", "allow": ["* /**"], "enabled": False},
            "encoded": {"upstream": "http://127.0.0.1:1", "allow": ["GET /a/*"], "allow_paths": ["%2f"]},
        }
        (folder / "agent.toml").write_text(to_toml(merge(AGENT, {"services": services})))
        result = agent("explain", "GET", "/photos/1")
        assert result.exit_code == 0
        assert result.stdout == (
            "visits: refused. No rule allows this path.\n"
            "photos: allowed. Allowed by the rule 'GET /photos/*'.\n"
            "closed: refused. The service is switched off: enabled = false.\n"
            "encoded: refused. No rule allows this path.\n"
        )
        assert agent("explain", "--service", "visits", "GET", "/photos/1").exit_code == 1
        assert agent("explain", "--service", "photos", "GET", "/photos/1").stdout.count("\n") == 1
        assert agent("explain", "--service", "encoded", "GET", "/a/b%2fc").exit_code == 0

    def test_rules_with_keys_and_read_only_services(self, folder: Path) -> None:
        services = {
            "visits": {"allow": ["GET /lookup?noms_id&date_of_birth", "POST /x"], "read_only": True},
        }
        (folder / "agent.toml").write_text(to_toml(merge(AGENT, {"services": services})))
        result = agent("explain", "GET", "/lookup?noms_id=1")
        assert result.stdout == "visits: allowed. Allowed by the rule 'GET /lookup?noms_id&date_of_birth'.\n"
        result = agent("explain", "GET", "/lookup?noms_id=1&x=2")
        assert result.exit_code == 1
        assert result.stdout == (
            "visits: refused. The rule 'GET /lookup?noms_id&date_of_birth' fits, but the query holds a key that "
            "it does not name.\n"
        )
        result = agent("explain", "POST", "/x")
        assert result.exit_code == 1
        said = "visits: refused. The service lets in GET, HEAD, OPTIONS alone: read_only = true.\n"
        assert result.stdout == said

    def test_json(self, folder: Path) -> None:
        result = agent("explain", "--json", "GET", "/nomisapi/x")
        assert json.loads(result.stdout) == {
            "allowed": True,
            "services": [
                {
                    "service": "visits",
                    "allowed": True,
                    "rule": "GET /nomisapi/**",
                    "reason": "Allowed by the rule 'GET /nomisapi/**'.",
                }
            ],
        }
        result = agent("explain", "--json", "GET", "/env")
        assert result.exit_code == 1
        found = json.loads(result.stdout)
        assert (found["allowed"], found["services"][0]["rule"]) == (False, None)

    def test_unknown_service(self, folder: Path) -> None:
        result = agent("explain", "--service", "visit", "GET", "/")
        assert result.exit_code == 2
        assert result.stderr == 'Error: no service is called "visit"; did you mean "visits"?\n'

    def test_needs_no_key(self, folder: Path) -> None:
        (folder / "agent.key").unlink()
        assert agent("explain", "GET", "/nomisapi/x").exit_code == 0
        assert agent("check").exit_code == 2

    def test_bytes_beyond_ascii_are_refused_not_fatal(self, folder: Path) -> None:
        result = agent("explain", "GET", "/nomisapi/\udcff\u00fc")
        assert result.exit_code == 1
        assert "must encode" in result.stdout


class TestAgentCheck:
    OUTCOME = Outcome(
        False,
        [
            Result("hub ws://h/t", "dns", True, "192.0.2.1", "", 1.5),
            Result("hub ws://h/t", "connect", False, "nothing listens at h:80", "start it [now]", 2.5),
            Result("service visits", "dns", True, "127.0.0.1", "", 0.1),
        ],
        [
            Connection("h", 80, "hub", "It is needed.", ["192.0.2.1"], ["192.0.2.9"]),
            Connection("api", 9000, "upstream", "It is needed.", ["192.0.2.2"], ["192.0.2.9"]),
        ],
    )

    @pytest.fixture
    def outcome(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check(*_arguments: Any) -> Outcome:
            return self.OUTCOME

        monkeypatch.setattr("tunnel_agent.check.check", check)

    @pytest.mark.usefixtures("outcome")
    def test_table(self) -> None:
        result = agent("check", "--config", "agent.toml")
        assert result.exit_code == 1
        for text in (
            "hub ws://h/t",
            "FAILED",
            "nothing listens at h:80",
            "start it [now]",
            "h (192.0.2.1)",
            "port      9000",
            "1 of 3 steps failed",
        ):
            assert text in result.stdout
        assert result.stdout.count("hub ws://h/t") == 1

    @pytest.mark.usefixtures("outcome")
    def test_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = agent("check", "--json")
        assert result.exit_code == 1
        found = json.loads(result.stdout)
        assert found["ok"] is False
        assert found["results"][1] == {
            "target": "hub ws://h/t",
            "step": "connect",
            "ok": False,
            "detail": "nothing listens at h:80",
            "remedy": "start it [now]",
            "milliseconds": 2.5,
        }
        assert found["connections"][0] == {
            "host": "h",
            "port": 80,
            "purpose": "hub",
            "why": "It is needed.",
            "addresses": ["192.0.2.1"],
            "sources": ["192.0.2.9"],
            "protocol": "tcp",
        }
        assert "h (192.0.2.1)" in found["firewall_request"]

    def test_all_is_well(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check(*_arguments: Any) -> Outcome:
            return Outcome(True, self.OUTCOME.results[:1], [])

        monkeypatch.setattr("tunnel_agent.check.check", check)
        result = agent("check")
        assert result.exit_code == 0
        assert "all is well" in result.stdout

    def test_bad_configuration_is_not_probed(self, folder: Path) -> None:
        (folder / "agent.toml").write_text(to_toml(merge(AGENT, {"agent": {"id": "a b"}})))
        result = agent("check")
        assert result.exit_code == 2
        assert result.stderr.startswith('agent.toml: agent.id: "a b" is not a name')


@pytest.mark.parametrize("module", ["tunnel_hub", "tunnel_hub.cli", "tunnel_agent", "tunnel_agent.cli"])
def test_modules_run(module: str) -> None:
    shown = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(module.partition(".")[0].replace("_", "-"))
    assert shown.stderr == ""


@pytest.mark.parametrize("module", ["tunnel_hub.cli", "tunnel_agent.cli"])
def test_commands_load_little(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in ('httpx', 'rich', 'uvicorn', 'websockets') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


class TestAudit:
    def test_verify(self, tmp_path: Path) -> None:
        file = tmp_path / "audit.jsonl"
        line, link = chain.forge(chain.START, "2026-11-27T08:00:00.000Z", "start", {"hub": "hub-1"})
        more, last = chain.forge(link, "2026-11-27T09:00:00.000Z", "stop", {})
        file.write_bytes(line + more)
        for invoke in (hub, agent):
            result = invoke("audit", "verify", str(file))
            assert (result.exit_code, result.stderr) == (0, "")
            assert result.stdout == (
                "2 lines from 2026-11-27T08:00:00.000Z to 2026-11-27T09:00:00.000Z, the chain is whole; "
                f"last hash {last.hash}\n"
            )
        file.write_bytes(line + more.replace(b"stop", b"stob"))
        result = hub("audit", "verify", str(file))
        assert result.exit_code == 1
        assert result.stderr == (
            f"Error: {file}: line 2 was changed: its hash is not that of its content. The 1 lines before it are "
            "whole.\n"
        )

    def test_what_cannot_be_verified(self, tmp_path: Path) -> None:
        result = agent("audit", "verify", str(tmp_path / "nowhere"))
        assert result.exit_code == 1
        assert "nowhere cannot be read: No such file" in result.stderr
        (tmp_path / "empty").touch()
        assert "no line" in agent("audit", "verify", str(tmp_path / "empty")).stderr
        assert agent("audit", "verify").exit_code == 2

    def test_notes(self, tmp_path: Path) -> None:
        file = tmp_path / "audit.jsonl"
        line, _ = chain.forge(chain.Link(9, "b" * 64), "2026-11-27T08:00:00.000Z", chain.CONTINUED, {})
        file.write_bytes(line)
        result = agent("audit", "verify", str(file))
        assert result.exit_code == 0
        assert f"Note: {file} continues a file whose last hash is {'b' * 64}.\n" in result.stdout
