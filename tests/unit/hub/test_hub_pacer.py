"""Turns for handshakes, by a virtual clock."""

from __future__ import annotations

import asyncio

from tests.support import virtual
from tunnel_hub.pacer import BURST, LONGEST, Pacer


async def turns(pacer: Pacer, number: int) -> list[float | None]:
    """After how many seconds each of so many that come at once has its turn; None: sent away."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one() -> float | None:
        return loop.time() - began if await pacer.turn() else None

    return list(await asyncio.gather(*(one() for _ in range(number))))


def test_a_few_need_not_wait() -> None:
    async def work() -> None:
        assert await turns(Pacer(asyncio.get_running_loop(), 10, lambda: True), BURST) == [0.0] * BURST

    virtual.run(work())


def test_a_herd_is_spread_and_its_end_sent_away() -> None:
    async def work() -> None:
        rate = 50
        got = await turns(Pacer(asyncio.get_running_loop(), rate, lambda: True), 1000)
        times = [at for at in got if at is not None]
        assert times == sorted(times), "first come, first served"
        assert max(times) <= LONGEST + 0.001
        for second in range(int(LONGEST)):
            began = [at for at in times if second < at <= second + 1]
            assert rate - 1 <= len(began) <= rate + 1
        assert len(times) >= LONGEST * rate
        assert got[-1] is None
        assert got.index(None) == len(times), "whoever comes later is not preferred"

    virtual.run(work())


def test_quiet_earns_a_burst_and_no_more() -> None:
    async def work() -> None:
        pacer = Pacer(asyncio.get_running_loop(), 10, lambda: True)
        await turns(pacer, 30)
        await asyncio.sleep(3600)
        times = await turns(pacer, BURST + 5)
        waited = [at for at in times if at]
        assert 4 <= len(waited) <= 5

    virtual.run(work())


def test_while_no_request_runs_turns_come_fast_and_slow_down_when_one_does() -> None:
    async def work() -> None:
        busy = False
        pacer = Pacer(asyncio.get_running_loop(), 10, lambda: busy)
        times = [at for at in await turns(pacer, 500) if at is not None]
        assert len(times) == 500
        assert max(times) <= 0.5
        busy = True
        times = [at for at in await turns(pacer, 40) if at is not None]
        assert max(times) >= 1.5

    virtual.run(work())


def test_whoever_gives_up_costs_no_turn() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        pacer = Pacer(loop, 10, lambda: True)
        await turns(pacer, BURST)
        waiting = [asyncio.ensure_future(pacer.turn()) for _ in range(20)]
        await asyncio.sleep(0)
        for impatient in waiting[:-1]:
            impatient.cancel()
        began = loop.time()
        assert await waiting[-1]
        assert loop.time() - began <= 0.2

    virtual.run(work())
