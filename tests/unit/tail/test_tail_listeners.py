"""Readers of the tail: what waits is bounded, what is lost is told at its place, and everything ends."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protocol.ops.access import AccessRecord
from tunnel_hub.tail import listeners
from tunnel_hub.tail.filters import Filter, parse
from tunnel_hub.tail.listeners import LISTENERS_MAX, PIECE, QUEUE_MAX, Listener, Tail, TooManyError


def record(number: int, status: int = 200) -> AccessRecord:
    nothing = ("-", "", "yes", 0, 0, 0.0, "192.0.2.1", b"h", 0, "", None, b"", "")
    return (1.0, f"a-{number}", b"GET", b"/x?q=1", "visits", "leeds-1", status, *nothing)


@pytest.fixture
def hub() -> Any:
    return SimpleNamespace(id="hub-1", taps=[], access=SimpleNamespace(query_strings=False))


@pytest.fixture
def tail(hub: Any) -> Tail:
    return Tail(cast("Any", hub))


def tell(hub: Any, *records: AccessRecord) -> None:
    for each in records:
        for tap in hub.taps:
            tap(each)


def numbers(lines: list[dict[str, Any]]) -> list[object]:
    """Request numbers, and in brackets how many were lost."""
    return [[line["lines"]] if line.get("tail") == "dropped" else int(line["request_id"][2:]) for line in lines]


async def read(tail: Tail, listener: Listener, pieces: int) -> list[dict[str, Any]]:
    stream = tail.lines(listener)
    lines: list[dict[str, Any]] = []
    for _ in range(pieces):
        lines += [json.loads(line) for line in (await anext(stream)).splitlines()]
    await stream.aclose()
    return lines


async def test_without_readers_there_is_no_tap(hub: Any, tail: Tail) -> None:
    listener = tail.listen(Filter(), "anna")
    assert len(hub.taps) == 1
    tail.leave(listener)
    tail.leave(listener)
    assert (hub.taps, len(tail)) == ([], 0)


async def test_lines_that_match_in_their_order(hub: Any, tail: Tail) -> None:
    listener = tail.listen(parse({"status": "5xx"}), "anna")
    tell(hub, record(1), record(2, 503), record(3, 500))
    begins, *lines = await read(tail, listener, 2)
    assert begins == {"tail": "begins", "hub": "hub-1"}
    assert numbers(lines) == [2, 3]
    assert "query" not in lines[0]
    hub.access.query_strings = True
    tell(hub, record(4, 500))
    assert (await read(tail, listener, 2))[1]["query"] == "q=1"


async def test_what_is_lost_is_told_at_its_place(hub: Any, tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "GATHER", 0)
    listener = tail.listen(Filter(), "anna")
    tell(hub, *map(record, range(QUEUE_MAX + 7)))
    assert len(listener.queue) == QUEUE_MAX
    stream = tail.lines(listener)
    await anext(stream)
    first = [json.loads(line) for line in (await anext(stream)).splitlines()]
    assert numbers(first) == list(range(PIECE))
    tell(hub, record(5000), record(5001))
    lines: list[dict[str, Any]] = []
    while len(lines) < QUEUE_MAX - PIECE + 3:
        lines += [json.loads(line) for line in (await anext(stream)).splitlines()]
    assert numbers(lines) == [*range(PIECE, QUEUE_MAX), [7], 5000, 5001]
    assert not listener.queue


async def test_what_is_lost_is_told_also_when_nothing_follows(hub: Any, tail: Tail, monkeypatch: Any) -> None:
    monkeypatch.setattr(listeners, "GATHER", 0)
    listener = tail.listen(Filter(), "anna")
    tell(hub, *map(record, range(QUEUE_MAX + 3)))
    lines = await read(tail, listener, 1 + QUEUE_MAX // PIECE)
    assert numbers(lines[1:])[-2:] == [QUEUE_MAX - 1, [3]]


async def test_a_silent_hub_says_that_it_lives(tail: Tail) -> None:
    stream = tail.lines(tail.listen(Filter(), "anna"), heartbeat=0.01)
    await anext(stream)
    assert json.loads(await anext(stream)) == {"tail": "heartbeat"}
    await stream.aclose()


@pytest.mark.parametrize("busy", [False, True])
async def test_it_ends_when_its_operator_is_none_any_more(hub: Any, tail: Tail, busy: bool) -> None:
    """Whether requests come or not; none of them is told."""
    listener = tail.listen(Filter(), "anna")
    stream = tail.lines(listener, lambda: False, heartbeat=0.01)
    await anext(stream)
    if busy:
        tell(hub, record(1))
    lines = [json.loads(piece) async for piece in stream]
    assert lines == [{"tail": "ends", "reason": "its operator has left the configuration"}]


async def test_readers_are_bounded(tail: Tail) -> None:
    readers = [tail.listen(Filter(), "anna") for _ in range(LISTENERS_MAX)]
    with pytest.raises(TooManyError):
        tail.listen(Filter(), "anna")
    tail.leave(readers[0])
    tail.listen(Filter(), "anna")


async def test_the_end_comes_after_all_that_waits(hub: Any, tail: Tail) -> None:
    listener = tail.listen(Filter(), "anna")
    tell(hub, *map(record, range(2 * PIECE)))
    tail.close()
    lines = [json.loads(line) async for piece in tail.lines(listener) for line in piece.splitlines()]
    assert numbers(lines[1:-1]) == list(range(2 * PIECE))
    assert lines[-1] == {"tail": "ends", "reason": "the hub stops"}
    with pytest.raises(TooManyError):
        tail.listen(Filter(), "anna")


async def test_a_reader_that_waits_is_woken_by_the_end(tail: Tail) -> None:
    listener = tail.listen(Filter(), "anna")

    async def all_lines() -> list[bytes]:
        return [piece async for piece in tail.lines(listener)]

    reading = asyncio.create_task(all_lines())
    await asyncio.sleep(0)
    tail.close()
    async with asyncio.timeout(5):
        assert len(await reading) == 2
