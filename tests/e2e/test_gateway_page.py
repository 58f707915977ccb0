"""docs/gateway.md by copy and paste: its commands run as they stand, and show what the page shows."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.curl import STAND_IN
from tests.support.ports import free_port
from tests.support.process import clean_environment, run_once
from tests.support.tls import PrivateCA
from tests.support.tokens import Provisioner
from tests.support.toml import merge, to_toml
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gateway.md"
PORTS = ("8080", "8081", "8082", "8083", "9000")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "--- end of block"


@dataclass
class Step:
    """A block of commands and the output that the page shows for it, if any."""

    commands: str
    shown: str | None = None


def steps() -> list[Step]:
    found: list[Step] = []
    for kind, text in _BLOCK.findall(PAGE.read_text()):
        if kind == "sh":
            found.append(Step(text))
        elif kind == "text":
            found[-1].shown = text
    return found


def matches(shown: str, output: str) -> bool:
    """Whether the output is what is shown, where … stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def script(blocks: list[Step]) -> str:
    """All blocks, with free ports, in the page's order; the clone's environment is there already."""
    parts = ["set -euo pipefail"]
    for number, block in enumerate(blocks):
        commands = block.commands.replace(". .venv/bin/activate\n", "")
        parts += [commands, f'echo; echo "{_MARK} {number}"']
    text = "\n".join(parts)
    for port in PORTS:
        text = re.sub(rf"\b{port}\b", str(free_port()), text)
    return text


@pytest.fixture(params=["curl", "stand-in"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The clone's programs first; curl is the system's, or one made of Python where there is none."""
    tools = tmp_path / "tools"
    tools.mkdir()
    if request.param == "stand-in":
        (tools / "curl").write_text(STAND_IN.format(python=sys.executable))
        (tools / "curl").chmod(0o755)
    elif shutil.which("curl") is None:
        pytest.skip("no curl here")
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    return clean_environment({"PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)})


def test_the_commands_of_the_page(environment: dict[str, str], tmp_path: Path) -> None:
    blocks = steps()
    here = tmp_path / "here"
    here.mkdir()
    process = subprocess.Popen(
        ["bash", "-c", script(blocks)],
        cwd=here,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=60 * PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever a failing block left behind
        process.communicate()
    logs = "\n".join(file.read_text() for file in tmp_path.rglob("*.log"))
    assert process.returncode == 0, f"{out}\n{err}\n{logs}"
    outputs = re.split(rf"\n{_MARK} \d+\n", out)
    assert len(outputs) == len(blocks) + 1
    for block, output in zip(blocks, outputs, strict=False):
        if block.shown is not None:
            assert matches(block.shown, output), f"{block.commands}\nshown:\n{block.shown}\nprinted:\n{output}"
    assert sum(block.shown is not None for block in blocks) >= 6
    assert "Traceback" not in err + logs
    assert not list(tmp_path.rglob("hub.toml")), "the page cleans up"


def test_the_tables_of_the_page(tmp_path: Path) -> None:
    """Each table is a part of a sound hub.toml, alone and with all the others."""
    key, agent = tmp_path / "hub.key", tmp_path / "agent.key"
    run_once("tunnel_hub.cli", "keygen", "--out", str(key))
    public = run_once("tunnel_agent.cli", "keygen", "--out", str(agent)).stdout.strip()
    ca = PrivateCA(tmp_path / "ca")
    issued = ca.issue()
    (tmp_path / "callers.pem").write_bytes(issued.certificate.read_bytes())
    shutil.copy(issued.key, tmp_path / "callers.key")
    (tmp_path / "callers-ca.pem").write_bytes(ca.ca_file.read_bytes())
    (tmp_path / "provisioning.pem").write_text(Provisioner().public_pem)
    sound = {
        "hub": {"id": "hub-1", "key_file": str(key)},
        "services": {"visits": {"paths": ["/nomisapi/"]}},
        "agents": {"leeds-1": {"public_keys": [public], "services": ["visits"]}},
    }
    tables = [tomllib.loads(text) for kind, text in _BLOCK.findall(PAGE.read_text()) if kind == "toml"]
    assert len(tables) == 3
    together = sound
    for table in tables:
        together = merge(together, table)
    for config in (*(merge(sound, table) for table in tables), together):
        (tmp_path / "hub.toml").write_text(to_toml(config))
        done = run_once("tunnel_hub.cli", "check", "--config", str(tmp_path / "hub.toml"))
        assert done.returncode == 0, done.stderr
