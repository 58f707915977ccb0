"""L2: the hub under a real systemd, with an agent and an upstream on this machine."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.load import Load
from tests.deploy.nspawn import BUILD_TIMEOUT, Machine
from tests.deploy.unit import Unit
from tests.support.keys import KeyRing
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

UP = "1 agent, 2 sessions; visits up; 0 requests running"

ALONE = "0 agents, 0 sessions; visits without agent; 0 requests running"


class Site:
    """The unit tunnel-hub.service, and the rest of a tunnel outside of the machine. Nothing runs yet."""

    def __init__(self, machine: Machine, tunnel: Tunnel) -> None:
        self.machine = machine
        self.unit = Unit(machine, "tunnel-hub", "hub.toml")
        self.tunnel = tunnel
        self.config: dict[str, Any] = copy.deepcopy(tunnel.hub.config)
        self.unit.own("/var/lib/tunnel-hub/hub.key", Path(self.config["hub"]["key_file"]).read_text())
        self.config["hub"]["key_file"] = "/var/lib/tunnel-hub/hub.key"
        self.config["state"] = {"file": "/var/lib/tunnel-hub/hub.db"}
        self.unit.configure(self.config)

    def sockets_up(self) -> None:
        """Systemd listens in the hub's place, as tunnel-hub-addresses.conf in the examples shows."""
        listen = self.config["listen"]
        lines = [f"ListenStream={listen[name]}" for name in ("callers", "agents", "admin")]
        self.unit.drop_in("\n".join(("[Socket]", "ListenStream=", *lines)) + "\n", "tunnel-hub.socket")
        self.machine.run("systemctl", "start", "tunnel-hub.socket")


@pytest.fixture
def site(machine: Machine, tmp_path: Path, keys: KeyRing) -> Iterator[Site]:
    tunnel = Tunnel(tmp_path, keys)
    tunnel.upstream.on("/x", reply())
    site = Site(machine, tunnel)
    try:
        yield site
    finally:
        site.unit.reset()
        tunnel.close()


def test_it_starts_serves_and_says_how_it_stands(site: Site) -> None:
    site.unit.start()
    site.unit.wait(ActiveState="active", StatusText=ALONE)
    site.tunnel.agent.start()
    site.unit.wait(StatusText=UP)
    assert site.tunnel.get("/x").status_code == 200
    command = ("enrol-token", "--config", "/etc/tunnel-hub/hub.toml", "--agent", "leeds-1")
    site.machine.run("runuser", "-u", "tunnel-hub", "--", "tunnel-hub", *command)
    listed = site.machine.run("stat", "-c", "%U %a", "/var/lib/tunnel-hub", "/var/lib/tunnel-hub/hub.db").stdout
    assert listed.split("\n")[:2] == ["tunnel-hub 700", "tunnel-hub 600"]
    site.unit.stop()
    assert site.unit.show("ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}


def test_killed_or_hung_it_comes_back(site: Site) -> None:
    site.unit.drop_in("[Service]\nWatchdogSec=2s\nRestartSec=200ms\n")
    site.tunnel.agent.start()
    site.unit.start()
    for number, signal in enumerate(("SIGKILL", "SIGSTOP"), 1):
        before = site.unit.pid()
        site.unit.kill(signal)
        site.unit.wait(NRestarts=str(number), ActiveState="active", SubState="running")
        assert site.unit.pid() != before
    assert "Watchdog timeout" in site.unit.journal()
    wait_until(lambda: site.tunnel.get("/x").status_code == 200, "a request to be served")


def test_a_configuration_with_mistakes_is_said_and_not_tried_again(site: Site) -> None:
    site.config["hub"]["idd"] = "hub-1"
    site.unit.configure(site.config)
    site.unit.start(check=False)
    site.unit.wait(ActiveState="failed", Result="exit-code", ExecMainStatus="2", NRestarts="0")
    assert "hub.idd: unknown key" in site.unit.journal()


def test_a_reload_of_a_bad_file_fails_and_the_hub_goes_on(site: Site) -> None:
    site.unit.start()
    before = site.unit.pid()
    site.config["services"]["money"] = {"hosts": ["money.internal"]}
    site.unit.configure(site.config)
    site.machine.run("systemctl", "reload", "tunnel-hub.service")
    site.unit.wait_status("money without agent")
    site.config["services"]["money"]["hosst"] = ["money.internal"]
    site.unit.configure(site.config)
    refused = site.machine.run("systemctl", "reload", "tunnel-hub.service", check=False)
    assert refused.returncode != 0
    assert 'did you mean "hosts"?' in site.unit.journal()
    site.unit.wait(ActiveState="active", SubState="running", NRestarts="0")
    assert site.unit.pid() == before


def test_a_restart_under_load_refuses_nobody(site: Site) -> None:
    site.sockets_up()
    site.tunnel.agent.start()
    site.unit.start()
    site.unit.wait(StatusText=UP)
    assert "not used" not in site.unit.journal()
    with Load(site.tunnel.hub.url) as load:
        load.more()
        for _ in range(2):
            before = site.unit.pid()
            site.machine.run("systemctl", "restart", "tunnel-hub.service")
            assert site.unit.pid() != before
            load.more()
    assert set(load.outcomes) == {"200"}, load.outcomes


def test_while_it_is_stopped_a_connection_starts_it(site: Site) -> None:
    site.sockets_up()
    assert site.unit.show("ActiveState") == {"ActiveState": "inactive"}
    site.tunnel.agent.start()
    assert site.tunnel.get("/x").status_code == 200
    site.unit.wait(ActiveState="active")


def test_a_socket_that_no_address_of_the_file_is_is_named(site: Site) -> None:
    site.sockets_up()
    site.config["listen"]["admin"] = "127.0.0.2:" + site.config["listen"]["admin"].rpartition(":")[2]
    site.unit.configure(site.config)
    site.unit.start()
    port = site.tunnel.hub.config["listen"]["admin"]
    assert any("not used" in line and port in line for line in site.unit.journal().splitlines())
