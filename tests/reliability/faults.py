"""Everything that a run does to a rig at random, and when it did it."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping

from tests.reliability.rig import Rig
from tests.support.programs import Agent, Hub

NETWORK = {"cut a leg": 6, "cut a hub's legs": 3, "cut everything": 1}
CRASHES = {"kill an agent": 2, "kill a hub": 1}
TROUBLES = {
    "black hole": 2,
    "stall": 2,
    "refuse": 1,
    "reset the upstream": 2,
    "restart an agent": 2,
    "replace a hub": 2,
    "pause an agent": 1,
    "reload": 1,
}
EVERY = {**NETWORK, **CRASHES, **TROUBLES}
SHORT = 0.5
"""Seconds that a stall, a refusal or a pause lasts."""


class Faults:
    """Draws faults and does them, one at a time."""

    def __init__(self, rig: Rig, kinds: Mapping[str, float], seed: int, *, spare_first: bool = False) -> None:
        """spare_first: the first hub and the first agent are never ended, so that they can grow old."""
        self.rig = rig
        self.done: Counter[str] = Counter()
        self.kills: list[tuple[int, float]] = []
        """Callers' port and moment of each kill of a hub."""
        self._kinds = dict(kinds)
        self._random = random.Random(seed)
        self._spare = spare_first
        self._acts: dict[str, Callable[[], None]] = {
            "cut a leg": lambda: self._cut([self._leg()]),
            "cut a hub's legs": lambda: self._cut(rig.legs(hub=self._random.randrange(len(rig.hubs)))),
            "cut everything": lambda: self._cut(rig.legs()),
            "black hole": lambda: rig.relay.ask("black_hole", ports=[self._leg()]),
            "stall": self._stall,
            "refuse": self._refuse,
            "reset the upstream": lambda: rig.ledger.ask("cut"),
            "restart an agent": lambda: rig.restart(self._agent()),
            "replace a hub": lambda: rig.replace(self._hub()),
            "kill an agent": lambda: self._crash(self._agent()),
            "kill a hub": lambda: self._kill(self._hub()),
            "pause an agent": self._pause,
            "reload": lambda: self._random.choice(rig.programs).signal(signal.SIGHUP),
        }

    def strike(self) -> tuple[str, float]:
        """Do one fault to its end; which, and when it began."""
        kind = self._random.choices(list(self._kinds), list(self._kinds.values()))[0]
        self.done[kind] += 1
        at = time.monotonic()
        self._acts[kind]()
        return kind, at

    def pause(self, mean: float) -> float:
        """Seconds until the next fault."""
        return self._random.uniform(0, 2 * mean)

    def _leg(self) -> int:
        return self._random.choice(self.rig.legs())

    def _agent(self) -> Agent:
        return self._random.choice(self.rig.agents[1:] if self._spare else self.rig.agents)

    def _hub(self) -> Hub:
        return self._random.choice(self.rig.hubs[1:] if self._spare else self.rig.hubs)

    def _cut(self, ports: list[int]) -> None:
        self.rig.cut(ports, self._random.choice(("reset", "fin")))

    def _stall(self) -> None:
        ports = [self._leg()]
        self.rig.relay.ask("stall", ports=ports)
        time.sleep(SHORT)
        self.rig.relay.ask("flow", ports=ports)

    def _refuse(self) -> None:
        ports = [self._leg()]
        self.rig.relay.ask("refuse", ports=ports)
        self._cut(ports)
        time.sleep(SHORT)
        self.rig.relay.ask("listen", ports=ports)

    def _pause(self) -> None:
        agent = self._agent()
        agent.pause()
        time.sleep(SHORT)
        agent.resume()

    def _crash(self, agent: Agent) -> None:
        self.rig.crash(agent)

    def _kill(self, hub: Hub) -> None:
        self.kills.append((hub.callers_port, time.monotonic()))
        self.rig.crash(hub)
