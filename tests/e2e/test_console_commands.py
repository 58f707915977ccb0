"""The commands of docs/observability.md, section "Status page", as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.test_audit import wait_line
from tests.e2e.test_console import agent, service, status
from tests.support.operators import make_operator
from tests.support.process import clean_environment
from tests.support.toml import merge
from tests.support.tunnel import Tunnel

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "observability.md").read_text()
SECTION = PAGE.partition("\n## Status page\n")[2].partition("\n## ")[0]
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def test_each_command(make_tunnel: Callable[..., Tunnel], tmp_path: Path) -> None:
    operator = make_operator()
    audit = {"audit": {"file": "hub-audit.jsonl"}}
    tunnel = make_tunnel(hub_options=merge(operator.table, audit)).start()
    (tmp_path / "operator.header").write_text(f"Authorization: Bearer {operator.key}\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(command: str) -> str:
        here = command.replace("localhost:8082", tunnel.hub.admin_url.removeprefix("http://"))
        done = subprocess.run(
            ["/bin/sh", "-c", here],
            cwd=tmp_path,
            env=clean_environment({"PATH": path}),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    after = {
        "/off/visits": lambda: service(tunnel)["state"] == "switched off",
        "/on/visits": lambda: service(tunnel)["state"] == "up",
        "/drain/hub-1": lambda: status(tunnel)["state"] == "draining",
        "/resume/hub-1": lambda: status(tunnel)["state"] == "serving",
        "/stop/leeds-1": lambda: agent(tunnel)["switched"] is not None,
        "/resume/leeds-1": lambda: agent(tunnel)["switched"] is None,
    }
    seen = set()
    for command in COMMANDS:
        out = run(command)
        if command.endswith("/api/status"):
            assert json.loads(out)["hub"] == "hub-1"
        elif command == "tunnel-hub api-key":
            assert re.search(r"^hash: sha256:[0-9a-f]{64}$", out, re.MULTILINE)
        else:
            (end,) = (end for end in after if command.endswith(end))
            assert after[end](), command
            seen.add(end)
    assert seen == after.keys()
    wait_line(tunnel.hub, "agent resumed", operator=operator.name, reason="made room")


def test_the_pictures_are_there() -> None:
    for name in re.findall(r"!\[[^]]+\]\((\S+)\)", SECTION):
        assert (ROOT / "docs" / name).read_bytes().startswith(b"\x89PNG")
