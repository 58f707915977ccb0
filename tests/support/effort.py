"""How hard the tests try: `make test` a part of it, `THOROUGH=1` all; `make deploy-test` is always thorough."""

from __future__ import annotations

import os
from typing import Final

import pytest

THOROUGH: Final = bool(os.environ.get("THOROUGH"))
SHARE: Final = 5
FEWEST: Final = 100


def examples(thorough: int) -> int:
    """How many random examples a property of `thorough` examples gets in this run."""
    return thorough if THOROUGH else max(FEWEST, thorough // SHARE)


thorough_only = pytest.mark.skipif(not THOROUGH, reason="takes long and says little more: with THOROUGH=1")
"""Marks what an ordinary run leaves out."""
