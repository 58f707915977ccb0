"""docs/observability.md, "In the terminal" and "Health endpoints": the commands run, and show what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.curl import STAND_IN
from tests.support.process import clean_environment
from tests.support.programs import Agent, Hub
from tests.support.tunnel import Tunnel
from tests.support.waiting import PATIENCE, wait_until

MakeTunnel = Callable[..., Tunnel]
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "observability.md").read_text()
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def block(title: str, kind: str) -> str:
    [text] = [text for found, text in _BLOCK.findall(section(title)) if found == kind]
    return str(text)


@pytest.fixture
def tunnel(make_tunnel: MakeTunnel) -> Tunnel:
    """As in the page: the agent's API is gone."""
    tunnel = make_tunnel(agent_service={"unhealthy_after": 3}, service={"hold": "0s"}).start()
    tunnel.upstream.close()
    for _ in range(3):
        assert tunnel.fetch("/nomisapi/offenders/A1234BC/location").status == 503
    wait_until(lambda: tunnel.agent.admin_status("/health") == 503, "the agent to notice")
    return tunnel


def run(tunnel: Tunnel, commands: str, folder: Path) -> list[tuple[int, str]]:
    """Exit code and output of each line."""
    for name in ("tunnel_hub", "tunnel_agent"):
        program = folder / name.replace("_", "-")
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {name}.cli "$@"\n')
        program.chmod(0o755)
    (folder / "curl").write_text(STAND_IN.format(python=sys.executable))
    (folder / "curl").chmod(0o755)
    programs: tuple[tuple[str, str, Hub | Agent], ...] = (
        ("/etc/tunnel-hub/hub.toml", "localhost:8082", tunnel.hub),
        ("/etc/tunnel-agent/agent.toml", "localhost:8083", tunnel.agent),
    )
    for file, place, one in programs:
        assert one.admin_url is not None
        commands = commands.replace(file, str(one.config_file)).replace(
            place, one.admin_url.removeprefix("http://")
        )
    environment = clean_environment({"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"})
    done = [
        subprocess.run(
            ["bash", "-c", line],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30 * PATIENCE,
            check=False,
        )
        for line in commands.splitlines()
    ]
    assert not [each.stderr for each in done if each.stderr]
    return [(each.returncode, each.stdout) for each in done]


def outline(text: str) -> str:
    """Words in their order: without numbers, times, ids and the spaces that make columns."""
    text = re.sub(r"\(git \w+\)", "(git)", text)
    text = re.sub(r"<1 ms|\d[\d,.]*(?: (?:ms|s|min|h|B|KiB))?", "N", re.sub(r"\b[0-9a-f]{8}(-\w+)?\b", "ID", text))
    return re.sub(r"\s+", " ", re.sub(r"N(?: N)+", "N", text)).strip()


def test_in_the_terminal(tunnel: Tunnel, tmp_path: Path) -> None:
    hub, agent = run(tunnel, block("In the terminal", "sh"), tmp_path)
    assert hub[0] == agent[0] == 1
    assert "! visits is down at every agent" in hub[1]
    assert outline(agent[1]) == outline(block("In the terminal", "text"))


def test_health_endpoints(tunnel: Tunnel, tmp_path: Path) -> None:
    answers = run(tunnel, block("Health endpoints", "sh"), tmp_path)
    assert [code for code, _ in answers] == [0] * 5
    health, ready, live, ping, info = (text for _, text in answers)
    assert '"state":"down at every agent"' in health
    assert ready == live == '{"status":"UP"}'
    assert ping == "pong"
    assert '"name":"tunnel-hub"' in info
