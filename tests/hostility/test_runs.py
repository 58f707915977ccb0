"""Every run in a small size, with a new seed each time; `python -m tests.hostility` is the whole of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.hostility import agent, hub, paths
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120 * max(1.0, PATIENCE))]


@pytest.fixture
def seed() -> int:
    """Of this run. A failure names it; `python -m tests.hostility RUN --seed N` repeats the attack."""
    made = random.SystemRandom().randrange(1 << 30)
    print(f"seed {made}")
    return made


def test_a_compromised_hub_gets_nothing_that_the_agents_file_does_not_allow(tmp_path: Path, seed: int) -> None:
    report = hub.run(tmp_path, sessions=600, seed=seed)
    assert report.ok, f"seed {seed}\n{report.broken}"


def test_a_hostile_agent_harms_nobody_but_its_own_service(tmp_path: Path, seed: int) -> None:
    report = agent.run(tmp_path, sessions=600, seed=seed)
    assert report.ok, f"seed {seed}\n{report.broken}"


def test_no_spelling_of_a_path_gets_past_the_lists(tmp_path: Path, seed: int) -> None:
    report = paths.run(tmp_path, variants=50_000, through=2_000, straight=3_000, seed=seed)
    assert report.ok, f"seed {seed}\n{report.broken}"
