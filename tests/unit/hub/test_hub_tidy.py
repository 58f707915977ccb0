"""When the collector of garbage is told what, and agents that the hub goes away, by a virtual clock."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.aio.wheel import Wheel
from tests.support import virtual
from tunnel_hub.farewells import TELL, TELL_EVERY, Farewells
from tunnel_hub.tidy import CLEAN_EVERY, GARBAGE_MAX, LOOKS_MAX, SETTLE_EVERY, Tidy


def test_sessions_settle_as_they_become_more_and_garbage_waits_for_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("freeze", "unfreeze", "collect"):
        monkeypatch.setattr(gc, name, lambda name=name: calls.append(name))
    busy = True

    async def work() -> None:
        nonlocal busy
        wheel = Wheel(asyncio.get_running_loop())
        tidy = Tidy(wheel, lambda: busy)
        tidy.start()
        for sessions in range(1, SETTLE_EVERY):
            tidy.came(sessions)
        assert calls == []
        tidy.came(SETTLE_EVERY)
        assert calls == ["freeze"]
        for _ in range(1000):
            tidy.went(SETTLE_EVERY - 1)
            tidy.came(SETTLE_EVERY)
        assert calls == ["freeze"], "they only take each other's place"
        calls.clear()
        await asyncio.sleep(2.5 * CLEAN_EVERY)
        assert calls == [], "not while requests run"
        busy = False
        await asyncio.sleep(CLEAN_EVERY)
        assert calls == ["unfreeze", "collect", "freeze"]
        await asyncio.sleep(LOOKS_MAX * CLEAN_EVERY)
        assert len(calls) == 3, "nothing went since"
        busy = True
        for sessions in range(SETTLE_EVERY, 0, -1):
            tidy.went(sessions - 1)
        for sessions in range(1, SETTLE_EVERY + 1):
            tidy.came(sessions)
        assert calls[3:] == ["freeze"], "a herd that comes back settles again"
        await asyncio.sleep((LOOKS_MAX + 1) * CLEAN_EVERY)
        assert calls[4:] == ["unfreeze", "collect", "freeze"], "at last at a bad moment"
        wheel.close()

    virtual.run(work())


def test_an_agent_that_comes_and_goes_cannot_make_its_garbage_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """With requests running nobody would look at it for minutes, and it may come a hundred times a second."""
    freezes: list[int] = []
    gone = 0
    monkeypatch.setattr(gc, "freeze", lambda: freezes.append(gone))
    for name in ("unfreeze", "collect"):
        monkeypatch.setattr(gc, name, lambda: None)

    async def work() -> None:
        nonlocal gone
        wheel = Wheel(asyncio.get_running_loop())
        tidy = Tidy(wheel, lambda: True)
        tidy.start()
        for _ in range(1000):
            for sessions in range(1, SETTLE_EVERY + 1):
                tidy.came(sessions)
            for sessions in range(SETTLE_EVERY, 0, -1):
                gone += 1
                tidy.went(sessions - 1)
        assert GARBAGE_MAX - SETTLE_EVERY <= freezes[-1] <= GARBAGE_MAX + SETTLE_EVERY
        freezes.clear()
        await asyncio.sleep((LOOKS_MAX + 1) * CLEAN_EVERY)
        for sessions in range(1, SETTLE_EVERY + 1):
            tidy.came(sessions)
        assert len(freezes) == 2, "by the collection, and for those that came since"
        wheel.close()

    virtual.run(work())


def test_agents_are_told_one_after_the_other_the_busiest_first() -> None:
    told: list[tuple[float, int]] = []
    ended: list[int] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()

        def link(number: int) -> Any:
            def drain(now: float) -> None:
                told.append((now - began, number))

            session = SimpleNamespace(last_opened=number, drain=drain)
            return SimpleNamespace(session=session, wake=lambda: None, close=lambda *_: ended.append(number))

        links = [link(number) for number in (5, 1, 99, 7, 3, 2, 8)]
        farewells = Farewells(loop)
        farewells.tell(links)
        assert [number for _, number in told] == [99, 8, 7][:TELL]
        assert farewells.telling
        await asyncio.sleep(10 * TELL_EVERY)
        assert [number for _, number in told] == [99, 8, 7, 5, 3, 2, 1]
        assert told[TELL][0] >= TELL_EVERY
        assert not farewells.telling
        farewells.tell(links)
        await farewells.end(links)
        assert not farewells.telling
        assert len(ended) == 7

    virtual.run(work())
