"""Which build runs: the package's version and the git revision it was made from. Finding out never fails."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Final, NamedTuple

DISTRIBUTION: Final = "http-tunnel"

_REVISION = re.compile(r"[0-9a-f]{7,64}(?:-dirty)?")
_ROOT = Path(__file__).resolve().parents[2]


class Build(NamedTuple):
    """revision is None when nobody wrote it down and this is no checkout."""

    version: str
    revision: str | None
    python: str

    def __str__(self) -> str:
        return f"{self.version} (git {self.revision[:12]})" if self.revision else self.version


@cache
def build() -> Build:
    """This build. The first call may ask git, so make it before the event loop runs."""
    return Build(package_version(), git_revision(), platform.python_version())


def package_version() -> str:
    """The installed package's version."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


def git_revision(root: Path = _ROOT) -> str | None:
    """$TUNNEL_GIT_REVISION, else the file protocol/REVISION that a package's build writes, else what git says."""
    sources: tuple[Callable[[], str], ...] = (
        lambda: os.environ.get("TUNNEL_GIT_REVISION", ""),
        (root / "protocol" / "REVISION").read_text,
        partial(_ask_git, root),
    )
    for source in sources:
        try:
            revision = source().strip()
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
        if _REVISION.fullmatch(revision):
            return revision
    return None


def _ask_git(root: Path) -> str:
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, timeout=2, check=True).stdout  # noqa: S603
