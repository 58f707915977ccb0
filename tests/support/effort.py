"""How hard the tests of the pure core try: `make test` a part of it, `make test THOROUGH=1` all."""

from __future__ import annotations

import os
from typing import Final

THOROUGH: Final = bool(os.environ.get("THOROUGH"))
SHARE: Final = 5
FEWEST: Final = 100


def examples(thorough: int) -> int:
    """How many random examples a property of `thorough` examples gets in this run."""
    return thorough if THOROUGH else max(FEWEST, thorough // SHARE)
