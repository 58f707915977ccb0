"""Several tunnels side by side: one agent, many hubs, each reached through a relay of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.reliability.rig import Rig
from tests.support.programs import Hub


class Lane:
    """One of them. Lanes do not share a session, so that a fault in one leaves the others alone."""

    def __init__(self, rig: Rig, number: int) -> None:
        self.rig = rig
        self.number = number
        self.hub: Hub = rig.hubs[number]
        self.ports = rig.legs(hub=number)

    def wait_whole(self) -> None:
        """Wait until every session stands again."""
        self.rig.wait_lane(self.hub, self.ports)

    def relay(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Command this lane's relays."""
        found: dict[str, Any] = self.rig.relay.ask(do, ports=self.ports, **arguments)
        return found


@contextmanager
def lanes(folder: Path, count: int, **options: Any) -> Iterator[list[Lane]]:
    """A running rig of `count` lanes."""
    with Rig(folder, hubs=count, agents=1, **options) as rig:
        yield [Lane(rig, number) for number in range(count)]


def in_parallel(work: Callable[[Lane], list[float]], found: list[Lane]) -> list[float]:
    """Run `work` in each lane at the same time; all values together."""
    with ThreadPoolExecutor(len(found)) as pool:
        return [value for values in pool.map(work, found) for value in values]
