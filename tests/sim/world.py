"""A whole run from one seed: two processes, one or two sessions after each other, a link, a workload, faults.

`World(seed).run()` raises `Broken` (or whatever the session raised) when an invariant does not hold:

- each half arrives as an exact prefix, and a clean end is only seen when everything came (ledger.py);
- each stream ends exactly once on each side; nothing is reported after our own RESET (peer.py, exchange.py);
- credit is never exceeded, control frames precede DATA, no stream starves, messages are bounded (monitor.py);
- what is held, queued and grown stays within window, SEND_HIGH and budget (exchange.py, here);
- a live peer is never condemned, a silent one within three seconds (peer.py, here);
- in the end both tables are empty, every exchange has ended, and the budget is whole again (here).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from protocol.errors import SessionCode, SessionError
from protocol.events import Opened
from protocol.flow import MemoryBudget
from protocol.inflight import BASE_AGE, FLOOR, START
from protocol.limits import KIB, MIB, Limits
from protocol.session import Session

from .cheat import CHEATS, Forged
from .clock import Clock
from .exchange import AgentEnd, End, HubEnd
from .facts import check_answered, check_claims, offer
from .ledger import Broken, Half, require
from .monitor import Monitor
from .peer import Peer
from .script import DEADLINE, Script, draw
from .wire import Profile, Wire

STEPS_MAX = 30_000
LIVE_WITHIN = 1.7
"""Seconds: a link whose answers always take less than this must never look dead."""

FAULTS = (
    "none",
    "none",
    "cut",
    "half-open",
    "one-way",
    "freeze",
    "long stall",
    "close",
    "agent drain",
    "agent drain",
    "hub drain",
    "cheat",
    "cheat",
)
EPILOGUE = 35.0
"""Seconds that an idle world goes on: longer than any timeout of a session."""


class Plan(NamedTuple):
    """Everything that the seed decides at the beginning."""

    hub: Limits
    agent: Limits
    up: Profile
    down: Profile
    fault: str
    fault_at: float
    fault_gap: float
    exchanges: int
    restart: bool


def _limits(rng: random.Random) -> Limits:
    window = rng.choice([3_000, 16 * KIB, 20_000, 64 * KIB, 64 * KIB, 256 * KIB])
    return Limits(
        max_streams=rng.choice([1, 3, 8, 256]),
        window=window,
        window_max=rng.choice([window, 4 * window, 3 * window + 7, 16 * MIB]),
    )


def _profile(rng: random.Random, long_stall: bool) -> Profile:
    delay = rng.choice([0.0, 0.0001, 0.005, 0.04, 0.2])
    start = rng.random() * 2
    length = rng.choice([2.5, 6.0]) if long_stall else rng.choice([0.0, 0.0, 0.1])
    return Profile(
        delay=delay,
        jitter=rng.choice([0.0, 0.3]) * delay,
        rate=rng.choice([1e6, 4e6, 2e7, 1e9]),
        stall=(start, start + length),
    )


class World:
    """Both processes. `trace` gets one line per event when `verbose`."""

    def __init__(self, seed: int, verbose: bool = False) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.clock = Clock()
        self.verbose = verbose
        self.trace: list[str] = []
        fault = rng.choice(FAULTS)
        self.plan = Plan(
            hub=_limits(rng),
            agent=_limits(rng),
            up=_profile(rng, fault == "long stall"),
            down=_profile(rng, fault == "long stall" and rng.random() < 0.5),
            fault=fault,
            fault_at=rng.choice([0.0, rng.random() * 0.1, rng.random(), rng.random() * 4]),
            fault_gap=rng.choice([0.0, 0.0, 0.3, 1.0]),
            exchanges=rng.choice([1, 3, 8, 16, 30, 60]),
            restart=rng.random() < 0.3,
        )
        budget = [0, 64 * KIB, MIB, 16 * MIB]
        self.hub_budget = MemoryBudget(rng.choice(budget))
        self.agent_budget = MemoryBudget(rng.choice(budget))
        self.steps = 0
        self.grown = False
        self.condemned = 0
        self.not_dispatched = 0
        self.withdrawn = 0
        self.large_heads = False
        self.polite = False
        self.pending = 0
        self.peers: list[Peer] = []
        self.expected: set[SessionCode] = set()
        self.forging = False
        self.cheated: set[str] = set()
        self.sleeper: Peer | None = None
        self.sleeps_until = 0.0
        self.fault_begins = float("inf")
        self._silence_allowed = self.plan.up.worst + self.plan.down.worst > LIVE_WITHIN

    def note(self, who: str, what: object) -> None:
        if self.verbose:
            stream = getattr(what, "stream", "")
            self.trace.append(f"{self.clock.now - 1000:9.5f} {who:5} {type(what).__name__} {stream} {what!s:.80}")

    # -- Building -------------------------------------------------------------------------------------

    def _session(self, fault: str) -> None:
        """Two fresh peers with their link, the exchanges between them, and what is to go wrong."""
        plan, clock, rng = self.plan, self.clock, self.rng
        exchanges: dict[int, tuple[Script, Half, Half]] = {}

        def begin_at_agent(peer: Peer, event: Opened) -> None:
            require(event.stream.id in exchanges, "OPEN of a stream that nobody opened")
            script, request, answer = exchanges[event.stream.id]
            require(event.stream.id not in peer.by_id, "a stream was opened twice")
            end = AgentEnd(peer, script, script.answer, script.request_reader, answer, request)
            end.stream = event.stream
            peer.add(end)
            end.begin(event)

        hub = Peer(self, clock, rng, True, plan.hub, plan.agent, self.hub_budget, begin_at_agent)
        agent = Peer(self, clock, rng, False, plan.agent, plan.hub, self.agent_budget, begin_at_agent)
        hub.other, agent.other = agent, hub
        base = clock.now
        up, down = (p._replace(stall=(p.stall[0] + base, p.stall[1] + base)) for p in (plan.up, plan.down))
        hub.wire = Wire(clock, down, rng.random, agent.on_message, hub.on_writable)
        agent.wire = Wire(clock, up, rng.random, hub.on_message, agent.on_writable)
        hub.monitor = Monitor("hub to agent", plan.agent.window, True)
        agent.monitor = Monitor("agent to hub", plan.hub.window, False)
        tight = random.Random(self.seed)
        for peer in (hub, agent):  # what is under way is limited at once, and measured anew at once, in some
            peer.session.inflight.allowance = tight.choice([START, START, 64 * KIB, FLOOR])
            peer.session.inflight.base_at -= tight.choice([0.0, BASE_AGE])
        self.peers += [hub, agent]

        def open_one(script: Script, number: int, tries: int) -> None:
            session = hub.session
            if hub.lost is not None or session.peer_draining or tries > 60:
                self.pending -= 1
                return
            if not session.selectable:
                hub.later(0.05, open_one, script, number, tries + 1)
                return
            self.pending -= 1
            stream_id = session.last_opened + 2
            name = f"seed {self.seed}, stream {stream_id}"
            request = Half(f"{name} request", script.request.base, script.request.total)
            answer = Half(f"{name} answer", script.answer.base, script.answer.total)
            exchanges[stream_id] = (script, request, answer)
            end = HubEnd(hub, script, script.request, script.answer_reader, request, answer)
            end.begin(number)
            require(end.stream.id == stream_id, "a stream id was skipped")
            hub.add(end)

        large = rng.choice([150_000, 600_000])
        large_head = 40_000 if rng.random() < 0.1 else 0
        self.large_heads = self.large_heads or large_head > 0
        spread = 0.0 if large_head else rng.choice([0.0, 0.3, 2.0])
        for number in range(plan.exchanges):
            at = rng.random() * spread
            if fault == "agent drain" and rng.random() < 0.5:
                at = max(0.0, plan.fault_at + plan.fault_gap + rng.uniform(-0.1, 0.1))
            script = draw(rng, at, large, large_head)
            self.pending += 1
            hub.later(script.at, open_one, script, number, 0)
        if rng.random() < 0.2:
            hub.later(rng.random(), self._reset_all, hub)
        for number in range(rng.choice([0, 0, 3, 12])):
            agent.later(rng.random() * 2, offer, agent, number)
        hub.start()
        agent.start()
        self._fault(fault, hub, agent)

    def _fault(self, fault: str, hub: Peer, agent: Peer) -> None:
        clock, rng, at = self.clock, self.rng, self.plan.fault_at
        if fault == "long stall":
            self.expected |= {SessionCode.SILENT}
        elif fault == "freeze":
            duration = rng.choice([0.6, 2.4, 2.4, 4.0])
            self.sleeper = rng.choice([hub, agent])
            self.sleeps_until = clock.now + at + duration
            clock.after(at, self.sleeper.freeze, duration)
        elif fault == "close":
            clock.after(at, rng.choice([hub, agent]).close, SessionError(SessionCode.SHUTDOWN, "we close"))
        elif fault == "cheat":
            clock.after(at, self._cheat, rng.choice([hub, agent]), CHEATS[self.seed % len(CHEATS)], 150)
        elif fault == "agent drain":
            clock.after(at, self._drain, agent)
            self.polite = rng.random() < 0.4
            finish = self._finish_when_heard if self.polite else self._drain_finish
            clock.after(at + self.plan.fault_gap, finish, agent)
        elif fault == "hub drain":
            clock.after(at, self._drain, hub)
        elif fault in {"cut", "half-open", "one-way"}:
            clock.after(at, self._break, fault, hub, agent)

    @staticmethod
    def _reset_all(peer: Peer) -> None:
        if peer.lost is None:
            for end in peer.ends:
                if not end.finished:
                    end.reset(end.script.hub_code)

    def _drain(self, peer: Peer) -> None:
        if peer.lost is None:
            selectable = peer.session.selectable
            peer.session.drain(peer.now)
            peer.session.drain(peer.now)
            require(peer.session.selectable is selectable, "our own drain forbids us nothing")
            peer.wake()

    def _drain_finish(self, peer: Peer) -> None:
        if peer.lost is None:
            peer.session.drain_finish(peer.now)
            peer.session.drain_finish(peer.now)
            peer.wake()

    def _finish_when_heard(self, peer: Peer) -> None:
        if peer.lost is None and not peer.session.drain_heard:
            self.clock.after(0.01, self._finish_when_heard, peer)
        else:
            self._drain_finish(peer)

    def _cheat(self, victim: Peer, forge: Callable[[Session, random.Random], Forged], tries: int) -> None:
        """Deliver one forged message to `victim`, as soon as its session has a target for it."""
        if victim.lost is not None or not tries:
            return
        forged = None if victim.frozen else forge(victim.session, self.rng)
        if forged is None:
            self.clock.after(0.01, self._cheat, victim.other, forge, tries - 1)
            return
        message, code = forged
        self.expected |= {code}
        self.cheated.add(forge.__name__)
        self.forging = True
        victim.on_message(message)
        self.forging = False
        require(victim.lost is not None, f"{victim.name} accepted {forge.__name__}")
        assert victim.lost is not None
        require(victim.lost.code is code, f"{victim.name}: {victim.lost.code.name} for {forge.__name__}")

    def _break(self, fault: str, hub: Peer, agent: Peer) -> None:
        self.fault_begins = self.clock.now
        first, second = self.rng.sample([hub, agent], 2)
        first.wire.die()
        if fault != "one-way":
            second.wire.die()
        self.expected |= {SessionCode.SILENT}
        if fault == "cut":
            first.later(self.rng.random() * 0.2, first.cut)
            if self.rng.random() < 0.5:
                second.later(self.rng.random() * 0.2, second.cut)

    # -- Running --------------------------------------------------------------------------------------

    def on_lost(self, peer: Peer, error: SessionError) -> None:
        """One end is gone; the other hears of it after a while, if its wire still carries anything."""
        allowed = {SessionCode.SHUTDOWN, SessionCode.INTERNAL} | self.expected
        if self._silence_allowed or self.sleeper is not None:
            allowed.add(SessionCode.SILENT)
        require(error.code in allowed, f"{peer.name} lost its session: {error.code.name}: {error.message}")
        if error.code is SessionCode.SILENT and peer.other.lost is None:
            now = self.clock.now
            require(peer is not self.sleeper or now > self.sleeps_until + 1, "a sleeper condemned its live peer")
            alive = (
                self.sleeper is not peer.other and self.plan.fault != "long stall" and not self._silence_allowed
            )
            require(not alive or now > self.fault_begins + 0.9, f"{peer.name} condemned a live peer")
        self.condemned += error.code is SessionCode.SILENT
        self.clock.after(0.05 + self.plan.up.worst + self.plan.down.worst, peer.other.cut)

    def excuse(self, end: End) -> None:
        """A deadline passed: only a reader, the link or a fault may be the reason, never the sessions."""
        plan = self.plan
        load = sum(each.out.total for peer in self.peers for each in peer.ends)
        round_trip = plan.up.delay + plan.up.jitter + plan.down.delay + plan.down.jitter
        seconds = end.script.seconds((plan.agent.window, plan.hub.window), round_trip)
        seconds += 2 * load / min(plan.up.rate, plan.down.rate)
        broken = plan.fault not in {"none", "agent drain", "hub drain"} or end.peer.other.lost or end.peer.lost
        require(
            broken or seconds > DEADLINE,
            f"{end.out.name}: not over after {DEADLINE} s at the {end.peer.name}, {seconds:.2f} s would do",
        )

    def run(self) -> World:
        """Run to the end and check everything. The seed is in every message."""
        try:
            self._session(self.plan.fault)
            self._run()
            if self.plan.restart:
                for peer in self.peers:
                    peer.cut()
                self._session(self.rng.choice(["none", "cheat"]))
                self._run()
        except Exception as error:
            raise Broken(f"seed {self.seed}: {type(error).__name__}: {error}\n{self.plan}") from error
        return self

    def _run(self) -> None:
        clock = self.clock
        hub, agent = self.peers[-2:]
        end = clock.now + 2 * DEADLINE + 6 + 10
        quiet = False
        while clock.now < end:
            self.steps += 1
            require(self.steps < STEPS_MAX, "no end after so many steps")
            if not clock.step():
                quiet = quiet or self._quiet()
                break
            hub.check()
            agent.check()
            self._check_budgets()
            if not quiet and self.steps % 3 == 0 and self._quiet():
                quiet = True
                end = clock.now + EPILOGUE
        self._check_end()
        require(quiet, "the world never came to rest")

    def _quiet(self) -> bool:
        """Nothing can happen any more but probes."""
        if self.pending:
            return False
        for peer in self.peers[-2:]:
            if peer.lost is None and (peer.session.streams or peer.session.has_output() or peer.frozen):
                return False
            if peer.wire.in_flight and peer.other.lost is None:
                return False
            if any(not end.finished or end.pending for end in peer.ends):
                return False
        return True

    def _check_budgets(self) -> None:
        for budget, parity in ((self.hub_budget, 0), (self.agent_budget, 1)):
            growth = sum(end.growth() for peer in self.peers[parity::2] for end in peer.ends)
            self.grown = self.grown or growth > 0
            require(growth == budget.used <= budget.limit, f"growth {growth}, budget {budget.used}/{budget.limit}")

    def _check_end(self) -> None:
        for peer in self.peers[-2:]:
            for end in peer.ends:
                require(end.finished, f"{end.out.name}: {peer.name} never ended {end.stream!r}")
                if isinstance(end, HubEnd):
                    check_claims(end, peer.other_end(end))
            if peer.lost is None and peer.other.lost is None:
                require(peer.session.drain_heard is peer.session.draining, f"{peer.name}: the drain is not heard")
                require(peer.offers == peer.other.offers, "an OFFER was lost")
            if peer.lost is None:
                require(not peer.session.streams, f"{peer.name} keeps {peer.session.streams}")
                for end in peer.ends:
                    require(end.stream.closed, f"{end.out.name}: {end.stream!r} is not closed")
                    self._check_pair(end, peer)
        require(self.hub_budget.used == 0, f"the hub's budget misses {self.hub_budget.used}")
        require(self.agent_budget.used == 0, f"the agent's budget misses {self.agent_budget.used}")

    @staticmethod
    def _check_pair(end: HubEnd | AgentEnd, peer: Peer) -> None:
        """With the session alive, an exchange that nobody reset is complete on both sides."""
        other = peer.other_end(end)
        if peer.other.lost is not None:
            return
        if isinstance(end, HubEnd):
            check_answered(end, other)
        if other is None:
            require(end.over, f"{end.out.name}: complete at the hub, unknown to the agent")
        elif not end.over and not other.over:
            require(end.complete and other.complete, f"{end.out.name}: ended without being complete")
            require(end.inc.got == end.inc.total and other.inc.got == other.inc.total, "bytes are missing")
