"""The life of a .deb on a Debian 12 tree that has no network: installed, upgraded, removed, purged."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deploy.packages.programs import AGENT, HUB, Program
from tests.deploy import built, nspawn
from tests.support.effort import thorough_only

REASON = built.cannot() or nspawn.cannot()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=f"no packages to install, or no tree for them: {REASON}"),
    pytest.mark.timeout(300),
]
programs = pytest.mark.parametrize(
    "program", [pytest.param(AGENT, id=AGENT.name), pytest.param(HUB, id=HUB.name, marks=thorough_only)]
)
_numbers = itertools.count(1)
_installed: dict[str, list[Path]] = {}
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
BOUND = 60.0
"""Seconds that one script on the tree may take."""

DPKG = "dpkg --force-unsafe-io --path-include='/usr/share/doc/tunnel-*'"
"""The tree has no documents by itself; and nothing of it has to outlive this machine."""

ENTER = """
mount -t overlay none -o "lowerdir=$TREE,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$FOLDER/root"
mkdir -p "$FOLDER/root/debs"
mount --bind "$FOLDER/debs" "$FOLDER/root/debs"
mount -t proc none "$FOLDER/root/proc"
exec chroot "$FOLDER/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 sh -ec "$SCRIPT"
"""


class Tree:
    """A Debian tree of its own: changes go into a folder above `layers`, the uppermost first. Without network."""

    def __init__(self, layers: Sequence[Path], folder: Path) -> None:
        self._layers = layers
        self._folder = folder
        for name in ("upper", "work", "root", "debs"):
            (folder / name).mkdir(parents=True)
        for package in built.debs().values():
            shutil.copyfile(package, folder / "debs" / package.name)

    @property
    def layers(self) -> list[Path]:
        """What a tree that begins as this one ends is made of."""
        return [self._folder / "upper", *self._layers]

    @property
    def debs(self) -> Path:
        """Seen as /debs there."""
        return self._folder / "debs"

    def run(self, script: str) -> str:
        """Its stdout. The script stops at the first command that fails, and so does the test."""
        ended = subprocess.run(
            ["unshare", "-m", "-n", "--propagation", "private", "sh", "-ec", ENTER],
            env=os.environ
            | {"TREE": ":".join(map(str, self._layers)), "FOLDER": str(self._folder), "SCRIPT": script},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def files(self) -> set[str]:
        """All paths there, but for dpkg's own records and logs."""
        own = "-path /proc -o -path /debs -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache"
        return set(self.run(f"find / \\( {own} \\) -prune -o -print").splitlines())


