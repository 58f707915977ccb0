"""The corpus and twenty thousand deterministic mutations of it: a violation or nothing, every time."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from protocol.errors import SessionCode
from protocol.flow import MemoryBudget
from protocol.limits import MESSAGE_MAX, Limits
from protocol.session import Session
from tests.fuzz.mutate import CORPUS, mutate
from tests.fuzz.target import run, split
from tests.sim.pair import pack

INPUTS = 20_000
PARTS = 8


@pytest.mark.parametrize("name", list(CORPUS))
def test_corpus(name: str) -> None:
    for mode in range(8):
        code = run(bytes([mode]) + CORPUS[name][1:])
        assert code == "" or code in SessionCode.__members__


@pytest.mark.parametrize("name", list(CORPUS))
def test_nothing_is_left_for_the_next_session(name: str) -> None:
    """The decoder is shared by all sessions of a process."""
    for mode in range(8):
        run(bytes([mode]) + CORPUS[name][1:])
        session = Session(False, Limits(), Limits(), MemoryBudget(0), 0.0)
        session.receive(pack([12, 7]), 0.0)
        assert session.data_to_send([]) == pack([13, 7])


@pytest.mark.parametrize("part", range(PARTS))
def test_mutations_of_the_corpus(part: int) -> None:
    rng = random.Random(part)
    pool = [messages for data in CORPUS.values() if (messages := split(data))]
    codes: set[str] = set()
    for number in range(INPUTS // PARTS):
        data = mutate(rng, pool)
        try:
            codes.add(run(data))
        except Exception as error:
            raise AssertionError(f"input {number} of part {part}: {data.hex()}") from error
    assert {"", "PROTOCOL_ERROR", "FLOW_CONTROL"} <= codes


def test_memory_stays_bounded_over_many_inputs() -> None:
    rng = random.Random(99)
    pool = [messages for data in CORPUS.values() if (messages := split(data))]
    for _ in range(300):
        run(mutate(rng, pool))
    tracemalloc.start()
    try:
        for _ in range(700):
            run(mutate(rng, pool))
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < MESSAGE_MAX + 256 * 1024, "the decoder keeps a buffer of one message, and nothing else stays"
    assert peak < 8 * 1024 * 1024
