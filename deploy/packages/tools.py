"""Running other programs, and what is said when one is missing or fails."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Final

LONGEST: Final = 600.0
"""Seconds that a single step may take; downloading all wheels is the longest."""


class BuildError(Exception):
    """Nothing was built, for the reason that the one sentence says."""


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Its stdout. env is added to this process's."""
    words = [str(word) for word in command]
    try:
        ended = subprocess.run(  # noqa: S603
            words,
            cwd=cwd,
            env=os.environ | (env or {}),
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except FileNotFoundError:
        raise BuildError(f"{words[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{' '.join(words[:4])} did not end within {LONGEST:.0f} s") from None
    if ended.returncode:
        raise BuildError(f"{' '.join(words[:4])} failed with {ended.returncode}:\n{ended.stderr.strip()[-2000:]}")
    return ended.stdout


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
