"""The tools the benchmark needs, and what it ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = {
    "nginx": "nginx",
    "wrk": "wrk",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}
"""Program to the Debian package that brings it."""

_SYSTEM_FOLDERS = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
_LIBRARIES = ("uvloop", "httptools", "websockets", "msgpack", "cryptography")


class ToolMissing(Exception):
    """A program the benchmark compares with is not installed; the message says how to get it."""


@cache
def tool(name: str) -> str:
    """The path of an installed program; raises ToolMissing."""
    # Debian keeps nginx and sshd out of an ordinary user's PATH.
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)
    if found is None:
        package = PACKAGES.get(name, name)
        raise ToolMissing(f"{name} is not installed; on Debian: sudo apt-get install {package}")
    return found


def missing_tools() -> list[str]:
    """One sentence for each program that is not installed."""
    sentences = []
    for name in PACKAGES:
        try:
            tool(name)
        except ToolMissing as error:
            sentences.append(str(error))
    return sentences


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the machine's hard limit permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe() -> dict[str, Any]:
    """The machine, as it goes into the JSON: processors, kernel, versions. No host name."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": _cpu_model(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": {
            "nginx": _version(tool("nginx"), "-v"),
            "wrk": _version(tool("wrk"), "-v"),
            "openssh": _version(tool("ssh"), "-V"),
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        },
        "git_revision": _git_revision(),
    }


def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    found = re.search(r"(?:nginx/|wrk \S*?/?|OpenSSH_)(\d[\w.+~-]*)", done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _git_revision() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(
        [git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, timeout=10
    )
    return done.stdout.strip() or None
