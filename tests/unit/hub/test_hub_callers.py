"""How many requests a caller may have running, also when the limit changes meanwhile."""

from __future__ import annotations

from tests.unit.hub.rig import Rig
from tunnel_hub.callers import Callers
from tunnel_hub.instances import UNLIMITED


def test_a_caller_may_have_so_many() -> None:
    callers = Callers(2)
    callers.began("a")
    assert callers.may_run("a")
    callers.began("a")
    assert not callers.may_run("a")
    assert callers.may_run("b")
    callers.ended("a")
    assert callers.may_run("a")


def test_without_a_limit_everybody_may() -> None:
    callers = Callers()
    assert not callers.limited
    assert callers.may_run("a")


def test_a_limit_that_is_taken_away_and_set_again_starts_from_nothing() -> None:
    """SIGHUP twice: whoever ended in between is not counted for ever."""
    rig = Rig(caller_limit=1)
    agent = rig.agent()
    rig.call()
    rig.settle()
    rig.hub.callers.set_limits(UNLIMITED, {})
    agent.visits[0].answer()
    rig.settle()
    rig.hub.callers.set_limits(1, {})
    second, third = rig.call(), rig.call()
    rig.settle()
    assert second.visits, "the first one is counted for ever"
    assert not third.visits
    second.visits[0].answer()
    rig.settle()
    third.visits[0].answer()
    rig.settle()
    rig.assert_nothing_left()


def test_who_began_without_a_limit_ends_under_one() -> None:
    callers = Callers()
    callers.set_limits(1, {})
    callers.ended("a")
    assert callers.may_run("a")
    callers.began("a")
    assert not callers.may_run("a")
