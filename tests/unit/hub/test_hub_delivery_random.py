"""Hundreds of random steps: requests, answers, failures, losses, limits and time, in any order.

Whatever happens, each request has one answer, what its caller is told of delivery is true, a POST is dispatched
once at most, and afterwards nothing is left anywhere. A failure names its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from protocol.errors import StreamCode
from protocol.events import OfferState
from tests.unit.hub.caller import Call
from tests.unit.hub.rig import SETTINGS, HandLink, Rig, Visit
from tunnel_hub.delivery import KEEP_MAX
from tunnel_hub.instances import UNLIMITED
from tunnel_hub.repeat import IDEMPOTENT, LOST_MAX, REPEATS_MAX

METHODS = [b"GET", b"HEAD", b"PUT", b"DELETE", b"POST", b"POST", b"PATCH"]
BEFORE = [StreamCode(code) for code in StreamCode if 16 <= code < 32]
AFTER = [StreamCode(code) for code in StreamCode if not 16 <= code < 32]
STEPS = 250
SEEDS = 120


class World:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.random = chance = random.Random(seed)
        self.rig = Rig(
            SETTINGS._replace(
                deadline=chance.choice([1.0, 5.0]),
                hold=chance.choice([0.0, 1.0]),
                hold_limit=chance.choice([0, 3, 12]),
                hold_bytes=chance.choice([4000, 1 << 20]),
                queue_timeout=chance.choice([0.2, 2.0]),
                concurrency=chance.choice([1, 4, UNLIMITED]),
                caller_queue=chance.choice([2, UNLIMITED]),
                max_body=chance.choice([None, 60_000]),
            ),
            caller_limit=chance.choice([2, UNLIMITED]),
            agent_limit=chance.choice([None, 1, 4]),
        )

    # -- what there is ----------------------------------------------------------------------------------------

    @property
    def open_calls(self) -> list[Call]:
        return [call for call in self.rig.calls.values() if not call.over]

    @property
    def links(self) -> list[HandLink]:
        return [link for agent in self.rig.agents for link in agent.links]

    def some_visit(self, *, dispatched: bool | None = None, answering: bool = False) -> Visit | None:
        found = [
            visit
            for agent in self.rig.agents
            for visit in agent.waiting
            if visit.answering == answering and dispatched in (None, visit.dispatched)
        ]
        return self.random.choice(found) if found else None

    # -- steps ------------------------------------------------------------------------------------------------

    def request(self) -> None:
        chance = self.random
        body = chance.randbytes(chance.choice([0, 0, 5, 3000]))
        pieces = [
            chance.randbytes(chance.choice([1, 2000, 40_000])) for _ in range(chance.choice([0, 0, 0, 1, 4]))
        ]
        deadline = [b"Tunnel-Deadline", b"700ms"] if chance.random() < 0.3 else []
        caller = f"192.0.2.{chance.choice([1, 1, 1, 2, 3])}"
        expect = not body and bool(pieces) and chance.random() < 0.5
        if chance.random() < 0.1:
            self.rig.call(b"GET", *deadline, caller=caller, upgrade=b"echo").pieces.extend((b"in", b"the pipe"))
            return
        self.rig.call(chance.choice(METHODS), *deadline, body=body, pieces=pieces, caller=caller, expect=expect)

    def more_body(self) -> None:
        late = self.random.random() < 0.3  # a little may still arrive after `pause_body`
        calls = [
            call
            for call in self.open_calls
            if not call.finished_sending
            and (late or not call.reply.paused)
            and (call.exchange.request.upgrade is None or call.reply.status == 101)
        ]
        if calls:
            self.random.choice(calls).send_piece()

    def caller_goes(self) -> None:
        if self.open_calls:
            self.random.choice(self.open_calls).go()

    def agent_comes(self) -> None:
        if len(self.links) < 4:
            agent = self.rig.agent(self.random.choice(["leeds-1", "leeds-2"]), self.random.choice([1, 2]))
            if self.random.random() < 0.5:
                agent.links[0].agent_side.offer("visits", OfferState.UP, self.random.choice([1, 2, 5]))

    def session_comes(self) -> None:
        agents = [agent for agent in self.rig.agents if agent.links]
        if agents and len(self.links) < 5:
            self.random.choice(agents).connect()

    def session_dies(self) -> None:
        if self.links:
            self.random.choice(self.links).lose()

    def agent_dies(self) -> None:
        agents = [agent for agent in self.rig.agents if agent.links]
        if agents:
            self.random.choice(agents).die()

    def agent_drains(self) -> None:
        agents = [agent for agent in self.rig.agents if agent.links]
        if agents:
            self.random.choice(agents).drain()

    def agent_offers(self) -> None:
        if self.links:
            state = self.random.choice([OfferState.UP, OfferState.UP, OfferState.DOWN])
            limit = self.random.choice([None, 1, 2, 5])
            self.random.choice(self.links).agent_side.offer("visits", state, limit)

    def answer(self) -> None:
        if visit := self.some_visit():
            if visit.call.exchange.request.upgrade is not None and self.random.random() < 0.7:
                visit.answer(101, b"", end=False)
            else:
                visit.answer(end=self.random.random() < 0.7)

    def answer_ends(self) -> None:
        if visit := self.some_visit(answering=True):
            visit.finish(b"rest")

    def interim(self) -> None:
        if visit := self.some_visit():
            visit.interim(self.random.choice([100, 100, 103]))

    def upstream_takes(self) -> None:
        if visit := self.some_visit(dispatched=False):
            visit.dispatch()

    def fails_before(self) -> None:
        if visit := self.some_visit(dispatched=False):
            visit.fail(self.random.choice(BEFORE))

    def fails_after(self) -> None:
        if visit := self.some_visit(dispatched=True) or self.some_visit(answering=True):
            visit.fail(self.random.choice(AFTER))

    def travel(self) -> None:
        for link in self.links:
            if self.random.random() < 0.7:
                link.leave()
        for agent in self.rig.agents:
            for link in agent.ever:
                if self.random.random() < 0.5:
                    link.arrive(at_agent=self.random.random() < 0.5)

    def time_passes(self) -> None:
        self.rig.advance(self.random.choice([0.01, 0.1, 0.6]))

    def run(self) -> None:
        steps: list[tuple[Callable[[], None], int]] = [
            (self.request, 8),
            (self.more_body, 6),
            (self.caller_goes, 1),
            (self.agent_comes, 2),
            (self.session_comes, 1),
            (self.session_dies, 1),
            (self.agent_dies, 1),
            (self.agent_drains, 1),
            (self.agent_offers, 1),
            (self.answer, 5),
            (self.answer_ends, 4),
            (self.interim, 1),
            (self.upstream_takes, 4),
            (self.fails_before, 2),
            (self.fails_after, 1),
            (self.travel, 16),
            (self.time_passes, 5),
        ]
        plan = self.random.choices([step for step, _ in steps], [weight for _, weight in steps], k=STEPS)
        for step in plan:
            step()
            self.check()
        self.end()

    # -- checks -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Counters are those of the requests that run; who may run does not wait."""
        rig = self.rig
        service = rig.service
        running = [call.exchange.offer for call in self.open_calls if call.exchange.offer is not None]
        assert service.running == len(running)
        assert service.in_flight == rig.hub.in_flight == len(self.open_calls)
        assert len(service.queue) == len(self.open_calls) - len(running)
        for offer in rig.offers:
            assert offer.outstanding == running.count(offer)
        assert service.running <= service.settings.concurrency
        assert len(service.queue) <= service.settings.hold_limit
        self.check_memory()
        may_run = any(
            exchange.offer is None and not exchange._avoid and rig.hub.callers.may_run(exchange.caller)
            for exchange in (call.exchange for call in self.open_calls)
        )
        sound = any(offer.up and not offer.instance.draining for offer in service.offers)
        room = service.running < service.settings.concurrency and any(
            (offer.up or not sound)
            and offer.outstanding < offer.limit
            and offer.instance.outstanding < offer.instance.limit
            and any(link.usable for link in offer.instance.links)
            for offer in service.offers
        )
        assert not (may_run and room), "there is room, and somebody waits who may run"

    def check_memory(self) -> None:
        """What is kept of bodies is accounted for, and nothing is kept once it is of no use."""
        hub, service = self.rig.hub, self.rig.service
        exchanges = [call.exchange for call in self.open_calls]
        sizes = {each: sum(map(len, each._kept or [])) for each in exchanges}
        for each in exchanges:
            if each.offer is not None:
                assert each._kept_size == sizes[each] <= KEEP_MAX
                assert not (each._head_sent and each._kept)
        assert hub.kept.used == sum(each._kept_size for each in exchanges)
        assert service.queue.bytes == sum(
            len(each.request.body) + sizes[each] for each in exchanges if each.offer is None
        )

    def end(self) -> None:
        """Half of the time everybody serves what is left, else nobody does; then the truth is compared."""
        rig = self.rig
        if self.random.random() < 0.5:
            rig.agent()
            for _ in range(SEEDS):
                for call in self.open_calls:
                    if call.exchange.request.upgrade is None or call.reply.status == 101:
                        call.send_piece()
                rig.settle()
                for agent in rig.agents:
                    for visit in agent.waiting:
                        (visit.finish if visit.answering else visit.answer)()
                rig.settle()
        rig.advance(2.0)
        for agent in rig.agents:
            agent.die()
        for call in self.open_calls:
            if call.exchange.request.complete or call.reply.status:
                continue
            call.go()  # an upload is not bounded by the deadline; the caller gives up
        rig.advance(10.0)
        for agent in rig.agents:  # an agent may still do so when its hub has given up
            for link in agent.ever:
                while link.to_agent:
                    link.arrive(at_agent=True)
            for visit in agent.waiting:
                visit.dispatch()
        rig.assert_nothing_left()
        records = {line[3].decode(): line for line in rig.log}
        for call in rig.calls.values():
            assert_true(call, records[call.name][9])


