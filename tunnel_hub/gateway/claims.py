"""The types of a token's claims: JSON says little of them, so everything is looked at before it is used."""

from __future__ import annotations

import math
from typing import Final

NAME_CHARS: Final = 128
NAME_RULE: Final = f"printable ASCII, 1 to {NAME_CHARS} characters, no blank at either end"


def seconds(value: object) -> float | None:
    """A point in time as a finite number, or None for anything else, a boolean too."""
    if type(value) is not int and type(value) is not float:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def name(value: object) -> str | None:
    """A caller's name, printable ASCII without blanks around it and 1 to 128 characters; None for anything else.

    It goes into header fields, logs and metrics as it is.
    """
    if not isinstance(value, str) or not 0 < len(value) <= NAME_CHARS:
        return None
    return value if value.isascii() and value.isprintable() and value == value.strip() else None
