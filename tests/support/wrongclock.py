"""Programs whose clock is wrong."""

from __future__ import annotations

import os
from pathlib import Path

SAID = "the clock is five minutes ahead"
"""What such a program writes at its start."""

_SITE = f"""
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + 300
time.time_ns = lambda: _time_ns() + 300_000_000_000
print("{SAID}", flush=True)
"""


def five_minutes_ahead(folder: Path) -> dict[str, str]:
    """The environment of such a program; `folder` is made for it."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE)
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}
