"""`python -m tests.deploy.figures`: how long the agent's package takes to install and to serve, and its memory.

On a Debian tree under a real systemd, as root, with the tools that `.ci/run` installs. Times are of this machine and of
this minute: nothing asserts them.
"""

from __future__ import annotations

import copy
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from tests.deploy import built, nspawn
from tests.deploy.unit import Unit
from tests.support.keys import KeyRing
from tests.support.metrics import metric
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

ROUNDS: Final = 5
REST: Final = 10.0
"""Seconds without a request before memory is read."""

INSTALL: Final = 'date +%s%N; dpkg -i /srv/packages/"$1"_*.deb >/dev/null 2>&1; date +%s%N'


def installed_in(package: str) -> float:
    """Seconds of `dpkg -i` on a tree of its own that has no network."""
    options = ("--private-network",)
    with nspawn.Machine(nspawn.tree(), binds={built.dist(): "/srv/packages"}, options=options) as machine:
        began, ended = machine.run("sh", "-c", INSTALL, "sh", package).stdout.split()
        machine.run(package, "--version")
        return (int(ended) - int(began)) / 1e9


def served_in(unit: Unit, tunnel: Tunnel) -> float:
    """Seconds from `systemctl start` to the end of the first answer through hub and agent."""
    began = time.monotonic()
    unit.machine.run("systemctl", "start", "--no-block", unit.unit)

    def answered() -> bool:
        try:
            return tunnel.get("/x").status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(answered, "the first answer")
    return time.monotonic() - began


def main() -> int:
    os.environ["DEPLOY_TESTS"] = "1"
    why = built.cannot() or nspawn.cannot()
    if why is not None:
        print(f"cannot measure here: {why}", file=sys.stderr)
        return 1
    for package in ("tunnel-agent", "tunnel-hub"):
        _say(f"{package}: dpkg -i without network", [installed_in(package) for _ in range(ROUNDS)], "s")
    with (
        tempfile.TemporaryDirectory() as folder,
        nspawn.Machine(nspawn.tree(), binds={built.dist(): "/srv/packages"}) as machine,
    ):
        machine.run("sh", "-c", "dpkg -i /srv/packages/tunnel-agent_*.deb")
        tunnel = Tunnel(Path(folder), KeyRing(Path(folder)))
        tunnel.upstream.on("/x", reply())
        unit = Unit(machine, "tunnel-agent", "agent.toml")
        config = copy.deepcopy(tunnel.agent.config)
        key = Path(config["agent"]["key_file"]).read_text()
        config["agent"]["key_file"] = "/var/lib/tunnel-agent/agent.key"
        unit.own("/var/lib/tunnel-agent/agent.key", key)
        unit.configure(config)
        try:
            tunnel.hub.start()
            tunnel.hub.wait_alive()
            times = []
            for _ in range(ROUNDS):
                times.append(served_in(unit, tunnel))
                unit.stop()
            _say("agent: start to first served request", times, "s")
            served_in(unit, tunnel)
            time.sleep(REST)
            used = metric(tunnel.agent, "process_resident_memory_bytes")
            print(f"agent: idle memory, two sessions: {used / 1e6:.1f} MB resident")
        finally:
            unit.reset()
            tunnel.close()
    return 0


def _say(what: str, seconds: list[float], unit: str) -> None:
    print(f"{what}: median {statistics.median(seconds):.2f} {unit}, most {max(seconds):.2f} {unit}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
