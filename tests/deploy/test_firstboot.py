"""The script that gives a copy of the image its identity, run in a folder that stands for the machine's root."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from protocol.keys import generate
from protocol.tokens import EnrolToken
from tunnel_agent.config import AgentConfig

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "deploy/packer/firstboot/tunnel-agent-firstboot"

TOKEN = EnrolToken(bytes(range(48))).text
KEY = generate().public.line
SERVICES = """\
[services.visits]
upstream = "http://127.0.0.1:9000"
allow = [
    "GET /nomisapi/**", # [services]
]

[services.visits.headers]
X-Via-Agent = "leeds"
"""
VALUES = {
    "agent-id": "leeds-1",
    "hub-url": "wss://tunnel.example/tunnel",
    "hub-key": KEY,
    "enrol-token": TOKEN,
    "services": SERVICES,
}


class Machine:
    """A root folder, the values given to it, and what the script did there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.credentials = root / "run/credentials"
        self.files = root / "etc/tunnel-agent/firstboot.d"
        self.disk = root / "run/tunnel-agent-firstboot"
        for folder in (self.credentials, self.files, self.disk):
            folder.mkdir(parents=True)
        self.config = root / "etc/tunnel-agent/agent.toml"
        self.token = root / "var/lib/tunnel-agent/enrol.token"
        self.agent = root / "tunnel-agent"
        self.agent.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tunnel_agent.cli "$@"\n')
        self.agent.chmod(0o755)

    def give(self, folder: Path, values: dict[str, str]) -> None:
        prefix = "tunnel." if folder == self.credentials else ""
        for name, value in values.items():
            (folder / f"{prefix}{name}").write_text(value)

    def boot(self) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "ROOT": str(self.root),
            "TUNNEL_AGENT": str(self.agent),
            "CREDENTIALS_DIRECTORY": str(self.credentials),
        }
        done = subprocess.run(
            [SCRIPT], env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
        )
        assert not done.stdout
        assert TOKEN not in done.stderr
        return done

    def refused(self) -> str:
        """Boots, which must fail and leave no identity behind; the sentence it says."""
        done = self.boot()
        assert done.returncode == 1
        assert not self.config.exists()
        assert not self.token.exists()
        assert not [*self.config.parent.glob(".agent*")]
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def load(path: Path) -> AgentConfig:
    from protocol.ops.config import load

    return load(path, AgentConfig, check_files=False)


