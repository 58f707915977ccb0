"""The sources to build from: what git tracks, as it is in the work tree, and nothing that lies about beside it."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path
from typing import NamedTuple

from .tools import BuildError, run


class Source(NamedTuple):
    """A clean copy. epoch: seconds, the time that everything built from it bears."""

    tree: Path
    version: str
    revision: str
    epoch: int
    dependencies: list[str]

    @property
    def dirty(self) -> bool:
        return self.revision.endswith("-dirty")


def export(root: Path, into: Path) -> Source:
    """Copy the checkout at `root`; the copy knows its revision (protocol/REVISION)."""
    if not (root / ".git").exists():
        raise BuildError(f"{root} is no git checkout: its revision and its time are not known")
    for name in run("git", "-C", root, "ls-files", "-z").split("\0"):
        file = root / name
        if name and file.is_file():
            copy = into / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            copy.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
    revision = run("git", "-C", root, "rev-parse", "HEAD").strip()
    if run("git", "-C", root, "status", "--porcelain", "--untracked-files=no"):
        revision += "-dirty"
    (into / "protocol" / "REVISION").write_text(f"{revision}\n")
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or run("git", "-C", root, "log", "-1", "--format=%ct")
    project = tomllib.loads((into / "pyproject.toml").read_text())["project"]
    return Source(into, project["version"], revision, int(epoch), project["dependencies"])