@pytest.fixture(scope="session")
def kept() -> Iterator[Path]:
    """Where the trees with an installed package are: in memory, as dpkg writes thousands of files."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="tunnel-trees-") as made:
        yield Path(made)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of one test."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="tunnel-tree-") as made:
        yield Path(made)


@pytest.fixture
def bare(folder: Path) -> Tree:
    """Without any package of ours."""
    try:
        return Tree([nspawn.tree()], folder / f"{next(_numbers)}")
    except nspawn.NoMachineError as error:
        pytest.skip(str(error))


@pytest.fixture
def tree(bare: Tree, kept: Path, folder: Path, program: Program) -> Tree:
    """With the package of `program` installed, which is done once."""
    if program.name not in _installed:
        installed = Tree(bare.layers[1:], kept / program.name)
        install(installed, program)
        _installed[program.name] = installed.layers
    return Tree(_installed[program.name], folder / f"{next(_numbers)}")


def install(tree: Tree, program: Program) -> None:
    tree.run(f"{DPKG} -i /debs/{built.debs()[program.name].name}")


def next_version(tree: Tree, program: Program, folder: Path) -> str:
    """Puts a package there that is the same but for its version; returns that."""
    unpacked = folder / "unpacked"
    subprocess.run(["dpkg-deb", "-R", built.debs()[program.name], unpacked], check=True)
    control = unpacked / "DEBIAN" / "control"
    version = "99.0-1"
    lines = [
        f"Version: {version}" if line.startswith("Version:") else line for line in control.read_text().splitlines()
    ]
    control.write_text("\n".join(lines) + "\n")
    package = tree.debs / f"{program.name}_next.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", unpacked, package], check=True)
    return version


@programs
def test_it_runs_once_it_is_installed(tree: Tree, program: Program) -> None:
    name, end = program.name, program.name.removeprefix("tunnel-")
    assert tree.run(f"{name} --version").startswith(f"{name} ")
    key = f"/var/lib/{name}/{end}.key"
    assert tree.run(f"runuser -u {name} -- {name} keygen --out {key}").startswith("ed25519:")
    assert tree.run(f"stat -c '%a %U %G' {key} /var/lib/{name} /etc/{name}").splitlines() == [
        *(f"600 {name} {name}", f"700 {name} {name}", f"750 root {name}")
    ]
    example = f"/usr/share/doc/{name}/{end}.toml.example"
    caller = "--service visits" if program is AGENT else "--caller nobody"
    tree.run(f"{name} explain --config {example} {caller} GET /nomisapi/health || test $? -le 2")
    # Every compiled module of the environment is one that this Python can load.
    modules = "cryptography.hazmat.bindings._rust httptools uvloop msgspec msgpack"
    modules += " re2 jwt" if program is HUB else " python_socks tenacity"
    tree.run(f"/opt/{name}/bin/python3 -c 'import {', '.join(modules.split())}'")
    # ... and none had to be compiled by root.
    assert tree.run(f"dpkg -L {name} | sort >/known; find /opt/{name} | sort | comm -13 /known -") == ""


@programs
def test_the_service_is_enabled_and_the_socket_waits(tree: Tree, program: Program) -> None:
    links = tree.run("find /etc/systemd/system -type l").split()
    assert f"/etc/systemd/system/multi-user.target.wants/{program.name}.service" in links
    assert not [link for link in links if link.endswith("tunnel-hub.socket")]


@pytest.mark.parametrize("program", [AGENT])
def test_both_live_on_one_machine(tree: Tree, program: Program) -> None:
    install(tree, HUB)
    assert tree.run("tunnel-agent --version; tunnel-hub --version").count("\n") == 2
    tree.run("dpkg --purge tunnel-agent")
    assert tree.run("tunnel-hub --version").startswith("tunnel-hub ")


@programs
def test_an_upgrade_keeps_what_is_the_operators(tree: Tree, program: Program, folder: Path) -> None:
    name = program.name
    version = next_version(tree, program, folder)
    wants = f"/etc/systemd/system/multi-user.target.wants/{name}.service"
    tree.run(
        f"echo LANG=C >>/etc/{name}/environment; echo mine >/etc/{name}/own.toml;"
        f"echo state >/var/lib/{name}/state; chmod 0700 /etc/{name}; rm {wants}; touch /opt/{name}/stale"
    )
    tree.run(f"{DPKG} -i /debs/{name}_next.deb")
    assert tree.run(f"dpkg-query -W -f '${{Version}} ${{Status}}' {name}") == f"{version} install ok installed"
    assert tree.run(f"tail -n 1 /etc/{name}/environment; cat /etc/{name}/own.toml /var/lib/{name}/state") == (
        "LANG=C\nmine\nstate\n"
    )
    assert tree.run(f"stat -c %a /etc/{name}") == "700\n"
    assert wants not in tree.files()
    assert tree.run(f"{name} --version").startswith(f"{name} ")
    tree.run(f"dpkg --verify {name} | grep -v ' c /etc/{name}/environment$' && exit 1 || true")


@programs
def test_remove_keeps_and_purge_leaves_nothing(tree: Tree, bare: Tree, program: Program) -> None:
    accounts = "cat /etc/passwd /etc/group /etc/shadow /etc/gshadow"
    before, known = bare.files(), bare.run(accounts)
    name = program.name
    tree.run(f"echo mine >/etc/{name}/own.toml; runuser -u {name} -- touch /var/lib/{name}/state")
    if program is HUB:
        tree.run(
            "mkdir -p /etc/systemd/system/sockets.target.wants;"
            "ln -s /lib/systemd/system/tunnel-hub.socket /etc/systemd/system/sockets.target.wants/"
        )
    tree.run(f"dpkg --remove {name}")
    kept = tree.files()
    assert {f"/etc/{name}/own.toml", f"/etc/{name}/environment", f"/var/lib/{name}/state"} <= kept
    assert not [path for path in kept if path.startswith((f"/opt/{name}", f"/usr/bin/{name}"))]
    tree.run(f"getent passwd {name}")
    tree.run(f"dpkg --purge {name}")
    assert [path for path in tree.files() - before if not path.startswith("/etc/") or not path.endswith("-")] == []
    assert tree.run(accounts) == known
    assert before <= tree.files() | {"/opt"}
    install(tree, program)
    assert tree.run(f"{name} --version").startswith(f"{name} ")


@programs
def test_another_python_is_refused(bare: Tree, program: Program) -> None:
    """A Debian whose python3 is not 3.11: dpkg says so, and nothing is configured."""
    bare.run(
        "sed -i '/^Package: python3$/,/^$/ s/^Version: .*/Version: 3.13.1-1/' /var/lib/dpkg/status;"
        f"dpkg -i /debs/{built.debs()[program.name].name} >/dev/null 2>&1 && exit 1 || true"
    )
    assert bare.run(f"dpkg-query -W -f '${{Status}}' {program.name}") != "install ok installed"
