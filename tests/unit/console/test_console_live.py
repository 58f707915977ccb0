"""Pages that renew themselves: one look a second for all, only what has changed, and a bound on listeners."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from protocol.ops.console import live as module
from protocol.ops.console.live import Live


class Looks:
    """A render function that counts."""

    def __init__(self) -> None:
        self.count = 0
        self.still = "same"

    def __call__(self) -> dict[str, str]:
        self.count += 1
        return {"number": str(self.count), "still": self.still}


async def parts(stream: AsyncIterator[Any]) -> dict[str, str]:
    """The next event's parts."""
    async with asyncio.timeout(5):
        async for piece in stream:
            text = bytes(piece).decode()
            if text.startswith("event: parts"):
                found: dict[str, str] = json.loads(text.partition("data: ")[2])
                return found
    raise AssertionError("the stream has ended")


def open_stream(live: Live, render: Looks, view: str = "overview") -> Any:
    return live.stream(view, render).body_iterator


async def test_only_what_has_changed() -> None:
    live, looks = Live(every=0.01), Looks()
    stream = open_stream(live, looks)
    assert (await parts(stream)).keys() == {"number", "still"}
    assert (await parts(stream)).keys() == {"number"}
    looks.still = "other"
    while "still" not in (found := await parts(stream)):
        pass
    assert found["still"] == "other"
    await stream.aclose()
    live.stop()


async def test_one_look_for_all_and_none_for_nobody() -> None:
    live, looks = Live(every=0.01), Looks()
    streams = [open_stream(live, looks) for _ in range(5)]
    assert looks.count == 0
    for stream in streams:
        await parts(stream)
    assert live.listeners == 5
    assert looks.count < 5
    for stream in streams:
        await stream.aclose()
    assert live.listeners == 0
    seen = looks.count
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)
    assert looks.count == seen
    again = open_stream(live, looks)
    assert int((await parts(again))["number"]) > seen
    await again.aclose()
    assert not [
        task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.cancelling()
    ]


async def test_bounded() -> None:
    live, looks = Live(listeners_max=2, every=0.01), Looks()
    first, second, late = (open_stream(live, looks) for _ in range(3))
    await parts(first)
    await parts(second)
    with pytest.raises(HTTPException) as caught:
        live.stream("overview", looks)
    assert caught.value.status_code == 503
    assert [piece async for piece in late] == [b"event: full\ndata: {}\n\n"], "several asked at once"
    await first.aclose()
    third = open_stream(live, looks)
    await parts(third)
    await second.aclose()
    await third.aclose()


async def test_stop_ends_the_streams() -> None:
    live, looks = Live(every=0.01), Looks()
    stream = open_stream(live, looks)
    await parts(stream)
    live.stop()
    async with asyncio.timeout(5):
        assert all(b"parts" in piece for piece in [piece async for piece in stream])
    with pytest.raises(HTTPException):
        live.stream("overview", looks)
    live.stop()


async def test_a_view_that_fails_stops_no_other() -> None:
    live, looks = Live(every=0.01), Looks()
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context["exception"]))

    def broken() -> dict[str, str]:
        raise RuntimeError("a bug")

    bad = live.stream("bad", broken).body_iterator
    waiting = asyncio.ensure_future(parts(bad))
    good = open_stream(live, looks)
    for _ in range(3):
        await parts(good)
    assert faults
    live.stop()
    with pytest.raises(AssertionError, match="ended"):
        await waiting


async def test_who_does_not_read_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAKE_TIMEOUT", 0.05)
    live, looks = Live(listeners_max=1, every=0.01), Looks()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 2:
            await asyncio.Event().wait()

    async with asyncio.timeout(10):
        await live.stream("overview", looks).stream_response(send)
    assert live.listeners == 0
    live.stop()
