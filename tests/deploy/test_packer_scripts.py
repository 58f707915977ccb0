"""What the image build runs on the machine: firewall, updates, sealing, in a folder that stands for its root."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

PACKER = Path(__file__).resolve().parents[2] / "deploy/packer"
SCRIPTS = [
    *sorted(PACKER.glob("scripts/*.sh")),
    PACKER / "firstboot/tunnel-agent-firstboot",
    PACKER / "make-seed",
]


def run(script: str, root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PACKER / "scripts" / script],
        env={"PATH": os.environ["PATH"], "ROOT": str(root), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_posix_shell(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\n")
    assert os.access(script, os.X_OK)
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class TestFirewall:
    def rules(self, root: Path, **environment: str) -> str:
        done = run("nftables.sh", root, **environment)
        assert done.returncode == 0, done.stderr
        text = (root / "etc/nftables.conf").read_text()
        self.check(root / "etc/nftables.conf")
        return text

    def check(self, file: Path) -> None:
        """Asks nft itself where it is there and may ask the kernel."""
        nft = shutil.which("nft", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if nft and os.geteuid() == 0:
            alone = ["unshare", "-n", nft]
            if subprocess.run([*alone, "list", "ruleset"], capture_output=True, check=False).returncode == 0:
                done = subprocess.run([*alone, "-c", "-f", file], capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr

    def test_nothing_goes_out_that_is_not_named(self, tmp_path: Path) -> None:
        text = self.rules(tmp_path)
        out = text[text.index("chain out") :]
        assert "policy drop;" in out
        accepted = [line.strip() for line in out.splitlines() if "accept" in line]
        assert not [line for line in accepted if "daddr" in line]
        assert accepted == [
            "oif lo accept",
            "ct state established,related accept",
            next(line for line in accepted if line.startswith("icmp type")),
            next(line for line in accepted if line.startswith("icmpv6 type")),
            'udp sport 68 udp dport 67 accept comment "DHCP"',
            'udp sport 546 udp dport 547 accept comment "DHCPv6"',
        ]
        assert "saddr" not in text, "nobody comes in"
        assert text.count("policy drop;") == 3

    def test_each_list_becomes_its_rules(self, tmp_path: Path) -> None:
        text = self.rules(
            tmp_path,
            HUBS="203.0.113.10 443,2001:db8::1/64 8443",
            UPSTREAMS="10.1.2.0/24 8080",
            DNS="10.0.0.2,10.0.0.3",
            NTP="10.0.0.4",
            MIRRORS="10.0.0.5 80",
            SSH="10.9.0.0/16 22",
            INGRESS="0.0.0.0/0 8443",
            METADATA="true",
        )
        assert re.findall(r"^ +(ip6? .*)$", text, re.MULTILINE) == [
            'ip saddr 10.9.0.0/16 tcp dport 22 accept comment "ssh"',
            'ip saddr 0.0.0.0/0 tcp dport 8443 accept comment "ingress"',
            'ip daddr 203.0.113.10 tcp dport 443 accept comment "hub"',
            'ip6 daddr 2001:db8::1/64 tcp dport 8443 accept comment "hub"',
            'ip daddr 10.1.2.0/24 tcp dport 8080 accept comment "upstream"',
            'ip daddr 10.0.0.2 udp dport 53 accept comment "DNS"',
            'ip daddr 10.0.0.2 tcp dport 53 accept comment "DNS"',
            'ip daddr 10.0.0.3 udp dport 53 accept comment "DNS"',
            'ip daddr 10.0.0.3 tcp dport 53 accept comment "DNS"',
            'ip daddr 10.0.0.4 udp dport 123 accept comment "NTP"',
            'ip daddr 10.0.0.5 tcp dport 80 accept comment "mirror"',
            'ip daddr 169.254.169.254 tcp dport 80 meta skuid 0 accept comment "metadata"',
        ]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("HUBS", "tunnel.example 443"),
            ("HUBS", "203.0.113.10"),
            ("HUBS", "203.0.113.10 0"),
            ("HUBS", "203.0.113.10 65536"),
            ("HUBS", "203.0.113.10 443 accept"),
            ("HUBS", "203.0.113.256 443"),
            ("HUBS", "203.0.113.0/33 443"),
            ("HUBS", "2001:db8::/129 443"),
            ("HUBS", "203.0.113.10 443;accept"),
            ("HUBS", "203.0.113.10 443,,10.0.0.1 443"),
            ("HUBS", "203.0.113.10 443\naccept"),
            ("HUBS", "* 443"),
            ("DNS", "10.0.0.2 53"),
            ("DNS", "$(id)"),
            ("NTP", "pool"),
            ("SSH", "any 22"),
            ("METADATA", "yes"),
        ],
    )
    def test_what_is_no_address_or_port_is_refused_and_nothing_written(
        self, tmp_path: Path, name: str, value: str
    ) -> None:
        done = run("nftables.sh", tmp_path, **{name: value})
        assert done.returncode != 0
        assert done.stderr.startswith("nftables.sh: ")
        assert not (tmp_path / "etc").exists()


@pytest.mark.parametrize(("choice", "answer"), [("true", "1"), ("false", "0")])
def test_updates_are_a_choice(tmp_path: Path, choice: str, answer: str) -> None:
    assert run("updates.sh", tmp_path, UNATTENDED_UPGRADES=choice).returncode == 0
    text = (tmp_path / "etc/apt/apt.conf.d/60tunnel-updates").read_text()
    assert f'APT::Periodic::Unattended-Upgrade "{answer}";' in text


def test_a_choice_of_updates_must_be_made(tmp_path: Path) -> None:
    done = run("updates.sh", tmp_path)
    assert done.returncode == 1
    assert "UNATTENDED_UPGRADES is true or false" in done.stderr


LEFT_BEHIND = [
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_rsa_key.pub",
    "root/.ssh/authorized_keys",
    "home/debian/.ssh/authorized_keys",
    "root/.bash_history",
    "home/debian/.python_history",
    "root/.lesshst",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/log/journal/0123/system.journal",
    "var/log/cloud-init-output.log",
    "var/log/apt/history.log",
    "var/lib/cloud/instances/build/user-data.txt",
    "var/lib/cloud/data/instance-id",
    "etc/network/interfaces.d/50-cloud-init",
    "var/lib/apt/lists/mirror_dists_bookworm_InRelease",
    "var/cache/apt/pkgcache.bin",
    "var/lib/dhcp/dhclient.leases",
    "tmp/bake/tunnel-agent.deb",
    "tmp/.hidden",
    "var/tmp/x",
]
KEPT = ["etc/ssh/sshd_config", "etc/hostname", "usr/bin/tunnel-agent", "home/debian/.profile", "etc/nftables.conf"]


class TestSeal:
    def image(self, root: Path) -> None:
        for name in [*LEFT_BEHIND, *KEPT, "etc/machine-id"]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("x\n")
        (root / "etc/shadow").write_text(
            "root:$y$j9T$abc:19000:0:::::\ndaemon:*:19000:0:::::\nopen::19000:0:::::\ndebian:!$6$x:19000::::::\n"
        )
        (root / "etc/shadow").chmod(0o640)
        (root / "var/lib/tunnel-agent").mkdir(parents=True)

    def test_what_belongs_to_one_machine_is_gone(self, tmp_path: Path) -> None:
        self.image(tmp_path)
        done = run("seal.sh", tmp_path)
        assert done.returncode == 0, done.stderr
        assert [name for name in LEFT_BEHIND if (tmp_path / name).exists()] == []
        assert [name for name in KEPT if not (tmp_path / name).exists()] == []
        assert (tmp_path / "etc/machine-id").read_bytes() == b""
        assert (tmp_path / "tmp").is_dir()
        assert (tmp_path / "etc/shadow").read_text() == (
            "root:!:19000:0:::::\ndaemon:*:19000:0:::::\nopen:!:19000:0:::::\ndebian:!:19000::::::\n"
        )
        assert stat.S_IMODE((tmp_path / "etc/shadow").stat().st_mode) == 0o640

    @pytest.mark.parametrize(
        "name",
        [
            "etc/tunnel-agent/agent.toml",
            "etc/tunnel-hub/hub.toml",
            "var/lib/tunnel-agent/agent.key",
            "var/lib/tunnel-agent/enrol.token",
            "var/lib/tunnel-hub/hub.db",
            "etc/tunnel-agent/firstboot.d/enrol-token",
        ],
    )
    def test_an_identity_in_the_image_ends_the_build(self, tmp_path: Path, name: str) -> None:
        self.image(tmp_path)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
        done = run("seal.sh", tmp_path)
        assert done.returncode == 1
        assert "build from a clean base" in done.stderr


def test_the_seed_lets_one_key_in_and_takes_nothing_else(tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAAC3Nza build@host\n")
    out = tmp_path / "seed"
    subprocess.run([PACKER / "make-seed", key, out], check=True, timeout=10)
    assert (out / "user-data").read_text() == (
        '#cloud-config\nssh_authorized_keys: ["ssh-ed25519 AAAAC3Nza build@host"]\n'
    )
    assert (out / "vendor-data").read_text() == ""
    for wrong in ('ssh-ed25519 A"]\nruncmd: [id', "-----BEGIN OPENSSH PRIVATE KEY-----", ""):
        key.write_text(wrong)
        done = subprocess.run([PACKER / "make-seed", key, out], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "make-seed: " in done.stderr
