"""GOODBYE is the last word, and RESETs of what we opened ourselves are never too many."""

from __future__ import annotations

import pytest

from protocol import frames
from protocol.errors import ProtocolViolation, SessionCode, StreamCode
from protocol.events import StreamReset
from protocol.limits import Limits
from tests.sim.pair import Pair, frames_of, pack


def test_no_data_goes_with_goodbye() -> None:
    pair = Pair()
    _, far = pair.open(end=True)
    pair.agent.answer(far, 200, b"", [], None)
    pair.take(pair.agent)
    pair.agent.send(far, b"the rest", True)
    pair.agent.goodbye(SessionCode.SHUTDOWN, "over")
    sent = [frame[0] for message in pair.take(pair.agent) for frame in frames_of(message)]
    assert sent == [frames.GOODBYE]
    assert pair.agent.lost() == [far], "whoever had it is told that it did not end"


def test_an_agent_may_refuse_as_fast_as_its_hub_asks() -> None:
    pair = Pair(hub=Limits(resets_per_second=10.0), agent=Limits(resets_per_second=10.0))
    refused = 0
    for _ in range(200):
        _, far = pair.open(end=True)
        pair.agent.reset(far, StreamCode.BOUNDARY_REFUSED, pair.now)
        refused += sum(isinstance(event, StreamReset) for event in pair.to_hub())
    assert refused == 200
    over = pair.hub.last_opened
    with pytest.raises(ProtocolViolation, match="too many RESET"):
        pair.hub.receive(pack(*([frames.RESET, over, 0, ""] for _ in range(30))), pair.now)


def test_a_hub_may_not_cancel_without_end() -> None:
    pair = Pair(agent=Limits(resets_per_second=10.0))

    def cancel() -> None:
        stream, _ = pair.open(end=True)
        pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
        pair.to_agent()
        pair.to_hub()

    for _ in range(20):
        cancel()
    with pytest.raises(ProtocolViolation, match="too many RESET"):
        cancel()
