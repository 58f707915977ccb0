"""Who gets a request, what waits, and who gives way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.hub.rig import SETTINGS
from tunnel_hub.callers import Callers
from tunnel_hub.hub import Hub
from tunnel_hub.instances import UNLIMITED, Instance, Instances, Offer
from tunnel_hub.service import Service


class FakeLink:
    def __init__(self, streams: int, usable: bool, draining: bool) -> None:
        self.usable = usable
        self.session = SimpleNamespace(streams=dict.fromkeys(range(streams)), peer_draining=draining)


def fake_link(streams: int = 0, *, usable: bool = True, draining: bool = False) -> Any:
    return FakeLink(streams, usable, draining)


def offer_of(*links: Any, limit: int = UNLIMITED, outstanding: int = 0, up: bool = True) -> Offer:
    instance = Instance("leeds-1", b"i", UNLIMITED)
    instance.links.extend(links or [fake_link()])
    offer = instance.offer("visits")
    offer.limit, offer.outstanding, offer.up = limit, outstanding, up
    return offer


def service_of(*offers: Offer, callers: Callers | None = None, **settings: Any) -> Service:
    service = Service("visits", SETTINGS._replace(**settings), callers or Callers())
    for offer in offers:
        service.add(offer)
    return service


class Waits:
    """A request that waits and runs for ever once it is sent."""

    def __init__(self, service: Service, caller: str, callers: Callers | None = None) -> None:
        self.service = service
        self.caller = caller
        self.callers = callers
        self.sent_to: Offer | None = None
        self.gave_way = False

    def dispatch(self, offer: Offer, _link: Any) -> None:
        assert self.sent_to is None
        self.sent_to = offer
        offer.outstanding += 1
        self.service.running += 1
        if self.callers is not None:
            self.callers.began(self.caller)

    def give_way(self) -> None:
        self.gave_way = True


def chosen(service: Service, **avoid: Any) -> Offer | None:
    found = service.choose(**avoid)
    return None if found is None else found[0]


# -- choose -------------------------------------------------------------------------------------------------------


def test_fewest_requests_win() -> None:
    busy, idle = offer_of(outstanding=2), offer_of(outstanding=1)
    assert chosen(service_of(busy, idle)) is idle
    assert chosen(service_of(idle, busy)) is idle


def test_a_failing_upstream_is_the_last_resort() -> None:
    down, up = offer_of(up=False), offer_of(outstanding=50)
    service = service_of(down, up)
    assert chosen(service) is up
    up.limit = 50
    assert service.choose() is None, "who is only busy is worth waiting for"
    service.remove(up)
    assert chosen(service) is down, "better than nobody"


def test_who_is_full_draining_or_avoided_is_not_chosen() -> None:
    full = offer_of(limit=1, outstanding=1)
    agent_full = offer_of()
    agent_full.instance.limit = agent_full.instance.outstanding = 3
    draining = offer_of(fake_link(usable=False))
    avoided = offer_of()
    service = service_of(full, agent_full, draining, avoided)
    assert chosen(service, avoid=frozenset({avoided})) is None
    assert chosen(service) is avoided


def test_equals_take_turns() -> None:
    offers = [offer_of(), offer_of(), offer_of()]
    service = service_of(*offers)
    assert [chosen(service) for _ in range(6)] == offers * 2
    offers[2].outstanding = 1
    assert [chosen(service) for _ in range(4)] == offers[:2] * 2, "a busy one in between changes nothing"


def test_the_sessions_of_an_agent_take_turns_and_the_idle_one_wins() -> None:
    first, second, busy = fake_link(), fake_link(), fake_link(3)
    instance = offer_of(first, second, busy).instance
    assert [instance.pick() for _ in range(4)] == [first, second, first, second]
    second.session.streams[0] = None
    assert [instance.pick() for _ in range(2)] == [first, first]
    first.usable = second.usable = False
    assert instance.pick() is busy
    busy.usable = False
    assert instance.pick() is None


def test_up_is_about_agents_that_stay() -> None:
    service = service_of()
    assert not service.up
    service.add(offer_of(fake_link(draining=True)))
    assert not service.up
    service.add(offer_of(fake_link(draining=True), fake_link(), limit=1, outstanding=1))
    assert service.up
    assert service.sessions == 3


# -- admit, wait, pump ---------------------------------------------------------------------------------------


def test_admitted_at_once_up_to_the_limit() -> None:
    service = service_of(offer_of(), concurrency=2)
    assert service.admit("a") is not None
    service.running = 2
    assert service.admit("a") is None


def test_nobody_overtakes_who_waits_for_the_same() -> None:
    offer = offer_of(limit=1, outstanding=1)
    service = service_of(offer)
    first = Waits(service, "a")
    assert service.wait(first, 0)
    offer.outstanding = 0
    assert service.admit("b") is None
    assert first.sent_to is offer


def test_callers_at_their_limit_hold_back_nobody() -> None:
    callers = Callers(1)
    callers.began("a")
    service = service_of(offer_of(), callers=callers)
    waits = Waits(service, "a", callers)
    assert service.wait(waits, 0)
    assert service.admit("b") is not None
    assert waits.sent_to is None
    callers.ended("a")
    service.pump()
    assert waits.sent_to is not None


def test_a_full_queue_of_callers_at_their_limits_refuses_and_evicts_nobody_who_may_run() -> None:
    """What another caller's requests wait for is not short: there is room at the agent."""
    callers = Callers(1)
    callers.began("a")
    service = service_of(offer_of(), callers=callers, hold_limit=3)
    waiting = [Waits(service, "a", callers) for _ in range(3)]
    assert all(service.wait(each, 0) for each in waiting)
    assert service.admit("b") is not None
    assert not any(each.gave_way for each in waiting)


