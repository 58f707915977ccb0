"""L2: the agent under a real systemd, with a hub and an upstream on this machine; it meets what operators meet."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.installed import UNITS, Installation
from tests.deploy.load import Load
from tests.deploy.nspawn import BUILD_TIMEOUT, Machine
from tests.deploy.unit import Unit
from tests.support.keys import KeyRing
from tests.support.metrics import metric
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import stays, wait_until

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

UP = "2 sessions at 1 hub; visits up; 0 requests running"
IDLE_MAX = 60e6
"""Bytes of memory of an agent that has little to do."""

EXIT_CREDENTIALS = "243"


class Site:
    """The unit tunnel-agent.service, and the rest of a tunnel outside of the machine. Nothing runs yet."""

    def __init__(self, machine: Machine, tunnel: Tunnel) -> None:
        self.machine = machine
        self.unit = Unit(machine, "tunnel-agent", "agent.toml")
        self.tunnel = tunnel
        self.config: dict[str, Any] = copy.deepcopy(tunnel.agent.config)
        self.config["agent"]["key_file"] = "/var/lib/tunnel-agent/agent.key"
        self.key = Path(tunnel.agent.config["agent"]["key_file"]).read_text()
        self.unit.own("/var/lib/tunnel-agent/agent.key", self.key)
        self.unit.configure(self.config)

    def hub_up(self) -> None:
        self.tunnel.hub.start()
        self.tunnel.hub.wait_alive()

    def served(self) -> None:
        def answers() -> bool:
            try:
                return self.tunnel.get("/x").status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(answers, "a request to be served")


@pytest.fixture
def site(machine: Machine, tmp_path: Path, keys: KeyRing) -> Iterator[Site]:
    tunnel = Tunnel(tmp_path, keys, agent_ids=("leeds-1", "leeds-2"))
    tunnel.upstream.on("/x", reply())
    site = Site(machine, tunnel)
    try:
        yield site
    finally:
        site.unit.reset()
        tunnel.close()


def test_without_a_configuration_it_is_enabled_and_does_not_start(site: Site) -> None:
    site.machine.run("rm", "/etc/tunnel-agent/agent.toml")
    site.machine.run("systemctl", "enable", "--now", "tunnel-agent.service")
    shown = site.unit.show("ActiveState", "ConditionResult", "UnitFileState", "NRestarts")
    assert shown == {
        "ActiveState": "inactive",
        "ConditionResult": "no",
        "UnitFileState": "enabled",
        "NRestarts": "0",
    }


def test_it_starts_serves_and_says_how_it_stands(site: Site) -> None:
    site.hub_up()
    site.unit.start()
    site.unit.wait(ActiveState="active", SubState="running", StatusText=UP)
    site.served()
    state = site.machine.run("stat", "-c", "%U %a", "/var/lib/tunnel-agent").stdout.strip()
    assert state == "tunnel-agent 700"
    memory = metric(site.tunnel.agent, "process_resident_memory_bytes")
    assert memory, "the sandbox must leave /proc/stat"
    assert memory <= IDLE_MAX, "an agent at rest is small"
    site.unit.stop()
    shown = site.unit.show("ActiveState", "Result", "ExecMainStatus")
    assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}


def test_killed_or_hung_it_comes_back_and_the_journal_says_where_it_stood(site: Site) -> None:
    site.unit.drop_in("[Service]\nWatchdogSec=2s\nRestartSec=200ms\n")
    site.hub_up()
    site.unit.start()
    for number, signal in enumerate(("SIGKILL", "SIGSTOP"), 1):
        before = site.unit.pid()
        site.unit.kill(signal)
        site.unit.wait(NRestarts=str(number), ActiveState="active", SubState="running")
        assert site.unit.pid() != before
        site.served()
    journal = site.unit.journal()
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal


def test_a_missing_credential_is_a_clear_failure(site: Site) -> None:
    site.unit.drop_in("[Service]\nLoadCredential=agent-key:/etc/credstore/none.key\nRestart=no\n")
    site.config["agent"]["key_file"] = "credential:agent-key"
    site.unit.configure(site.config)
    assert "failed" in site.unit.start(check=False)
    shown = site.unit.show("ActiveState", "Result", "ExecMainStatus")
    assert shown == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": EXIT_CREDENTIALS}
    assert "credentials" in site.unit.journal().lower()


def test_a_credential_that_the_unit_does_not_load_is_named_and_not_tried_again(site: Site) -> None:
    site.config["agent"]["key_file"] = "credential:agent-key"
    site.unit.configure(site.config)
    site.unit.start(check=False)
    site.unit.wait(ActiveState="failed", Result="exit-code", ExecMainStatus="2", NRestarts="0")
    assert "add LoadCredential=agent-key:FILE" in site.unit.journal()


@pytest.mark.parametrize("example", ["credentials", "credentials-encrypted"])
def test_a_key_from_a_credential(site: Site, example: str) -> None:
    """As the examples have it."""
    text = (UNITS / "examples" / f"tunnel-agent-{example}.conf").read_text()
    load = re.search(r"^LoadCredential(?:Encrypted)?=agent-key:(\S+)$", text, re.MULTILINE)
    assert load is not None
    site.unit.drop_in(f"[Service]\n{load[0]}\n")
    site.machine.write(load[1], site.key, mode=0o600)
    if "encrypted" in example:
        site.machine.run("mv", load[1], "/root/agent.key")
        site.machine.run("systemd-creds", "encrypt", "--name=agent-key", "/root/agent.key", load[1])
    site.machine.run("rm", "/var/lib/tunnel-agent/agent.key")
    site.config["agent"]["key_file"] = "credential:agent-key"
    site.unit.configure(site.config)
    site.hub_up()
    site.unit.start()
    site.unit.wait(StatusText=UP)


def test_a_configuration_with_mistakes_is_said_and_not_tried_again(site: Site) -> None:
    site.config["agent"]["idd"] = "leeds-1"
    site.unit.configure(site.config)
    site.unit.start(check=False)
    site.unit.wait(ActiveState="failed", Result="exit-code", ExecMainStatus="2", NRestarts="0")
    assert "agent.idd: unknown key" in site.unit.journal()


def test_with_a_key_that_the_hub_does_not_know_it_runs_and_says_so(site: Site, keys: KeyRing) -> None:
    site.unit.own("/var/lib/tunnel-agent/agent.key", keys.agent("stranger").file.read_text())
    site.hub_up()
    site.unit.start()
    status = site.unit.wait_status("no session", "not_registered")
    assert str(site.tunnel.hub.agents_port) in status
    health = site.tunnel.agent.admin("/health")
    assert health.status_code == 503
    assert "registered" in health.text
    assert site.unit.show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}


def test_with_the_hub_down_at_boot_it_is_active_and_finds_it_later(site: Site) -> None:
    """To look for a hub is honest work: the watchdog lets it, longer than its interval."""
    site.unit.drop_in("[Service]\nWatchdogSec=2s\n")
    site.config["limits"] = {"reconnect_max": "1s"}
    site.unit.configure(site.config)
    site.unit.start()
    before = site.unit.pid()
    site.unit.wait_status("no session", "Connection refused", "next try in")
    stays(lambda: site.unit.pid() == before, "an agent without a hub lives on", 4.0, every=0.5)
    site.hub_up()
    site.unit.wait(StatusText=UP, NRestarts="0", ActiveState="active")
    site.served()


def test_it_reloads(site: Site) -> None:
    site.hub_up()
    site.unit.start()
    site.unit.wait(StatusText=UP)
    before = site.unit.pid()
    site.config["services"]["visits"]["enabled"] = False
    site.unit.configure(site.config)
    site.machine.run("systemctl", "reload", "tunnel-agent.service")
    site.unit.wait_status("visits switched off")
    site.config["services"]["visits"]["enabledd"] = True
    site.unit.configure(site.config)
    site.machine.run("systemctl", "reload", "tunnel-agent.service")
    wait_until(lambda: "the new configuration is not used" in site.unit.journal(), "the refusal")
    site.unit.wait(ActiveState="active", SubState="running", NRestarts="0")
    assert site.unit.pid() == before


def test_addresses_that_are_not_allowed_are_not_reached(site: Site) -> None:
    site.unit.drop_in("[Service]\nIPAddressDeny=any\n")
    site.hub_up()
    site.unit.start()
    if "does not support BPF/cgroup firewalling" in site.machine.run("journalctl", "-b", "-o", "cat").stdout:
        pytest.skip("this kernel lets no container filter by address (BPF)")
    site.unit.wait_status("no session")
    site.unit.drop_in("[Service]\nIPAddressDeny=any\nIPAddressAllow=localhost\n")
    site.machine.run("systemctl", "restart", "tunnel-agent.service")
    site.unit.wait(StatusText=UP)


def test_an_upgrade_under_load_beside_a_second_agent_fails_no_request(
    site: Site, installation: Installation
) -> None:
    site.hub_up()
    site.tunnel.agents[1].start()
    site.unit.start()
    site.unit.wait(StatusText=UP)
    site.tunnel.wait_sessions(4)
    with Load(site.tunnel.hub.url) as load:
        load.more()
        before = site.unit.pid()
        installation.upgrade(site.machine)
        site.unit.wait(ActiveState="active", SubState="running")
        assert site.unit.pid() != before
        site.tunnel.wait_sessions(4)
        load.more()
    assert set(load.outcomes) == {"200"}, load.outcomes
