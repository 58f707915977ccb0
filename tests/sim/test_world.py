"""Runs of the whole world, and the seeds that found something before.

pytest tests/sim                        a thousand (a fifth of them in CI)
SIM_SEEDS=5000 pytest tests/sim         more of them
SIM_SEED=123 pytest tests/sim           one of them
python -m tests.sim 123                 one of them, with what happened
"""

from __future__ import annotations

import os

import pytest

from protocol.errors import StreamCode
from tests.sim.cheat import CHEATS
from tests.sim.exchange import HubEnd
from tests.sim.seeds import FOUND
from tests.sim.world import FAULTS, World
from tests.support.effort import examples, thorough_only

SEEDS = int(os.environ.get("SIM_SEEDS", examples(1000)))
ONE = os.environ.get("SIM_SEED")
BATCH = 50


@pytest.mark.parametrize("name", list(FOUND))
def test_found_seed(name: str) -> None:
    World(FOUND[name]).run()


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH) if ONE is None else [int(ONE)])
def test_invariants_hold(first: int) -> None:
    for seed in range(first, min(first + BATCH, SEEDS)) if ONE is None else [first]:
        World(seed).run()


def test_the_same_seed_is_the_same_run() -> None:
    first, second = World(7, verbose=True).run(), World(7, verbose=True).run()
    assert first.steps == second.steps
    assert [line.split(" <")[0] for line in first.trace] == [line.split(" <")[0] for line in second.trace]
    assert World(8).run().steps != first.steps


@thorough_only
def test_the_simulation_reaches_what_it_is_about() -> None:
    """The seeds are worth little if the interesting things do not happen in them."""
    worlds = [World(seed, verbose=True).run() for seed in range(260)]
    seen = {line.split()[2] for world in worlds for line in world.trace}
    assert {
        "Opened",
        "Answered",
        "InterimAnswered",
        "DataReceived",
        "TrailersReceived",
        "StreamReset",
        "PeerDraining",
        "ResetAnswered",
        "Offered",
        "PeerGoodbye",
        "SessionError",
    } <= seen
    assert {world.plan.fault for world in worlds} == set(FAULTS)
    ends = [end for world in worlds for peer in world.peers for end in peer.ends]
    assert {"", "reset by us", "reset by the peer", "lost"} == {end.over for end in ends}
    assert sum(world.grown for world in worlds) > 20
    assert sum(end.pauses for end in ends) > 100
    assert sum(world.condemned for world in worlds) > 5
    assert sum(world.not_dispatched for world in worlds) > 0
    assert sum(world.withdrawn for world in worlds) > 5
    assert sum(world.polite for world in worlds) > 5
    answers = {end.answered_with for end in ends if isinstance(end, HubEnd)}
    assert {None, StreamCode.NO_ERROR, StreamCode.NOT_DISPATCHED} <= answers
    assert {cheat.__name__ for cheat in CHEATS} == set().union(*(world.cheated for world in worlds))