def assert_true(call: Call, logged: str) -> None:
    """What the caller was told, or would have been, is what happened."""
    reply = call.reply
    if reply.delivered:
        assert reply.delivered == logged
    if logged == "no":
        assert not call.dispatched, f"{call.name} {call.method!r}: {reply.status} says that nothing was delivered"
    elif logged == "yes":
        assert call.dispatched
    if reply.status == 503:
        assert reply.delivered == "no"
    if call.method in IDEMPOTENT:
        assert call.dispatched <= 1 + LOST_MAX
    else:
        assert call.dispatched <= 1, f"{call.name} {call.method!r} was dispatched twice"
    assert len(call.visits) <= 1 + REPEATS_MAX
    for visit in call.visits if call.exchange.request.upgrade is None else ():
        if visit.whole:
            assert visit.body == call.body
        else:
            assert call.body.startswith(visit.body)
    if reply.ending == "end" and not reply.delivered:
        assert reply.content in ((b"", b"rest") if reply.status == 101 else (b"ok", b"okrest", b"rest"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_steps(seed: int) -> None:
    World(seed).run()


def test_these_runs_reach_what_matters() -> None:
    """Repeats, holds, evictions and every kind of delivery occur: the checks above are not idle."""
    seen: set[str] = set()
    for seed in range(SEEDS):
        world = World(seed)
        world.run()
        service = world.rig.service
        seen |= set(service.repeats)
        seen |= {f"delivered {line[9]}" for line in world.rig.log}
        seen |= {f"status {line[6]}" for line in world.rig.log}
        if service.evictions:
            seen.add("eviction")
        if service.holds:
            seen.add("hold")
    assert seen >= {
        *("session_lost", "not_dispatched", "overloaded", "connect_failed", "eviction", "hold"),
        *("delivered no", "delivered unknown", "delivered yes"),
        *("status 101", "status 200", "status 499", "status 413", "status 502", "status 503", "status 504"),
    }
