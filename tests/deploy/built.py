"""What `make dist` makes of this work tree: once for all test processes, kept while the sources are the same."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from deploy.packages import deb
from deploy.packages.__main__ import build
from tests.deploy.asked import NOT_ASKED_FOR, asked_for

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = 3
"""Builds that stay in the cache."""


def cannot() -> str | None:
    """Why nothing can be built on this machine; None where it can."""
    if not asked_for():
        return NOT_ASKED_FOR
    if not deb.PYTHON.exists():
        return f"{deb.PYTHON}, of Debian 12, is missing"
    missing = [tool for tool in ("dpkg-deb", "git") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None if (ROOT / ".git").exists() else "no git checkout"


@cache
def dist() -> Path:
    """The folder, not to be changed. Only where `cannot()` is None."""
    folder = _cache() / "dist"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = folder / _key()
        if not found.exists():
            with tempfile.TemporaryDirectory(dir=folder) as work:
                build(ROOT, Path(work) / "dist")
                (Path(work) / "dist").rename(found)
        found.touch()
        builds = sorted(
            (path for path in folder.iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime
        )
        for old in builds[KEPT:]:
            shutil.rmtree(old)
    return found


def debs() -> dict[str, Path]:
    """The .deb of each package, by its name."""
    return {path.name.partition("_")[0]: path for path in dist().glob("*.deb")}


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "http-tunnel"


def _key() -> str:
    """Of all that goes into the build."""
    seen = hashlib.sha256()
    for command in (("git", "rev-parse", "HEAD"), ("dpkg-deb", "--version"), (str(deb.PYTHON), "-VV")):
        seen.update(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    seen.update(f"{os.environ.get('SOURCE_DATE_EPOCH')} {deb.MAINTAINER}".encode())
    listed = subprocess.run(("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        file = ROOT / name
        if name and file.is_file():
            seen.update(
                f"{name} {file.stat().st_mode & 0o100}\n".encode() + hashlib.sha256(file.read_bytes()).digest()
            )
    return seen.hexdigest()[:16]
