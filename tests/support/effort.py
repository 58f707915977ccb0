"""How hard the tests try: everything, but for CI, which has ten minutes and says so by `QUICK_TESTS=1`."""

from __future__ import annotations

import os
from typing import Final

import pytest

THOROUGH: Final = not os.environ.get("QUICK_TESTS")
SHARE: Final = 5
FEWEST: Final = 100


def examples(thorough: int) -> int:
    """How many random examples a property of `thorough` examples gets in this run."""
    return thorough if THOROUGH else max(FEWEST, thorough // SHARE)


thorough_only = pytest.mark.skipif(not THOROUGH, reason="too long for CI (QUICK_TESTS): `make test` runs it")
"""Marks what CI leaves out."""
