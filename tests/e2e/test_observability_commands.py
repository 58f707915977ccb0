"""The commands of docs/observability.md about phases, traces and logs, run as they stand there.

There are no units here: `journalctl` stands for the program's log file, `systemctl reload` for SIGHUP.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.credentials import api_key
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
SECTIONS = ("Phases", "Traces", "Logs")


def blocks(section: str, language: str) -> list[str]:
    text = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for kind, block in found if kind == language]


def one(section: str, word: str) -> str:
    (found,) = [block for block in blocks(section, "sh") if word in block]
    return found.strip()


def shell(command: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "no_proxy": "*", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def stand_in(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def test_no_command_is_left_out() -> None:
    """Each of them is in a test below."""
    assert sum(len(blocks(section, "sh")) for section in SECTIONS) == 4


def test_asking_for_server_timing(make_gateway: Callable[..., Tunnel], bin_folder: Path) -> None:
    key = api_key()
    named = {"booking": {"api_keys": [key.hash], "allow": {"visits": ["GET /**"]}, "server_timing": True}}
    tunnel = make_gateway({"named": named}).start()
    tunnel.upstream.on("/nomisapi/health", reply())
    command = one("Phases", "curl").replace("127.0.0.1:8080", f"127.0.0.1:{tunnel.hub.callers_port}")
    shown = shell(command, bin_folder, KEY=key.text)
    (found,) = re.findall(r"(?i)^(server-timing: .*?)\r?$", shown, re.MULTILINE)
    form = re.compile(r"(?i)server-timing: hub_queue;dur=\d+\.\d{3}(, \w+;dur=\d+\.\d{3})+")
    assert form.fullmatch(found)
    (example,) = blocks("Phases", "")
    assert form.fullmatch(example.strip())


def test_finding_a_request_in_the_journal(make_tunnel: Callable[..., Tunnel], bin_folder: Path) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/nomisapi/health", reply(503))
    tunnel.fetch("/nomisapi/health", "X-Request-Id: 1f3a9c04-7")
    tunnel.fetch("/nomisapi/health", "X-Request-Id: another")
    stand_in(
        bin_folder,
        "journalctl",
        f'case "$2" in tunnel-hub) cat {tunnel.hub.log_file};; tunnel-agent) cat {tunnel.agent.log_file};; esac',
    )
    command = one("Logs", "grep")
    for each, program in (
        (command, tunnel.hub),
        (command.replace("-u tunnel-hub", "-u tunnel-agent"), tunnel.agent),
    ):
        wait_until(lambda program=program: '"request_id":"another"' in program.log(), "the access lines")
        (line,) = shell(each, bin_folder).splitlines()
        assert '"status":503' in line
    assert '"event":"ready"' in shell(one("Logs", "warning"), bin_folder)  # -p itself is the journal's


def test_a_reload_changes_the_level(make_tunnel: Callable[..., Tunnel], bin_folder: Path) -> None:
    tunnel = make_tunnel().start()
    stand_in(bin_folder, "systemctl", f"[ $1 = reload ] && kill -{int(signal.SIGHUP)} {tunnel.hub.pid}")
    tunnel.hub.config = {**tunnel.hub.config, "log": {"level": "warning"}}
    tunnel.hub.write_config()
    mark = tunnel.hub.mark()
    reload = one("Logs", "systemctl")
    shell(reload, bin_folder)
    tunnel.hub.config["log"] = {"level": "warning", "colour": 1}
    wait_until(lambda: tunnel.hub.admin_status("/ping") == 200, "the hub to go on")
    tunnel.hub.write_config()

    def complained() -> bool:
        shell(reload, bin_folder)
        return "the new configuration is not used" in tunnel.hub.log(mark)

    wait_until(complained, "the mistake to be named, at level error", every=0.2)
    assert '"configuration reloaded"' not in tunnel.hub.log(mark)


def test_the_table_is_one_that_both_programs_take(make_tunnel: Callable[..., Tunnel], tmp_path: Path) -> None:
    (text,) = blocks("Traces", "toml")
    table = tomllib.loads(text)
    headers = tmp_path / "collector.headers"
    headers.write_text(text.partition("# ")[2].partition("\n")[0] + "\n")
    table["tracing"]["headers_file"] = str(headers)
    tunnel = make_tunnel(hub_options=table, agent_options=table)
    for program in (tunnel.hub, tunnel.agent):
        checked = program.check()
        assert "tracing" not in checked.stdout + checked.stderr
    assert tunnel.hub.check().returncode == 0
