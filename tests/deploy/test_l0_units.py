"""L0, without root: the units are sound and as tight as promised; so are deploy/systemd/examples."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
EXAMPLES = sorted((UNITS / "examples").glob("*.conf"))
SERVICES = ("tunnel-agent.service", "tunnel-hub.service")
SYSTEM = Path("/usr/lib/systemd/system")

THRESHOLD = 12
"""Exposure times ten: 1.2."""

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)"
)
Verify = Callable[..., str]


@pytest.mark.parametrize("unit", SERVICES)
def test_exposure(unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={THRESHOLD}", "--no-pager", UNITS / unit],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert re.search(rf"Overall exposure level for {unit}: \d", done.stdout), done.stderr
    assert done.returncode == 0, done.stdout


@pytest.fixture
def verify(tmp_path: Path) -> Verify:
    """All units in a system of their own, with stubs for the programs; what `verify` says about them."""
    system = tmp_path / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    for unit in SYSTEM.glob("*.target"):
        if not unit.is_symlink():
            shutil.copy(unit, system)
    for unit in UNITS.iterdir():
        if unit.suffix in (".service", ".socket"):
            shutil.copy(unit, system)
    for program in ("usr/bin/tunnel-agent", "usr/bin/tunnel-hub", "bin/sh"):
        stub = tmp_path / program
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)

    def verify(*units: str, **drop_ins: Path | str) -> str:
        """drop_ins: by unit, "_" for each sign that a Python name cannot have."""
        for unit in system.glob("tunnel-*"):
            drop_in = drop_ins.get(re.sub(r"\W", "_", unit.name))
            if drop_in is not None:
                folder = tmp_path / "etc/systemd/system" / f"{unit.name}.d"
                folder.mkdir(parents=True)
                text = drop_in.read_text() if isinstance(drop_in, Path) else drop_in
                (folder / "test.conf").write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={tmp_path}", *units],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout + done.stderr + (f"exit {done.returncode}" if done.returncode else "")

    return verify


def test_units_are_sound(verify: Verify) -> None:
    assert verify(*SERVICES, "tunnel-hub.socket") == ""


def test_a_mistake_would_be_noticed(verify: Verify) -> None:
    assert "ProtectSistem" in verify(*SERVICES, tunnel_hub_service="[Service]\nProtectSistem=strict\n")


def test_a_program_that_is_not_there_would_be_noticed(verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "usr/bin/tunnel-hub").unlink()
    assert "tunnel-hub" in verify(*SERVICES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_sound(verify: Verify, example: Path) -> None:
    place = re.search(r"/etc/systemd/system/([a-z-]+\.(?:service|socket))\.d/[a-z-]+\.conf", example.read_text())
    assert place is not None, "an example says where it goes"
    unit = place[1]
    newer = "notify-reload" in example.read_text() and version() < 253
    said = verify(unit, **{re.sub(r"\W", "_", unit): example})
    assert "notify-reload" in said if newer else said == ""


def version() -> int:
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=30, check=True)
    found = re.match(r"systemd (\d+)", said.stdout)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("unit", SERVICES)
def test_the_program_gets_the_time_that_it_needs(unit: str) -> None:
    """The units' figures hold the programs' own."""
    from protocol.ops.notify import CLOSING
    from protocol.ops.run import EXIT_BAD_CONFIG
    from tunnel_agent.config import Limits as AgentLimits
    from tunnel_hub.config import Limits as HubLimits

    limits = AgentLimits() if "agent" in unit else HubLimits()
    text = (UNITS / unit).read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > limits.drain_timeout + CLOSING
    assert re.search(rf"^RestartPreventExitStatus={EXIT_BAD_CONFIG}$", text, re.MULTILINE)
