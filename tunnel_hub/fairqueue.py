"""Requests that wait, each caller in its own lane, the lanes in turn: a flood of one delays only itself.

Pure. Within a lane the order is that of arrival. When the queue is full, whoever has the longest lane gives way: a
newcomer to a shorter lane takes the place of the longest lane's last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

W = TypeVar("W")


class FairQueue(Generic[W]):
    """`size` items wait, and `bytes` is the sum of what was given as their sizes. An item waits at most once."""

    __slots__ = ("_lanes", "bytes", "size")

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, OrderedDict[W, int]] = OrderedDict()
        self.size = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self.size

    def lane(self, caller: str) -> int:
        """How many requests of this caller wait."""
        lane = self._lanes.get(caller)
        return 0 if lane is None else len(lane)

    def push(self, caller: str, item: W, size: int, *, first: bool = False) -> None:
        """Let `item` wait behind its caller's others, or, with `first`, before them: it had its turn already."""
        lane = self._lanes.get(caller)
        if lane is None:
            lane = self._lanes[caller] = OrderedDict()
        lane[item] = size
        if first:
            lane.move_to_end(item, last=False)
        self.size += 1
        self.bytes += size

    def grow(self, caller: str, item: W, size: int) -> None:
        """`item`, which waits, has become larger by `size` bytes."""
        self._lanes[caller][item] += size
        self.bytes += size

    def remove(self, caller: str, item: W) -> bool:
        """`item` waits no more; False if it did not."""
        lane = self._lanes.get(caller)
        if lane is None or item not in lane:
            return False
        self._take(caller, lane, item)
        return True

    def pop(self, may_run: Callable[[str], bool]) -> W | None:
        """The next request in turn among the callers that may run another one; None when there is none."""
        for caller, lane in self._lanes.items():
            if may_run(caller):
                item = next(iter(lane))
                if self._take(caller, lane, item):
                    self._lanes.move_to_end(caller)
                return item
        return None

    def make_room(self, caller: str) -> W | None:
        """Remove the last request of the longest lane if one more of `caller` would still be shorter.

        Returns what was removed, or None: the caller itself has the longest lane.
        """
        longest = max(self._lanes, key=lambda each: len(self._lanes[each]), default=None)
        if longest is None or len(self._lanes[longest]) <= self.lane(caller) + 1:
            return None
        lane = self._lanes[longest]
        item = next(reversed(lane))
        self._take(longest, lane, item)
        return item

    def _take(self, caller: str, lane: OrderedDict[W, int], item: W) -> bool:
        """Remove; whether the lane goes on."""
        self.bytes -= lane.pop(item)
        self.size -= 1
        if not lane:
            del self._lanes[caller]
        return bool(lane)