@pytest.mark.parametrize("place", ["credentials", "files", "disk"])
def test_an_identity_from_each_place(machine: Machine, place: str) -> None:
    machine.give(getattr(machine, place), VALUES)
    done = machine.boot()
    assert done.returncode == 0, done.stderr
    assert "this machine is agent leeds-1 of wss://tunnel.example/tunnel" in done.stderr

    config = load(machine.config)
    assert config.agent.id == "leeds-1"
    assert str(config.agent.key_file) == "/var/lib/tunnel-agent/agent.key"
    [hub] = config.hubs
    assert hub.url == "wss://tunnel.example/tunnel"
    assert [str(key) for key in hub.public_keys] == [KEY]
    assert str(hub.enrol_token_file) == "/var/lib/tunnel-agent/enrol.token"
    assert tomllib.loads(machine.config.read_text())["services"] == tomllib.loads(SERVICES)["services"]
    assert machine.token.read_text() == TOKEN + "\n"
    assert stat.S_IMODE(machine.token.stat().st_mode) == 0o600
    assert stat.S_IMODE(machine.token.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(machine.config.stat().st_mode) == 0o640
    assert TOKEN not in machine.config.read_text()
    assert not [*machine.files.iterdir()], "what cloud-init wrote goes, the token above all"


def test_a_credential_comes_before_a_file_and_a_file_before_the_disk(machine: Machine) -> None:
    machine.give(machine.disk, {**VALUES, "agent-id": "disk", "hub-url": "wss://disk.example/tunnel"})
    machine.give(machine.files, {"agent-id": "file", "hub-url": "wss://file.example/tunnel"})
    machine.give(machine.credentials, {"agent-id": "credential"})
    assert machine.boot().returncode == 0
    config = load(machine.config)
    assert (config.agent.id, config.hubs[0].url) == ("credential", "wss://file.example/tunnel")


def test_an_identity_is_given_once(machine: Machine) -> None:
    machine.give(machine.files, VALUES)
    assert machine.boot().returncode == 0
    before = machine.config.read_text()
    machine.token.unlink()  # as the agent does once it is let in
    machine.give(machine.files, {**VALUES, "agent-id": "other"})
    done = machine.boot()
    assert done.returncode == 0
    assert "nothing is changed" in done.stderr
    assert machine.config.read_text() == before
    assert not machine.token.exists()


@pytest.mark.parametrize("name", VALUES)
def test_what_is_missing_is_named_with_the_places_to_give_it(machine: Machine, name: str) -> None:
    machine.give(machine.files, {key: value for key, value in VALUES.items() if key != name})
    said = machine.refused()
    assert f"credential tunnel.{name}," in said
    assert f"/etc/tunnel-agent/firstboot.d/{name}" in said
    assert "disk labelled TUNNELCFG" in said
    assert "boot again" in said
    assert said.count("tunnel-agent-firstboot: no ") == 1


def test_all_that_is_missing_is_named_at_once_and_the_next_boot_tries_again(machine: Machine) -> None:
    assert machine.refused().count("tunnel-agent-firstboot: no ") == len(VALUES)
    machine.give(machine.disk, VALUES)
    assert machine.boot().returncode == 0


HOSTILE = [
    ("agent-id", 'x"\n[admin]\nlisten = "0.0.0.0:1'),
    ("agent-id", "leeds-1\nleeds-2"),
    ("agent-id", "-leeds"),
    ("agent-id", "leeds 1"),
    ("agent-id", "$(id)"),
    ("agent-id", "l" * 65),
    ("agent-id", "lé"),
    ("hub-url", "https://tunnel.example/tunnel"),
    ("hub-url", "wss://user:secret@tunnel.example/tunnel"),
    ("hub-url", "wss://tunnel.example/tunnel?x=1"),
    ("hub-url", 'wss://tunnel.example/"'),
    ("hub-url", "wss://tunnel.example/\nwss://other.example/"),
    ("hub-url", "wss:///tunnel"),
    ("hub-key", KEY[:-1]),
    ("hub-key", KEY.replace("ed25519:", "rsa:")),
    ("hub-key", f'{KEY}"]\nproxy = "http://x"'),
    ("hub-key", f"{KEY} {KEY} {KEY}"),
    ("hub-key", "*"),
    ("enrol-token", TOKEN + "A"),
    ("enrol-token", TOKEN[:-1]),
    ("enrol-token", f"{TOKEN}\n{TOKEN}"),
    ("enrol-token", TOKEN.replace("et1_", "et2_")),
    ("services", SERVICES + '[admin]\nlisten = "0.0.0.0:8083"\n'),
    ("services", SERVICES + '  [[hubs]]\nurl = "ws://evil"\n'),
    ("services", '"admin".listen = "0.0.0.0:8083"\n' + SERVICES),
    ("services", "admin.listen = '0.0.0.0:8083'\n" + SERVICES),
    ("services", 'services.a = """\n[admin]"""\n' + SERVICES),
    ("services", "x = '''\n" + SERVICES + "'''"),
    ("services", "# nothing"),
    ("services", "[services]\n"),
    ("services", '{"services": {}}'),
    ("services", "[signers.x]\npublic_keys = []\n"),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE, ids=range(len(HOSTILE)))
def test_values_that_are_not_taken(machine: Machine, name: str, value: str) -> None:
    machine.give(machine.credentials, {**VALUES, name: value})
    said = machine.refused()
    assert said.count("\n") == 2, said  # what is wrong, and what to do
    assert "no identity" in said
    if name in {"enrol-token", "hub-url"}:
        assert value not in said


def test_text_that_is_none_and_text_that_is_too_long(machine: Machine) -> None:
    machine.give(machine.credentials, VALUES)
    (machine.credentials / "tunnel.agent-id").write_bytes(b"leeds\0-1")
    assert "the agent id is no text" in machine.refused()
    machine.give(machine.credentials, {"agent-id": "leeds-1", "services": "#" * 70_000})
    assert "the services is no text of at most 64 KiB" in machine.refused()


def test_a_link_is_no_file(machine: Machine) -> None:
    machine.give(machine.disk, VALUES)
    (machine.disk / "agent-id").unlink()
    (machine.disk / "agent-id").symlink_to(machine.disk / "hub-url")
    assert "no agent id" in machine.refused()


@pytest.mark.parametrize(
    ("services", "reason"),
    [
        ("[services.visits]\nupstream = 'http://127.0.0.1:9000'\nalow = []\n", "alow"),
        ("[services.visits]\nupstream = 'http://127.0.0.1:9000'\nallow = ['GET /**'\n", "agent.toml.new"),
    ],
)
def test_what_the_agent_itself_would_refuse_is_found_now(machine: Machine, services: str, reason: str) -> None:
    machine.give(machine.files, {**VALUES, "services": services})
    said = machine.refused()
    assert "the agent does not take the values given" in said
    assert reason in said
    assert (machine.files / "enrol-token").exists(), "nothing is used up"


def test_services_in_one_line_and_two_hub_keys(machine: Machine) -> None:
    """One line is what fits into an SMBIOS string."""
    other = generate().public.line
    one = 'services.visits = { upstream = "http://127.0.0.1:9000", allow = ["GET /**"] }'
    machine.give(machine.credentials, {**VALUES, "services": one, "hub-key": f"{KEY}\n{other}\n"})
    done = machine.boot()
    assert done.returncode == 0, done.stderr
    config = load(machine.config)
    assert list(config.services) == ["visits"]
    assert [str(key) for key in config.hubs[0].public_keys] == [KEY, other]


def test_the_unit_asks_for_what_the_script_takes() -> None:
    unit = (SCRIPT.parent / "tunnel-agent-firstboot.service").read_text().splitlines()
    assert [line.removeprefix("LoadCredential=tunnel.") for line in unit if line.startswith("LoadCred")] == [
        *VALUES
    ]
    assert "ConditionPathExists=!/etc/tunnel-agent/agent.toml" in unit
    assert "Before=tunnel-agent.service" in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="not installed: systemd-analyze (systemd)")
def test_the_units_are_sound(tmp_path: Path) -> None:
    system = tmp_path / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    for target in Path("/usr/lib/systemd/system").glob("*.target"):
        if not target.is_symlink():
            shutil.copy(target, system)
    units = [Path(shutil.copy(unit, system)).name for unit in SCRIPT.parent.glob("*.service")]
    assert len(units) == 2
    for program in ("usr/libexec/tunnel-agent-firstboot", "usr/bin/ssh-keygen"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SCRIPT, tmp_path / program)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={tmp_path}", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck() -> None:
    scripts = [SCRIPT, SCRIPT.parents[1] / "make-seed", *SCRIPT.parents[1].glob("scripts/*.sh")]
    done = subprocess.run(
        ["shellcheck", "--exclude=SC1091,SC2015", *scripts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
