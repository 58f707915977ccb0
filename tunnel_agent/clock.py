"""Whether this machine's clock agrees with the hub's, by the Date of the hub's answer."""

from __future__ import annotations

from typing import Final

from protocol.ops.clock import HARMLESS, behind
from protocol.ops.words import count

from .remedies import Trouble

UNSEEN: Final = 2.0
"""Seconds that Date cannot tell: it has whole seconds, and was some time on its way."""

_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def judge(date: str, now: float, window: float) -> tuple[bool, Trouble] | None:
    """Whether all is well, and what to say; None when `date` is none.

    now: `time.time()` when it came; window: the seconds of `signature_window`.
    """
    late = behind(date, now)
    if late is None:
        return None
    skew = -late
    if abs(skew) <= UNSEEN:
        return True, Trouble("this machine's clock agrees with the hub's", "")
    side = "ahead of" if skew > 0 else "behind"
    detail = f"this machine's clock is {in_words(abs(skew))} {side} the hub's"
    if abs(skew) <= min(HARMLESS, window / 2):
        return True, Trouble(detail, "")
    return False, Trouble(
        detail,
        "set this machine's clock (timedatectl; let UDP 123 to a time server through), or the hub's. Until then "
        "TLS certificates may seem expired or not valid yet, and requests signed by their callers (RFC 9421) are "
        f"refused when the difference is above {in_words(window)} (signature_window)",
    )


def in_words(seconds: float) -> str:
    """The two greatest units: "3 minutes 20 seconds"."""
    left = max(1, round(seconds))
    words: list[str] = []
    for size, unit in _UNITS:
        number, left = divmod(left, size)
        if number:
            words.append(count(number, unit))
    return " ".join(words[:2])
