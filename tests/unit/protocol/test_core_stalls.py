"""Streams that wait for credit are counted, for as long as they wait and no longer."""

from __future__ import annotations

import pytest

from protocol import frames
from protocol.codec import encode
from protocol.errors import SessionCode, StreamCode
from protocol.flow import MemoryBudget
from protocol.limits import Limits
from protocol.session import Session
from protocol.stalls import Stalls
from protocol.stream import Stream
from tests.sim.pair import HEAD

WINDOW = Limits().window


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stalls(clock: Clock) -> Stalls:
    return Stalls(clock)


@pytest.fixture
def hub(stalls: Stalls) -> Session:
    return Session(True, Limits(), Limits(), MemoryBudget(0), 0.0, stalls)


def upload(hub: Session, size: int) -> Stream:
    """A stream with `size` bytes to send, of which as many have left as may."""
    stream = hub.open(None, 0.0, length=size, **HEAD)
    hub.send(stream, b"x" * size, end=True)
    while hub.data_to_send([]):
        hub.inflight.acknowledged = hub.inflight.sent
    return stream


def credit(hub: Session, stream: Stream, size: int) -> None:
    hub.receive(encode((frames.CREDIT, stream.id, size)), 0.0)


def test_seconds_go_on_while_it_lasts(stalls: Stalls, clock: Clock) -> None:
    stalls.begin("one")
    stalls.begin("one")
    clock.now += 2
    stalls.begin("another")
    clock.now += 1
    assert (stalls.count, len(stalls.running), stalls.seconds) == (2, 2, 4.0)
    stalls.end("one")
    stalls.end("one")
    clock.now += 5
    assert (stalls.count, len(stalls.running), stalls.seconds) == (2, 1, 9.0)


def test_what_the_credit_covers_does_not_wait(hub: Session, stalls: Stalls) -> None:
    upload(hub, WINDOW)
    assert (stalls.count, dict(stalls.running)) == (0, {})


def test_it_waits_until_credit_comes(hub: Session, stalls: Stalls, clock: Clock) -> None:
    stream = upload(hub, WINDOW + 10)
    assert list(stalls.running) == [stream]
    clock.now += 3
    credit(hub, stream, 4)
    assert not stalls.running
    hub.data_to_send([])
    assert list(stalls.running) == [stream], "four bytes do not last"
    clock.now += 2
    credit(hub, stream, 100)
    hub.data_to_send([])
    assert (stalls.count, dict(stalls.running), stalls.seconds) == (2, {}, 5.0)


def test_what_begins_without_credit_waits(hub: Session, stalls: Stalls) -> None:
    stream = hub.open(None, 0.0, length=WINDOW + 1, **HEAD)
    hub.send(stream, b"x" * WINDOW)
    while hub.data_to_send([]):
        hub.inflight.acknowledged = hub.inflight.sent
    assert not stalls.running
    hub.send(stream, b"y", end=True)
    assert list(stalls.running) == [stream]


@pytest.mark.parametrize("how", ["reset", "lost", "the peer resets"])
def test_nothing_waits_that_is_over(hub: Session, stalls: Stalls, how: str) -> None:
    stream = upload(hub, WINDOW + 10)
    assert stalls.running
    if how == "reset":
        hub.reset(stream, StreamCode.CANCELLED, 0.0)
    elif how == "lost":
        hub.goodbye(SessionCode.SILENT, "")
        hub.lost()
    else:
        hub.receive(encode((frames.RESET, stream.id, StreamCode.CANCELLED, "")), 0.0)
    assert not stalls.running
