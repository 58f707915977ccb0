"""Ways to put the programs and their units on a machine of nspawn.py."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.deploy.nspawn import Machine, NoMachineError

ROOT: Final = Path(__file__).parents[2]
UNITS: Final = ROOT / "deploy" / "systemd"
PROGRAMS: Final = ("tunnel-agent", "tunnel-hub")

_LAUNCHER: Final = """\
#!/usr/bin/python3
import sys
sys.path[:0] = ["/opt/tunnel/source", "/opt/tunnel/requirements"]
from {module}.cli import main
main(prog_name="{program}")
"""


@dataclass(frozen=True)
class Installation:
    """binds: what the machine must see before it boots; `install` is called once it runs.

    upgrade: put the agent there once more, over one that runs.
    """

    binds: Mapping[Path, str]
    install: Callable[[Machine], None]
    upgrade: Callable[[Machine], None]


def from_packages(folder: Path) -> Installation:
    """The .deb files in `folder`, which need nothing that the tree does not have."""

    def install(machine: Machine) -> None:
        machine.run("sh", "-c", "dpkg -i /srv/packages/tunnel-*.deb")

    def upgrade(machine: Machine) -> None:
        machine.run("sh", "-c", "dpkg -i /srv/packages/tunnel-agent_*.deb")

    return Installation({folder: "/srv/packages"}, install, upgrade)


def from_checkout() -> Installation:
    """This work tree and what it requires from the running environment, for the machine's own Python."""
    if sys.version_info[:2] != (3, 11):
        raise NoMachineError("the requirements installed here are not for Debian's Python 3.11")
    modules = ("protocol", "tunnel_agent", "tunnel_hub")

    def install(machine: Machine) -> None:
        for program in PROGRAMS:
            text = _LAUNCHER.format(program=program, module=program.replace("-", "_"))
            machine.write(f"/usr/bin/{program}", text, mode=0o755)
            machine.write(f"/usr/lib/sysusers.d/{program}.conf", (UNITS / f"{program}.sysusers.conf").read_text())
            machine.run("mkdir", "-p", f"/etc/{program}")
        for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
            machine.write(f"/usr/lib/systemd/system/{unit.name}", unit.read_text())
        machine.run("systemd-sysusers")
        machine.run("systemctl", "daemon-reload")

    def upgrade(machine: Machine) -> None:
        install(machine)
        machine.run("systemctl", "restart", "tunnel-agent.service")

    return Installation(
        {
            **{ROOT / module: f"/opt/tunnel/source/{module}" for module in modules},
            Path(sysconfig.get_path("purelib")): "/opt/tunnel/requirements",
        },
        install,
        upgrade,
    )
