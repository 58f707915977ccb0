"""The commands of docs/observability.md, "Request inspector and tail", as they stand there, in their order."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.process import clean_environment
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until
from tests.support.watcher import Watcher

PAGE = (Path(__file__).parents[2] / "docs/observability.md").read_text()
SECTION = PAGE.partition("\n## Request inspector and tail\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)


def test_each_command_does_what_the_page_says(make_tunnel: Callable[..., Tunnel]) -> None:
    if subprocess.run(["curl", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("curl is not installed")
    assert len(COMMANDS) == 7
    first, as_json, stream, on, look, again, off = COMMANDS
    operator = Watcher()
    tunnel = make_tunnel(hub_options=operator.options).start()
    tunnel.upstream.on("/nomisapi/*", reply(503, body=b"broken"))
    operator.key_file(tunnel.directory)
    (tunnel.directory / "hub.toml").write_text(tunnel.hub.config_file.read_text())
    (tunnel.directory / "tunnel-hub").write_text(f'#!/bin/sh\nexec {sys.executable} -m tunnel_hub.cli "$@"\n')
    (tunnel.directory / "tunnel-hub").chmod(0o755)

    def start(command: str) -> subprocess.Popen[str]:
        command = command.replace("localhost:8082", str(tunnel.hub.admin_url)).rstrip()
        *before, last = command.replace("\\\n", "").splitlines()
        environment = clean_environment({"PATH": f"{tunnel.directory}:/usr/bin:/bin"})
        return subprocess.Popen(
            ["/bin/sh", "-euc", "\n".join([*before, f"exec {last}"])],
            cwd=tunnel.directory,
            env=environment | {"TUNNEL_OPERATOR_KEY_FILE": "anna.key"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(command: str) -> str:
        process = start(command)
        output, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        return output

    shown = {first: "503 GET  /nomisapi/one visits", as_json: '"path":"/nomisapi/one"', stream: '"status":503'}
    for command, words in shown.items():
        process = start(command)
        assert process.stdout is not None
        assert process.stderr is not None
        (process.stderr if command == first else process.stdout).readline()  # that it has begun
        tunnel.fetch("/nomisapi/one")
        assert words in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    begin, listing = re.split(r"\n(?=curl)", on.strip())
    assert json.loads(run(begin))["chosen"] == "status=5xx"
    tunnel.fetch("/nomisapi/one")
    wait_until(lambda: json.loads(run(listing))["exchanges"], "a recorded exchange")
    one, curl = re.split(r"\n(?=curl)", look.strip())
    assert json.loads(run(one))["path"] == "/nomisapi/one"
    assert "curl --silent" in run(curl)
    assert run(again) == "It is not sent again: its path was not recorded.\n"
    run(off)
    assert operator.get(tunnel.hub, "/api/inspector").json()["recordings"] == []
