"""The rows of the table, in its order."""

from __future__ import annotations

from tests.bench.cases import (
    Case,
    Download,
    LongHaul,
    Mixed,
    SmallAnswers1,
    SmallAnswers64,
    SmallAnswers256,
    Stalled1,
    Stalled200,
    Upload,
)
from tests.bench.gate_cases import Fresh, Guarded
from tests.bench.idle import Idle

CASES: tuple[type[Case], ...] = (
    SmallAnswers64,
    SmallAnswers256,
    SmallAnswers1,
    Guarded,
    Fresh,
    Download,
    Upload,
    LongHaul,
    Mixed,
    Stalled1,
    Stalled200,
    Idle,
)
