"""What is up but not well, or says why something is down: clocks, ids used twice, silence, what ends soon.

Pure: read from the hub's objects when somebody asks, in one pass over the instances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from protocol.errors import SessionCode
from protocol.ops import expiry as ends
from protocol.ops.clock import HARMLESS
from protocol.ops.console.words import duration

from .. import expiry
from .shapes import Concern

if TYPE_CHECKING:
    from ..hub import Hub


def concerns(hub: Hub, now: float) -> Iterator[Concern]:
    """All of them, the graver kinds first. now: as time.time()."""
    skews: dict[str, float] = {}
    processes: Counter[str] = Counter()
    for instance in hub.instances:
        if instance.offers and not instance.leaving:
            processes[instance.agent_id] += 1
        for link in instance.links:
            if link.skew is not None and abs(link.skew) > HARMLESS:
                skews[instance.agent_id] = link.skew
    for agent, code in hub.last_ends.items():
        if code is SessionCode.SILENT and agent in hub.registered:
            yield Concern(about="silence", name=agent, text=f"{agent} went silent")
    for agent, number in processes.items():
        if number > 1:
            yield Concern(about="duplicate", name=agent, text=f"{number} processes have the agent id {agent}")
    for agent, ahead in skews.items():
        side = "ahead" if ahead > 0 else "behind"
        yield Concern(about="clock", name=agent, text=f"the clock of {agent} is {duration(abs(ahead))} {side}")
    for what, end in ends.soon(expiry.known(hub, now), now):
        yield Concern(about="expiry", name=what, text=ends.in_words(what, end, now))
