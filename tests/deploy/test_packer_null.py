"""L3: packer provisions a booted Debian over SSH; what it made boots as an agent of a hub."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import built, nspawn, packer
from tests.support.keys import KeyRing
from tests.support.ports import free_port
from tests.support.programs import Hub
from tests.support.upstream import Upstream, reply
from tests.support.waiting import wait_until

REASON = packer.cannot() or built.cannot() or nspawn.cannot()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=f"no packer build into a container: {REASON}"),
    pytest.mark.skipif(
        REASON is None and not packer.is_old(), reason="packer >= 1.7 needs plugins from the network"
    ),
    pytest.mark.timeout(600),
]
TREE = ("nftables", "openssh-server", "python3", "systemd-sysv")
AGENT = "leeds-1"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(
        tmp_path / "hub",
        KeyRing(tmp_path).hub(),
        services={"visits": {"hosts": ["visits.internal"]}},
        agents={AGENT: {"services": ["visits"]}},
    )
    hub.start()
    hub.wait_alive()
    yield hub
    hub.close()


def test_from_a_bare_system_to_an_agent_that_serves(hub: Hub, upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("/x", reply())
    port = free_port()
    sshd = tmp_path / "sshd.conf"
    sshd.write_text(f"Port {port}\nListenAddress 127.0.0.1\n")
    given = {
        "agent-id": AGENT,
        "hub-url": hub.tunnel_url(),
        "services": f'services.visits = {{ upstream = "{upstream.url}", allow = ["GET /x"] }}',
    }
    options = [f"--set-credential=tunnel.{name}:{value}" for name, value in given.items()]
    try:
        machine = nspawn.Machine(
            nspawn.tree(TREE),
            name="packer",
            binds={sshd: "/etc/ssh/sshd_config.d/test.conf"},
            options=options,
        )
        with machine:
            key = let_in(machine, tmp_path)
            manifest = build(machine, tmp_path, key, port)
            sealed(machine)
            assert manifest["role"] == "agent"
            first_boot(machine, hub)
    except nspawn.NoMachineError as error:
        pytest.skip(str(error))


def let_in(machine: nspawn.Machine, folder: Path) -> Path:
    key = folder / "build-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    machine.write("/root/.ssh/authorized_keys", key.with_suffix(".pub").read_text(), mode=0o600)
    return key


def build(machine: nspawn.Machine, folder: Path, key: Path, port: int) -> dict[str, Any]:
    """packer build, on the machine. Its manifest."""
    deb = built.debs()["tunnel-agent"]
    variables = {
        "deb": str(deb),
        "ssh_private_key_file": str(key),
        "ssh_username": "root",
        "ssh_port": port,
        "egress_hubs": ["203.0.113.10 443"],
        "egress_dns": ["10.0.0.2"],
        "unattended_upgrades": False,
        "manifest": str(folder / "manifest.json"),
    }
    done = packer.run(
        "build", "-color=false", *packer.arguments("tunnel.null.vm", variables, folder), cache=folder, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert (
        'ip daddr 203.0.113.10 tcp dport 443 accept comment "hub"'
        in machine.run("cat", "/etc/nftables.conf").stdout
    )
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    listed = machine.run("dpkg-query", "-W", "-f", "${Version}", "tunnel-agent").stdout
    assert manifest["package"]["version"] == manifest["packages"]["tunnel-agent"] == listed
    assert set(manifest["files"]) >= {
        "/etc/nftables.conf",
        "/usr/libexec/tunnel-agent-firstboot",
        "/lib/systemd/system/tunnel-agent.service",
    }
    return manifest


def sealed(machine: nspawn.Machine) -> None:
    assert machine.run("cat", "/etc/machine-id").stdout == ""
    keys = "ls /etc/ssh | grep ssh_host_; ls -A /root/.ssh /tmp/bake /var/lib/tunnel-agent /var/lib/apt/lists"
    assert machine.run("sh", "-c", f"{{ {keys}; }} 2>/dev/null || true").stdout.split() == [
        "/var/lib/apt/lists:",
        "/var/lib/tunnel-agent:",
    ]
    for unit in ("tunnel-agent", "tunnel-agent-firstboot", "ssh-host-keys", "nftables"):
        assert machine.run("systemctl", "is-enabled", unit).stdout == "enabled\n"
    assert machine.show("tunnel-agent", "ActiveState") == {"ActiveState": "inactive"}


def first_boot(machine: nspawn.Machine, hub: Hub) -> None:
    """What systemd does when the image boots, with half an identity first."""
    machine.run("systemd-machine-id-setup")
    machine.run("systemctl", "restart", "systemd-journald")
    failed = machine.run("systemctl", "start", "tunnel-agent-firstboot", check=False)
    assert failed.returncode != 0
    said = machine.journal("tunnel-agent-firstboot")
    assert "no hub's public key: give the credential tunnel.hub-key" in said
    assert "no one-time token: " in said
    assert "no agent id" not in said, "credentials of the machine reach the unit"

    token = hub.enrol_token(AGENT)
    machine.write("/etc/tunnel-agent/firstboot.d/enrol-token", token + "\n", mode=0o600)
    machine.write("/etc/tunnel-agent/firstboot.d/hub-key", hub.key.public + "\n")
    machine.run("systemctl", "start", "ssh-host-keys", "tunnel-agent-firstboot", "tunnel-agent")
    assert "this machine is agent leeds-1" in machine.journal("tunnel-agent-firstboot")
    assert "ssh_host_ed25519_key" in machine.run("ls", "/etc/ssh").stdout

    def served() -> bool:
        with hub.raw() as caller:
            return caller.get("/x").status == 200

    wait_until(served, "the machine's agent to serve", 30)
    left = machine.run("sh", "-c", "ls -A /var/lib/tunnel-agent /etc/tunnel-agent/firstboot.d").stdout
    assert "agent.key" in left
    assert "enrol" not in left
    stat = machine.run("stat", "-c", "%U:%G %a", "/etc/tunnel-agent/agent.toml", "/var/lib/tunnel-agent/agent.key")
    assert stat.stdout.splitlines() == ["root:tunnel-agent 640", "tunnel-agent:tunnel-agent 600"]
    assert token[10:] not in machine.run("journalctl", "-b", "--no-pager").stdout

    machine.run("systemctl", "start", "tunnel-agent-firstboot")
    assert "was skipped" in machine.journal("tunnel-agent-firstboot"), "never again"
