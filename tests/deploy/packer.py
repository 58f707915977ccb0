"""Debian's packer, called as docs/images.md says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "deploy/packer"


def cannot() -> str | None:
    """Why there is no packer to test with; None where there is."""
    return None if shutil.which("packer") else "not installed: packer (Debian: packer)"


def is_old() -> bool:
    """Whether this is Debian's, which is given the file; from 1.7 on the folder with plugins.pkr.hcl is."""
    found = re.search(r"v(\d+)\.(\d+)", run("version").stdout)
    assert found
    return (int(found[1]), int(found[2])) < (1, 7)


def run(*arguments: str, cache: Path | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["packer", *arguments],
        cwd=FOLDER,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            "CHECKPOINT_DISABLE": "1",
            "PACKER_CACHE_DIR": str(cache or "/nonexistent"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def arguments(only: str, variables: Mapping[str, Any], folder: Path) -> list[str]:
    """What follows `validate` or `build`; the variables are put into a file in `folder`."""
    file = folder / "test.pkrvars.json"
    file.write_text(json.dumps(variables))
    return [f"-only={only}", f"-var-file={file}", "agent-vm.pkr.hcl"]
