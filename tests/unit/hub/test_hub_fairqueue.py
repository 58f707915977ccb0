"""The fair queue against a naive one, by random operations."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tunnel_hub.fairqueue import FairQueue

CALLERS = st.sampled_from(["a", "b", "c", "d"])
SIZES = st.integers(0, 1000)


class FairQueueMachine(RuleBasedStateMachine):
    """`lanes`: what waits, by caller, in order; `passed`: whose turns others had since they began to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.lanes: dict[str, list[int]] = {}
        self.sizes: dict[int, int] = {}
        self.passed: dict[str, dict[str, int]] = {}
        self.blocked: frozenset[str] = frozenset()
        self.count = 0

    @rule(caller=CALLERS, size=SIZES, first=st.booleans())
    def push(self, caller: str, size: int, first: bool) -> None:
        item = self.count
        self.count += 1
        self.queue.push(caller, item, size, first=first)
        lane = self.lanes.setdefault(caller, [])
        lane.insert(0 if first else len(lane), item)
        self.sizes[item] = size

    @precondition(lambda self: self.sizes)
    @rule(data=st.data(), more=SIZES)
    def grow(self, data: st.DataObject, more: int) -> None:
        item = data.draw(st.sampled_from(sorted(self.sizes)))
        self.queue.grow(self.caller_of(item), item, more)
        self.sizes[item] += more

    @precondition(lambda self: self.count)
    @rule(data=st.data(), caller=CALLERS)
    def remove(self, data: st.DataObject, caller: str) -> None:
        item = data.draw(st.integers(0, self.count - 1))
        waits = item in self.lanes.get(caller, [])
        assert self.queue.remove(caller, item) is waits
        if waits:
            self.gone(caller, item)

    @rule(blocked=st.frozensets(CALLERS))
    def block(self, blocked: frozenset[str]) -> None:
        """These callers may run nothing more for now."""
        self.blocked = blocked

    @rule()
    def pop(self) -> None:
        item = self.queue.pop(lambda caller: caller not in self.blocked)
        able = [caller for caller in self.lanes if caller not in self.blocked]
        if not able:
            assert item is None
            return
        assert item is not None
        caller = self.caller_of(item)
        assert caller in able
        assert item == self.lanes[caller][0], "not the first of its lane"
        for other in able:
            if other != caller:
                turns = self.passed.setdefault(other, {})
                assert turns.get(caller, 0) == 0, f"{caller} had a second turn while {other} waited"
                turns[caller] = 1
        self.passed.pop(caller, None)
        for other in self.blocked:
            self.passed.pop(other, None)  # who may not run is passed over
        self.gone(caller, item)

    @rule(caller=CALLERS)
    def make_room(self, caller: str) -> None:
        item = self.queue.make_room(caller)
        own = len(self.lanes.get(caller, []))
        longest = max((len(lane) for lane in self.lanes.values()), default=0)
        if longest <= own + 1:
            assert item is None
            return
        assert item is not None
        victim = self.caller_of(item)
        assert victim != caller
        assert len(self.lanes[victim]) == longest
        assert item == self.lanes[victim][-1], "not the last of its lane"
        self.gone(victim, item)

    def caller_of(self, item: int) -> str:
        return next(caller for caller, lane in self.lanes.items() if item in lane)

    def gone(self, caller: str, item: int) -> None:
        self.lanes[caller].remove(item)
        del self.sizes[item]
        if not self.lanes[caller]:
            del self.lanes[caller]
            self.passed.pop(caller, None)

    @invariant()
    def counts_are_exact(self) -> None:
        assert len(self.queue) == len(self.sizes)
        assert bool(self.queue) == bool(self.sizes)
        assert self.queue.bytes == sum(self.sizes.values())
        for caller in "abcd":
            assert self.queue.lane(caller) == len(self.lanes.get(caller, []))


TestFairQueue = FairQueueMachine.TestCase
TestFairQueue.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_a_flood_delays_only_itself() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(500):
        queue.push("flood", f"flood-{number}", 1)
    queue.push("other", "other-0", 1)
    queue.push("other", "other-1", 1)
    order = [queue.pop(lambda _: True) for _ in range(6)]
    assert order == ["flood-0", "other-0", "flood-1", "other-1", "flood-2", "flood-3"]