def test_pump_sends_in_turn_as_far_as_there_is_room() -> None:
    offer = offer_of(limit=3, outstanding=3)
    service = service_of(offer)
    flood = [Waits(service, "flood") for _ in range(4)]
    other = Waits(service, "other")
    for each in (*flood, other):
        assert service.wait(each, 0)
    offer.outstanding = 0
    service.pump()
    assert [each.sent_to is offer for each in (*flood, other)] == [True, True, False, False, True]
    assert (offer.outstanding, service.running, len(service.queue)) == (3, 3, 2)


def test_a_newcomer_takes_the_place_of_the_longest_lanes_last() -> None:
    service = service_of(hold_limit=3)
    flood = [Waits(service, "flood") for _ in range(3)]
    assert all(service.wait(each, 10) for each in flood)
    assert not service.wait(Waits(service, "flood"), 10)
    assert service.wait(Waits(service, "other"), 10)
    assert [each.gave_way for each in flood] == [False, False, True]
    assert (len(service.queue), service.evictions) == (3, 1)


@pytest.mark.parametrize("settings", [{"hold_limit": 0}, {"hold_bytes": 9}])
def test_what_can_never_wait_evicts_nobody(settings: dict[str, int]) -> None:
    service = service_of(**{"hold_bytes": 100, **settings})
    flood = [Waits(service, "flood") for _ in range(3)]
    for each in flood:
        service.wait(each, 1)
    assert not service.wait(Waits(service, "other"), 10)
    assert not any(each.gave_way for each in flood)


def test_bytes_are_bounded() -> None:
    service = service_of(hold_bytes=100)
    assert service.wait(Waits(service, "a"), 60)
    assert not service.wait(Waits(service, "b"), 41)
    assert service.wait(Waits(service, "b"), 40)
    assert service.queue.bytes == 100


def test_a_new_offer_sends_what_waits() -> None:
    service = service_of()
    waits = Waits(service, "a")
    assert service.wait(waits, 0)
    offer = offer_of()
    service.add(offer)
    assert waits.sent_to is offer
    service.add(offer)
    assert service.offers == [offer]
    service.remove(offer)
    service.remove(offer)
    assert service.offers == []


# -- instances ---------------------------------------------------------------------------------------------


def test_instances_come_and_go_with_their_sessions() -> None:
    known = Instances()
    one, two, clone = (fake_link() for _ in range(3))
    instance = known.add("leeds-1", b"1", 5, one)
    assert known.add("leeds-1", b"1", 5, two) is instance
    assert known.others("leeds-1", b"1") == []
    copy = known.add("leeds-1", b"2", 5, clone)
    assert known.others("leeds-1", b"1") == [], "without services it can only be a check"
    copy.offer("visits")
    assert known.others("leeds-1", b"1") == [copy]
    assert known.of("leeds-1") == [instance, copy]
    clone.session.peer_draining = True
    assert known.others("leeds-1", b"1") == [], "who drains is on its way out"
    assert known.remove("leeds-1", b"1", one) is None
    assert known.remove("leeds-1", b"1", one) is None
    assert known.remove("leeds-1", b"1", two) is instance
    assert known.find("leeds-1", b"1") is None
    assert known.remove("leeds-1", b"1", two) is None
    assert list(known) == [copy]


def test_a_busy_agent_is_waited_for_rather_than_a_failing_one_chosen() -> None:
    busy, failing = offer_of(limit=1, outstanding=1), offer_of(up=False)
    service = service_of(busy, failing)
    assert service.choose() is None
    assert service.others(frozenset({failing}))
    busy.instance.links[:] = [fake_link(draining=True)]
    assert service.choose() == (failing, failing.instance.links[0]), "nobody else is there to stay"
    assert not service.others(frozenset({failing}))
    failing.up = True
    service.add(failing)
    assert not service.failing


def test_a_place_that_services_share_goes_round_among_them() -> None:
    """One agent, one place, three services: a flood on one does not starve the others."""
    instance = Instance("leeds-1", b"i", 1)
    instance.links.append(fake_link())
    services = {name: Service(name, SETTINGS, Callers()) for name in ("a", "b", "c")}
    for name, service in services.items():
        service.add(instance.offer(name))
    hub = object.__new__(Hub)
    hub.services = services
    order: list[str] = []

    class Shared(Waits):
        def dispatch(self, offer: Offer, link: Any) -> None:
            super().dispatch(offer, link)
            instance.outstanding += 1
            order.append(self.service.name)

    for _ in range(10):
        services["a"].wait(Shared(services["a"], "flood"), 0)
    for name in ("b", "c"):
        for _ in range(3):
            services[name].wait(Shared(services[name], "late"), 0)
    hub.pump()
    while len(order) < 9:
        ended = services[order[-1]]
        ended.running -= 1
        instance.outstanding -= 1
        instance.offers[ended.name].outstanding -= 1
        hub.pump(behind=ended)
    assert "".join(order) == "abcabcabc"
