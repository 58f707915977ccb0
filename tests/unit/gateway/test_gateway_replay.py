from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnel_hub.gateway.grant import Unverifiable
from tunnel_hub.gateway.replay import SWEEP, Replay


def test_once_until_it_ends() -> None:
    replay = Replay()
    assert replay.first_use("a", "1", 110, 100)
    assert not replay.first_use("a", "1", 110, 100)
    assert not replay.first_use("a", "1", 120, 110), "through its end"
    assert replay.first_use("a", "1", 120, 110.5)
    assert replay.first_use("b", "1", 120, 110.5), "of another owner"
    assert replay.first_use("a", "2", 120, 110.5)
    assert replay.first_use("a", "\ud800", 120, 110.5)


def test_full() -> None:
    replay = Replay(2)
    assert replay.first_use("a", "1", 110, 100)
    assert replay.first_use("a", "2", 105, 100)
    with pytest.raises(Unverifiable) as caught:
        replay.first_use("a", "3", 110, 101)
    assert caught.value.retry_after == 1
    assert not replay.first_use("a", "1", 110, 101), "those that it holds are still known"
    assert replay.first_use("a", "3", 120, 106), "the shorter one went"
    assert replay.held == 2


def test_what_ended_goes_a_little_at_each_call() -> None:
    replay = Replay()
    for name in range(10 * SWEEP):
        assert replay.first_use("a", str(name), 110, 100)
    assert replay.first_use("a", "new", 210, 200)
    assert replay.held == 9 * SWEEP + 1, "nobody waits for all of them"
    last = str(10 * SWEEP - 1)
    assert replay.first_use("a", last, 210, 200), "it is held still, but no longer used"
    assert not replay.first_use("a", last, 210, 200)
    for name in range(20):
        assert replay.first_use("a", f"more {name}", 210, 200)
    assert replay.held == 22
    assert not replay.first_use("a", last, 210, 200), "its first end has passed, not its second"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20), st.integers(0, 4)), max_size=60))
@settings(deadline=None)
def test_against_a_model(calls: list[tuple[int, int, int]]) -> None:
    """Any ids, ends and steps of the clock: as a plain dict that is searched at every call."""
    replay, model, now = Replay(4), dict[int, int](), 0
    for name, lasts, step in calls:
        now += step
        model = {key: end for key, end in model.items() if end >= now}
        if name in model:
            assert not replay.first_use("a", str(name), now + lasts, now)
        elif len(model) == 4:
            with pytest.raises(Unverifiable):
                replay.first_use("a", str(name), now + lasts, now)
        else:
            assert replay.first_use("a", str(name), now + lasts, now)
            model[name] = now + lasts
        assert replay.held == len(model)
        assert len(replay._ends) == replay.held
