"""OFFER: how an agent says what it serves."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import ProtocolViolation, SessionCode
from protocol.events import Offered, OfferState
from protocol.limits import Limits
from protocol.session import Session
from tests.sim.pair import Pair, at_hub, frames_of, pack


def refused(session: Session, *sent: Any) -> SessionCode:
    with pytest.raises(ProtocolViolation) as caught:
        session.receive(pack(*sent), 1000.0)
    return caught.value.code


@pytest.mark.parametrize("state", list(OfferState))
@pytest.mark.parametrize("limit", [None, 1, 1_000_000])
def test_what_the_agent_offers_is_what_the_hub_hears(state: OfferState, limit: int | None) -> None:
    pair = Pair()
    pair.agent.offer("visits", state, limit)
    message = pair.agent.data_to_send([])
    assert frames_of(message) == [[15, "visits", state, limit]]
    (offered,) = pair.give(pair.hub, [message])
    assert isinstance(offered, Offered)
    assert (offered.service, offered.state, offered.limit) == ("visits", state, limit)
    assert type(offered.state) is OfferState
    assert offered.stream is None


def test_a_hub_offers_nothing() -> None:
    pair = Pair()
    with pytest.raises(AssertionError):
        pair.hub.offer("visits", OfferState.UP)
    assert refused(pair.agent, [15, "visits", 2, None]) is SessionCode.PROTOCOL_ERROR


@pytest.mark.parametrize("service", ["", "s" * 65, b"visits", None, 1, ["visits"]])
def test_a_malformed_service(service: Any) -> None:
    assert refused(at_hub(), [15, service, 2, None]) is SessionCode.PROTOCOL_ERROR


@pytest.mark.parametrize("state", [3, -1, 255, 2**40, True, 1.0, "2", None, [2]])
def test_a_malformed_state(state: Any) -> None:
    assert refused(at_hub(), [15, "visits", state, None]) is SessionCode.PROTOCOL_ERROR


@pytest.mark.parametrize("limit", [0, -1, 1_000_001, 2**63, True, 1.0, "2", [2]])
def test_a_malformed_limit(limit: Any) -> None:
    assert refused(at_hub(), [15, "visits", 2, limit]) is SessionCode.PROTOCOL_ERROR


def test_a_flood_of_offers() -> None:
    frame = [15, "visits", 2, None]
    hub = at_hub()
    assert len(hub.receive(pack(*[frame] * 600), 1000.0)) == 600
    assert refused(hub, frame) is SessionCode.LIMIT_EXCEEDED
    hub = at_hub()
    for second in range(10):
        hub.receive(pack(*[frame] * 300), 1001.0 + second)
    pair = Pair(hub=Limits(offers_per_second=1.0))
    assert refused(pair.hub, *[frame] * 3) is SessionCode.LIMIT_EXCEEDED
