"""L0, without root: the template is sound for every source and formatted, and refuses what it should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import packer

pytestmark = [
    pytest.mark.skipif(packer.cannot() is not None, reason=str(packer.cannot())),
    pytest.mark.skipif(
        packer.cannot() is None and not packer.is_old(), reason="packer >= 1.7 needs plugins from the network"
    ),
]
TEMPLATE = packer.FOLDER / "agent-vm.pkr.hcl"
BUILDS = [
    "tunnel.qemu.vm",
    "tunnel.vsphere-clone.vm",
    "tunnel.proxmox-clone.vm",
    "tunnel.amazon-ebs.vm",
    "tunnel.null.vm",
]


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    """Those that a site gives."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    for role in ("agent", "hub"):
        (tmp_path / f"tunnel-{role}_1-1_amd64.deb").touch()
    vsphere = ("server", "username", "datacenter", "cluster", "datastore", "folder", "network", "template")
    return {
        "deb": str(tmp_path / "tunnel-agent_1-1_amd64.deb"),
        "ssh_private_key_file": str(key),
        "egress_hubs": ["203.0.113.10 443", "2001:db8::/32 8443"],
        "base_image_url": str(TEMPLATE),
        "base_image_checksum": "sha256:" + "0" * 64,
        "vsphere": {name: f"{name}.test" for name in vsphere},
        "vsphere_password": "x",
        "proxmox_password": "x",
    }


def validate(build: str, variables: dict[str, Any], folder: Path) -> tuple[int, str]:
    done = packer.run("validate", *packer.arguments(build, variables, folder))
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize("role", ["agent", "hub"])
@pytest.mark.parametrize("build", BUILDS)
def test_a_build_is_sound(build: str, role: str, variables: dict[str, Any], tmp_path: Path) -> None:
    variables["deb"] = variables["deb"].replace("agent", role)
    assert validate(build, variables, tmp_path) == (0, "")


def test_every_build_is_tried() -> None:
    found = re.findall(r'name += "(tunnel)"\s+sources += \[(.*)\]', TEMPLATE.read_text())
    named = [f"{name}.{source}" for name, sources in found for source in re.findall(r'"source\.([^"]+)"', sources)]
    assert named == BUILDS


def test_a_mistake_in_a_source_would_be_noticed(variables: dict[str, Any], tmp_path: Path) -> None:
    code, said = validate("tunnel.proxmox-clone.vm", {**variables, "proxmox_password": ""}, tmp_path)
    assert code != 0
    assert "password must be specified" in said


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("deb", "/tmp/other.deb", "tunnel-agent....deb"),
        ("deb", "/nowhere/tunnel-agent_1-1_amd64.deb", "no such file"),
        ("name", "a b", "The name must be"),
        ("egress_hubs", ["tunnel.example 443"], "Each of egress_hubs must be an address and a port"),
        ("egress_hubs", ["203.0.113.10"], "Each of egress_hubs must be an address and a port"),
        ("egress_upstreams", ["10.0.0.1 http"], "Each of egress_upstreams must be"),
        ("egress_dns", ["10.0.0.1 53"], "Each of egress_dns must be"),
        ("egress_ntp", ["pool.example"], "Each of egress_ntp must be"),
        ("egress_mirrors", ["mirror.example 80"], "Each of egress_mirrors must be"),
        ("ingress_ssh", ["any 22"], "Each of ingress_ssh must be"),
        ("ingress", ["10.0.0.0/8 8443; accept"], "Each of ingress must be"),
        ("base_image_checksum", "none", "an unchecked base is not taken"),
        ("base_image_checksum", "md5:0", "an unchecked base is not taken"),
        ("accelerator", "xen", "The accelerator must be"),
    ],
)
def test_values_that_are_not_taken(
    variables: dict[str, Any], tmp_path: Path, variable: str, value: object, sentence: str
) -> None:
    code, said = validate("tunnel.qemu.vm", {**variables, variable: value}, tmp_path)
    assert code != 0
    assert sentence in said


@pytest.mark.parametrize("variable", ["deb", "egress_hubs", "ssh_private_key_file"])
def test_what_must_be_given(variables: dict[str, Any], tmp_path: Path, variable: str) -> None:
    del variables[variable]
    code, said = validate("tunnel.null.vm", variables, tmp_path)
    assert code != 0
    assert variable in said


def test_every_variable_is_described() -> None:
    for variable in TEMPLATE.read_text().split("\nvariable ")[1:]:
        assert "description" in variable.partition("\n}\n")[0], variable


@pytest.mark.parametrize("file", sorted(packer.FOLDER.glob("*.pkr.hcl")), ids=lambda path: path.name)
def test_formatted(file: Path) -> None:
    done = packer.run("fmt", "-check", "-diff", str(file))
    assert done.returncode == 0, done.stdout


def test_passwords_are_not_shown(variables: dict[str, Any], tmp_path: Path) -> None:
    secret = "not-to-be-seen"
    arguments = packer.arguments("tunnel.null.vm", {**variables, "vsphere_password": secret}, tmp_path)
    assert secret not in packer.run("inspect", *arguments[1:]).stdout
