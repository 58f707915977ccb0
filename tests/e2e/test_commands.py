"""Command lines: bad configurations name file, key and remedy; check, explain and keygen keep their promises."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.keys import KeyRing
from tests.support.ports import free_port
from tests.support.process import run_once
from tests.support.toml import merge, to_toml
from tests.support.tunnel import Tunnel

MakeTunnel = Callable[..., Tunnel]
Table = dict[str, Any]


@pytest.fixture
def configs(keys: KeyRing) -> dict[str, Table]:
    """A sound configuration of each program, as in the design."""
    return {
        "hub": {
            "hub": {"id": "hub-1", "key_file": str(keys.hub().file)},
            "listen": {name: f"127.0.0.1:{free_port()}" for name in ("callers", "agents", "admin")},
            "callers": {"authentication": "none"},
            "services": {"visits": {"hosts": ["visits.internal"], "paths": ["/nomisapi/"], "deadline": "30s"}},
            "agents": {"leeds-1": {"public_keys": [keys.agent().public], "services": ["visits"]}},
        },
        "agent": {
            "agent": {"id": "leeds-1", "key_file": str(keys.agent().file)},
            "hubs": [{"url": "ws://127.0.0.1:8081/tunnel", "public_keys": [keys.hub().public], "sessions": 2}],
            "services": {"visits": {"upstream": "http://127.0.0.1:9000", "allow": ["GET /nomisapi/**"]}},
            "admin": {"listen": f"127.0.0.1:{free_port()}"},
        },
    }


def run(which: str, command: str, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_once(f"tunnel_{which}.cli", command, "--config", str(config), *arguments)


BAD: list[tuple[str, Table, list[str]]] = [
    ("hub", {"hub": {"idd": "x"}}, ["hub.idd", "id"]),
    ("hub", {"servces": {}}, ["servces", "services"]),
    ("hub", {"hub": {"id": None}}, ["hub.id"]),
    ("hub", {"hub": {"key_file": "no-such.key"}}, ["hub.key_file", "no-such.key"]),
    ("hub", {"callers": None}, ["callers.authentication", "none"]),
    ("hub", {"callers": {"authentication": "required"}}, ["callers.authentication", "api_keys"]),
    ("hub", {"callers": {"authentication": "nnone"}}, ["callers.authentication", "none"]),
    ("hub", {"listen": {"callers": "8080"}}, ["listen.callers", "127.0.0.1:8080"]),
    ("hub", {"listen": {"callers": 8080}}, ["listen.callers"]),
    ("hub", {"services": {"visits": {"deadline": 30}}}, ["services.visits.deadline", "30s"]),
    ("hub", {"services": {"visits": {"deadlin": "30s"}}}, ["services.visits.deadlin", "deadline"]),
    ("hub", {"services": {"visits": {"paths": ["nomisapi"]}}}, ["services.visits.paths", "/nomisapi/"]),
    ("hub", {"agents": {"leeds-1": {"services": ["visit"]}}}, ["agents.leeds-1.services", "visits"]),
    ("hub", {"agents": {"leeds-1": {"public_keys": ["ed25519:x"]}}}, ["agents.leeds-1.public_keys", "keygen"]),
    ("hub", {"state": {"file": 1}}, ["state.file"]),
    ("hub", {"limits": {"header_bytes": "64"}}, ["limits.header_bytes", "KiB"]),
    ("agent", {"agent": {"idd": "x"}}, ["agent.idd", "id"]),
    ("agent", {"agent": {"key_file": "no-such.key"}}, ["agent.key_file", "no-such.key"]),
    ("agent", {"hubs": None}, ["hubs"]),
    ("agent", {"hubs": []}, ["hubs"]),
    ("agent", {"hubs": [{"url": "http://x"}]}, ["hubs[0].url", "ws"]),
    ("agent", {"hubs": [{"urll": "ws://x/tunnel"}]}, ["hubs[0].urll", "url"]),
    ("agent", {"services": None}, ["services"]),
    ("agent", {"services": {"visits": {"upstream": "127.0.0.1:9000"}}}, ["services.visits.upstream", "http"]),
    ("agent", {"services": {"visits": {"upstream": "http://h/path"}}}, ["services.visits.upstream", "path"]),
    ("agent", {"services": {"visits": {"allow": ["/nomisapi/**"]}}}, ["services.visits.allow", "GET"]),
    ("agent", {"services": {"visits": {"allow": ["GETT /x"]}}}, ["services.visits.allow", "GET"]),
    ("agent", {"services": {"visits": {"allow": ["GET x"]}}}, ["services.visits.allow", "/x"]),
    ("agent", {"services": {"visits": {"alow": []}}}, ["services.visits.alow", "allow"]),
    (
        "agent",
        {"services": {"visits": {"headers": {"Authorization": "Basic c2VjcmV0"}}}},
        ["services.visits.headers.Authorization", "file"],
    ),
]


@pytest.mark.parametrize(("which", "change", "words"), BAD, ids=[f"{w}-{'-'.join(x[:1])}" for w, _, x in BAD])
def test_a_bad_configuration_names_file_key_and_remedy(
    configs: dict[str, Table], tmp_path: Path, which: str, change: Table, words: list[str]
) -> None:
    config = tmp_path / f"{which}.toml"
    config.write_text(to_toml(merge(configs[which], change)))
    done = run(which, "run", config)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if words[0] in line]
    assert lines, done.stderr
    assert f"{which}.toml" in lines[0]
    for word in words[1:]:
        assert word in lines[0], lines[0]
    assert "c2VjcmV0" not in done.stderr


@pytest.mark.parametrize("which", ["hub", "agent"])
@pytest.mark.parametrize("command", ["run", "check"])
def test_files_that_are_no_configuration(tmp_path: Path, which: str, command: str) -> None:
    missing = run(which, command, tmp_path / "missing.toml")
    assert missing.returncode == 2
    assert "missing.toml" in missing.stderr
    for content in (b"[hub\n", b"\xff\xfe", b"x = [" * 2000):
        config = tmp_path / "broken.toml"
        config.write_bytes(content)
        broken = run(which, command, config)
        assert broken.returncode == 2
        assert "broken.toml" in broken.stderr
        assert "Traceback" not in broken.stderr


def test_every_mistake_is_told_at_once(configs: dict[str, Table], tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(to_toml(merge(configs["hub"], {"hub": {"idd": 1}, "callers": {"authentication": "x"}})))
    done = run("hub", "check", config)
    assert done.returncode == 2
    assert "hub.idd" in done.stderr
    assert "callers.authentication" in done.stderr


def test_a_key_that_others_may_read_is_refused(configs: dict[str, Table], tmp_path: Path) -> None:
    exposed = tmp_path / "exposed.key"
    exposed.write_bytes(Path(configs["hub"]["hub"]["key_file"]).read_bytes())
    exposed.chmod(0o644)
    config = tmp_path / "hub.toml"
    config.write_text(to_toml(merge(configs["hub"], {"hub": {"key_file": str(exposed)}})))
    done = run("hub", "run", config)
    assert done.returncode in (1, 2)
    assert "exposed.key" in done.stderr
    assert "chmod" in done.stderr
    assert "PRIVATE" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("listener", ["callers", "agents", "admin"])
def test_a_taken_port_is_named(make_tunnel: MakeTunnel, listener: str) -> None:
    import socket

    tunnel = make_tunnel()
    port = int(tunnel.hub.config["listen"][listener].rpartition(":")[2])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        tunnel.hub.start()
        assert tunnel.hub.wait_exit() == 1
    assert str(port) in tunnel.hub.log()
    assert f"listen.{listener}" in tunnel.hub.log()
    assert "Traceback" not in tunnel.hub.log()


def test_hub_check(configs: dict[str, Table], tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(to_toml(configs["hub"]))
    done = run("hub", "check", config)
    assert (done.returncode, done.stderr) == (0, "")


def test_agent_check_with_everything_in_place(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(tls=True).start()
    done = tunnel.agent.check()
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("dns", "handshake", "visits"):
        assert word in done.stdout.lower()
    assert tunnel.agent.running
    assert tunnel.upstream.ledger == [], "without `health` no request is made"


def test_agent_check_tells_what_is_wrong(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    tunnel = make_tunnel()
    nobody = tunnel.agent.check()
    assert nobody.returncode == 1
    assert str(tunnel.hub.agents_port) in nobody.stdout
    assert "Traceback" not in nobody.stdout + nobody.stderr
    tunnel.hub.config["agents"]["leeds-1"]["public_keys"] = [keys.agent("stranger").public]
    tunnel.hub.write_config()
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    stranger = tunnel.agent.check(as_json=True)
    assert stranger.returncode == 1
    [failed] = [result for result in json.loads(stranger.stdout)["results"] if not result["ok"]]
    assert failed["step"] == "handshake"
    assert "public_keys" in failed["detail"] + failed["remedy"]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nomisapi/offenders/A1484AE", 0, ["allowed", "GET /nomisapi/**"]),
        ("HEAD", "/nomisapi/x", 0, ["allowed"]),
        ("GET", "/nomisapi/x?y=/../", 0, ["allowed"]),
        ("POST", "/nomisapi/x", 1, ["GET"]),
        ("GET", "/heapdump", 1, ["No rule"]),
        ("GET", "/nomisapi/../heapdump", 1, []),
        ("CONNECT", "evil:443", 1, []),
        ("GET", "/nomisapi/%2e%2e/x", 1, []),
    ],
)
def test_explain(
    configs: dict[str, Table], tmp_path: Path, method: str, path: str, status: int, words: list[str]
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(to_toml(configs["agent"]))
    done = run("agent", "explain", config, method, path)
    assert done.returncode == status, done.stdout + done.stderr
    assert (": allowed." in done.stdout) == (status == 0)
    for word in words:
        assert word in done.stdout


@pytest.mark.parametrize("which", ["hub", "agent"])
def test_keygen(tmp_path: Path, which: str) -> None:
    out = tmp_path / "new.key"
    first = run_once(f"tunnel_{which}.cli", "keygen", "--out", str(out))
    assert first.returncode == 0
    assert first.stdout.startswith("ed25519:")
    assert first.stdout.count("\n") == 1
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    content = out.read_bytes()
    assert content not in (first.stdout + first.stderr).encode()
    again = run_once(f"tunnel_{which}.cli", "keygen", "--out", str(out))
    assert again.returncode != 0
    assert "new.key" in again.stderr
    assert out.read_bytes() == content, "an existing key is never overwritten"
    nowhere = run_once(f"tunnel_{which}.cli", "keygen", "--out", str(tmp_path / "no" / "such" / "x.key"))
    assert nowhere.returncode != 0
    assert "Traceback" not in again.stderr + nowhere.stderr


@pytest.mark.bug(24)
@pytest.mark.parametrize("which", ["hub", "agent"])
def test_no_option_takes_a_secret(which: str) -> None:
    own = {"hub": ["enrol-token", "agents", "revoke"], "agent": ["rotate-key", "explain"]}[which]
    for command in ("run", "check", "keygen", *own):
        text = run_once(f"tunnel_{which}.cli", command, "--help").stdout.lower()
        assert "usage" in text
        _, _, options = text.partition("options:")
        assert "--help" in options
        for option, value in re.findall(r"(--\S+)[ \t]+(\S+)", options):
            secret = any(word in option for word in ("password", "secret", "token"))
            assert not secret or value == "file"


@pytest.mark.bug(24)
def test_secrets_are_not_in_argv(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    for program in (tunnel.hub, tunnel.agent):
        argv = Path(f"/proc/{program.pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{program.pid}/environ").read_bytes()
        assert b"PRIVATE" not in argv + environment
        assert argv.split(b"\0")[-3:] == [b"--config", str(program.config_file).encode(), b""]
