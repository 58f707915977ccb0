"""docs/quickstart-operator.md by copy and paste.

Once on a fresh Debian tree, from the packages; and once as a rehearsal anywhere, with this clone's programs in the
place of packages and systemd.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy import built, nspawn
from tests.support.curl import STAND_IN
from tests.support.ports import free_port
from tests.support.process import clean_environment
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quickstart-operator.md").read_text()
MARK = "--- end of block"
PORTS = ("8080", "8081", "8082", "8083", "9000")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REASON = built.cannot() or nspawn.cannot()


def blocks(text: str = PAGE) -> list[tuple[str, str | None]]:
    """Commands, and the output that the page shows for them, if any."""
    found: list[tuple[str, str | None]] = []
    for kind, inside in _BLOCK.findall(text):
        if kind == "sh":
            found.append((inside, None))
        else:
            found[-1] = (found[-1][0], inside)
    return found


def script(change: Callable[[str], str] = str) -> str:
    """All blocks in the page's order, each followed by a mark."""
    parts = [f'{change(commands)}echo; echo "{MARK} {number}"' for number, (commands, _) in enumerate(blocks())]
    return "\n".join(["set -euo pipefail", *parts])


def assert_shown(output: str) -> None:
    """Each block's output is what the page shows, where … stands for anything."""
    outputs = re.split(rf"\n{MARK} \d+\n", output)
    assert len(outputs) == len(blocks()) + 1
    for (commands, shown), printed in zip(blocks(), outputs, strict=False):
        if shown is not None:
            pattern = ".*?".join(re.escape(part) for part in shown.strip().split("…"))
            assert re.fullmatch(pattern, printed.strip(), re.DOTALL), f"{commands}\nprinted:\n{printed}"
    assert sum(shown is not None for _, shown in blocks()) >= 4


def test_it_takes_less_than_ten_commands() -> None:
    section = PAGE.partition("\n## Nine commands\n")[2].partition("\n## ")[0]
    assert len(blocks(section)) == 9
    assert re.findall(r"^\*\*(\d)\.\*\*", section, re.MULTILINE) == list("123456789")


@pytest.mark.skipif(_REASON is not None, reason=f"no packages to install, or no tree for them: {_REASON}")
@pytest.mark.timeout(600)
def test_on_a_fresh_tree(tmp_path: Path) -> None:
    for package in built.debs().values():
        (tmp_path / package.name).write_bytes(package.read_bytes())
    try:
        machine = nspawn.Machine(nspawn.tree(), binds={tmp_path: "/debs"}, options=["--private-network"])
        with machine:
            machine.write("/usr/bin/curl", STAND_IN.format(python="/usr/bin/python3"), mode=0o755)
            machine.write(
                "/root/page.sh", "mkdir /root/here; cp /debs/*.deb /root/here; cd /root/here\n" + script()
            )
            done = machine.run("bash", "/root/page.sh", check=False, timeout=120)
            logs = "\n".join(machine.journal(unit) for unit in ("tunnel-hub", "tunnel-agent", "api"))
            states = machine.run(
                "systemctl", "is-active", "tunnel-hub", "tunnel-agent", check=False
            ).stdout.split()
            left = machine.run("ls", "/var/lib/tunnel-agent").stdout.split()
    except nspawn.NoMachineError as error:
        pytest.skip(str(error))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    assert_shown(done.stdout)
    assert states == ["active", "active"]
    assert sorted(left) == ["agent.key", "audit.jsonl"], "the token is gone"
    assert "Traceback" not in logs


def _start(end: str, here: Path) -> str:
    """As systemctl does for a unit that tells when it is ready."""
    admin = {"hub": 8082, "agent": 8083}[end]
    ready = f"curl -sf http://127.0.0.1:{admin}/ping >/dev/null"
    return (
        f"tunnel-{end} run --config {here}/etc/tunnel-{end}/{end}.toml >{end}.log 2>&1 &\n"
        f"for _ in $(seq 200); do {ready} && break; sleep 0.1; done; {ready}\n"
    )


def rehearsed(here: Path) -> Callable[[str], str]:
    """What turns a block of the page into the same without packages, systemd and users."""
    ports = {port: str(free_port()) for port in PORTS}

    def change(commands: str) -> str:
        if commands.startswith("apt install "):
            return "true\n"
        text = re.sub(r"\brunuser -u \S+ -- ", "", commands)
        text = re.sub(r"/(etc/tunnel|var/lib/tunnel|srv/api)", rf"{here}/\1", text)
        text = re.sub(r"systemd-run -q --unit=(\w+) (.*)", r"{ \2 >\1.log 2>&1 & }", text)
        text = re.sub(r"systemctl start tunnel-(\w+)\n", lambda unit: _start(unit[1], here), text)
        text = text.replace("-o tunnel-agent -g tunnel-agent ", "")
        for port, free in ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        return text

    return change


def test_as_a_rehearsal(tmp_path: Path) -> None:
    here, tools = tmp_path / "here", tmp_path / "tools"
    for folder in (
        tools,
        *(here / place / f"tunnel-{end}" for place in ("etc", "var/lib") for end in ("hub", "agent")),
    ):
        folder.mkdir(parents=True)
    (tools / "curl").write_text(STAND_IN.format(python=sys.executable))
    (tools / "curl").chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(
        ["bash", "-c", "umask 022\n" + script(rehearsed(here))],
        cwd=here,
        env=clean_environment({"PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=60 * PATIENCE)
    except subprocess.TimeoutExpired as late:
        out, err = (late.stdout or b"").decode(), (late.stderr or b"").decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # hub, agent and API, which the page lets run
        process.communicate()
    logs = "\n".join(file.read_text() for file in here.glob("*.log"))
    assert process.returncode == 0, f"{out}\n{err}\n{logs}"
    assert_shown(out)
    assert not (here / "var/lib/tunnel-agent/enrol.token").exists()
    assert "Traceback" not in err + logs
