"""Hostile input: every malformed frame is a ProtocolViolation with its code, and never anything else."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest

from protocol import frames
from protocol.errors import ProtocolViolation, SessionCode, StreamCode
from protocol.events import Answered, DataReceived, InterimAnswered, Opened, StreamReset
from protocol.limits import DATA_MAX, STREAM_ID_MAX, Limits
from protocol.session import Session
from tests.sim.pair import Pair, answer_frame, at_agent, at_hub, open_frame, pack

BAD, FLOW, LIMIT = SessionCode.PROTOCOL_ERROR, SessionCode.FLOW_CONTROL, SessionCode.LIMIT_EXCEEDED
MANY = [b"n", b"v"] * 257


def refused(session: Session, *sent: Any) -> ProtocolViolation:
    with pytest.raises(ProtocolViolation) as caught:
        session.receive(pack(*sent), 1000.0)
    assert caught.value.message
    return caught.value


# -- Frames for the agent ----------------------------------------------------------------------------------

OPENS: list[tuple[SessionCode, list[Any]]] = [
    *((BAD, open_frame(number)) for number in (1, 5, 4, 8, 0, -1, -7, STREAM_ID_MAX + 2, 2**40 + 1)),
    *((BAD, open_frame(number)) for number in (7.0, True, None, "7", b"7", [7])),  # type: ignore[arg-type]
    *((BAD, open_frame(7, flags)) for flags in (8, -1, 255, 1.0, True, None, "1", [1])),  # type: ignore[arg-type]
    *((BAD, open_frame(7, deadline_ms=value)) for value in (-1, 1.5, True, "1", b"1", [])),
    *((BAD, open_frame(7, service=value)) for value in (b"visits", None, 1, [], "s" * 1025)),
    *((BAD, open_frame(7, request_id=value)) for value in ("r", None, 1, b"r" * 65)),
    *((BAD, open_frame(7, method=value)) for value in ("GET", None, 1, b"M" * 1010)),
    *((BAD, open_frame(7, authority=value)) for value in ("a", None, [], b"a" * 1020)),
    *((BAD, open_frame(7, target=value)) for value in ("/", None, 7, b"/" * (16 * 1024 + 1))),
    *((BAD, open_frame(7, length=value)) for value in (-1, 1.0, True, "5", b"5", [])),
    *((BAD, open_frame(7, upgrade=value)) for value in ("websocket", 1, [], b"u" * 257)),
    *((BAD, open_frame(7, body=value)) for value in ("text", None, 1, [], b"b" * (DATA_MAX + 1))),
    *((BAD, open_frame(7, fields=value)) for value in (None, b"nv", "nv", 2, [b"n"], [b"n", "v"], [1, 2])),
    *((BAD, open_frame(7, fields=value)) for value in ([b"n", None], [[b"n"], [b"v"]], ["n", b"v"])),
    *((LIMIT, open_frame(7, fields=value)) for value in ([b"n", b"v" * 80 * 1024],)),
    (BAD, open_frame(7, fields=MANY)),  # beyond what the decoder takes as an array
    (BAD, open_frame(7)[:-1]),
    (BAD, [*open_frame(7), b""]),
    (BAD, [5]),
    (BAD, answer_frame(1)),
    (BAD, answer_frame(3)),
    (BAD, [7, 1, 103, []]),
]

OTHERS: list[tuple[SessionCode, Any]] = [
    # Shapes that are no frame at all
    *((BAD, frame) for frame in ([], [[]], [None], ["PING", 1], [b"\x0c", 1], [12.0, 1], [True, 1], [-12, 1])),
    *((BAD, frame) for frame in (None, 1, 1.0, "x", b"\x0c\x01", b"", {}, True, [{}], [12, {}], [[12, 1]])),
    *((BAD, [kind, *([1] * count)]) for kind in (0, 15, 30, 32, 255, 2**63) for count in (0, 1, 3)),
    *((BAD, [kind, 1, 2, 3]) for kind in (1, 2, 3, 4)),
    *((BAD, [kind] + [1] * count) for kind in (8, 9, 10, 11, 12, 13, 14, 31) for count in (0, 5, 20)),
    # DATA
    *((BAD, [8, 1, flags, b"x"]) for flags in (2, 4, -1, 256, None, True, 1.0, "1", [])),
    *((BAD, [8, 1, 0, body]) for body in (b"", None, "x", 1, [], b"x" * (DATA_MAX + 1))),
    *((BAD, [8, number, 0, b"x"]) for number in (3, 5, 9, 99, 0, 2, -1, 2**31 + 1, 2**63)),
    *((BAD, [8, number, 0, b"x"]) for number in (1.0, True, None, "1", b"1", [1], [])),
    # TRAILERS
    *((BAD, [9, 1, fields]) for fields in (None, b"", [b"n"], [b"n", "v"], 5, [1, 1])),
    *((BAD, [9, number, []]) for number in (3, 5, 9, 0, None, 1.0)),
    (LIMIT, [9, 1, [b"n", b"v" * 80 * 1024]]),
    # CREDIT
    *((FLOW, [10, 1, size]) for size in (0, -1, 2**31 + 1, 2**63, 1.0, None, True, "1", b"1")),
    *((BAD, [10, number, 5]) for number in (99, 0, 2, -1, None, 1.0, True, [1])),
    # RESET
    *((BAD, [11, 1, code, ""]) for code in (-1, 256, 1.0, True, None, "1")),
    *((BAD, [11, 1, 0, detail]) for detail in (b"", None, 1, "d" * 257)),
    *((BAD, [11, number, 0, ""]) for number in (99, 0, 2, -1, None, 1.0, True, [1])),
    # PING, PONG
    *((BAD, [12, number]) for number in (-1, 2**63, 1.0, None, True, "1", b"1", [])),
    *((BAD, [13, number]) for number in (0, 77, -1, 1.0, None, True, "1", b"1", [])),
    # DRAIN, GOODBYE
    *((BAD, [14, last]) for last in (-1, 2**31, 1.0, True, "1", b"1", [])),
    *((BAD, [31, code, "bye"]) for code in (None, "0", 1.0, True, [])),
    *((BAD, [31, 0, message]) for message in (None, b"bye", 5, [])),
]


@pytest.mark.parametrize(("code", "frame"), OPENS, ids=lambda value: repr(value)[:60])
def test_malformed_at_the_agent(code: SessionCode, frame: Any) -> None:
    assert refused(at_agent(), frame).code is code


@pytest.mark.parametrize(("code", "frame"), OTHERS, ids=lambda value: repr(value)[:60])
def test_malformed_at_either_side(code: SessionCode, frame: Any) -> None:
    assert refused(at_agent(), frame).code is code
    hub = at_hub()
    hub.streams[3].receiving, hub.streams[5].receiving = 2, 2  # as at the agent: no DATA on 3 and 5 any more
    assert refused(hub, frame).code is code


ANSWERS: list[tuple[SessionCode, list[Any]]] = [
    *((BAD, answer_frame(5, flags)) for flags in (2, 3, -1, True, 1.0, None, "1", [])),  # type: ignore[arg-type]
    *((BAD, answer_frame(5, status=value)) for value in (100, 102, 199, 1000, 0, -1, 200.0, "200", None, True)),
    *((BAD, answer_frame(5, reason=value)) for value in ("OK", None, 1, b"r" * 257)),
    *((BAD, answer_frame(5, fields=value)) for value in (None, [b"n"], [b"n", 1], {}, "")),
    (LIMIT, answer_frame(5, fields=[b"n", b"v" * 80 * 1024])),
    *((BAD, answer_frame(5, length=value)) for value in (-1, 1.0, True, "1")),
    *((BAD, answer_frame(5, body=value)) for value in ("b", None, b"b" * (DATA_MAX + 1))),
    *((BAD, answer_frame(number)) for number in (1, 3, 7, 9, 0, 2, -5)),
    *((BAD, answer_frame(number)) for number in (5.0, True, None, [5])),  # type: ignore[arg-type]
    (BAD, answer_frame(5)[:-1]),
    (BAD, [*answer_frame(5), b""]),
    *((BAD, [7, 5, status, []]) for status in (99, 101, 200, 1.0, None, True, "100")),
    *((BAD, [7, 5, 100, fields]) for fields in (None, [b"n"], [b"n", "v"])),
    (LIMIT, [7, 5, 100, [b"n", b"v" * 80 * 1024]]),
    *((BAD, [7, number, 100, []]) for number in (1, 3, 7, 9, None)),
    (BAD, [8, 5, 0, b"x"]),
    (BAD, [8, 5, 1, b""]),
    (BAD, [9, 5, []]),
    (BAD, open_frame(9)),
    (BAD, open_frame(2)),
]


@pytest.mark.parametrize(("code", "frame"), ANSWERS, ids=lambda value: repr(value)[:60])
def test_malformed_at_the_hub(code: SessionCode, frame: Any) -> None:
    assert refused(at_hub(), frame).code is code


# -- What is on the edge and allowed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"request_id": b"", "method": b"", "authority": b"", "target": b"", "service": "", "fields": []},
        {"request_id": b"r" * 64, "target": b"/" * 16 * 1024, "upgrade": b"u" * 256},
        {"deadline_ms": 0, "length": 0},
        {"deadline_ms": 2**63, "length": 2**63},
        {"method": b"M" * 500, "authority": b"a" * 500, "service": "s" * 24},
        {"fields": [b"n", b"v"] * 256},
        {"fields": [b"n", b"v" * (80 * 1024 - 1)]},
        {"body": b"b" * DATA_MAX},
    ],
)
def test_open_at_its_limits(changed: dict[str, Any]) -> None:
    (event,) = at_agent().receive(pack(open_frame(7, 7, **changed)), 1000.0)
    assert isinstance(event, Opened)
    assert all(getattr(event, name) == value for name, value in changed.items())
    assert event.end
    assert event.chunked
    assert event.expect


@pytest.mark.parametrize("status", [101, 200, 204, 304, 418, 599, 600, 999])
def test_statuses_of_answers(status: int) -> None:
    (event,) = at_hub().receive(pack(answer_frame(5, 1, status=status, reason=b"r" * 256, length=2**40)), 1000.0)
    assert isinstance(event, Answered)
    assert (event.status, event.length) == (status, 2**40)


@pytest.mark.parametrize(
    "frame",
    [
        [8, 1, 0, b"x" * DATA_MAX],
        [8, 1, 1, b""],
        [10, 1, 1],
        [10, 5, 2**31],
        [10, 3, 7],
        [11, 5, 255, "d" * 256],
        [11, 1, 0, "é" * 256],
        [12, 0],
        [12, 2**63 - 1],
        [13, 1],
        [14, None],
        [14, 0],
        [14, STREAM_ID_MAX],
        [31, 0, ""],
        [31, -5, "m" * 1024],
        [31, 2**63, "whatever"],
    ],
    ids=repr,
)
def test_allowed_at_the_agent(frame: list[Any]) -> None:
    at_agent().receive(pack(frame), 1000.0)


def test_interims_up_to_the_limit() -> None:
    hub = at_hub()
    events = hub.receive(pack(*[[7, 5, 103, []]] * 16), 1000.0)
    assert [type(event) for event in events] == [InterimAnswered] * 16
    assert refused(hub, [7, 5, 103, []]).code is LIMIT


def test_ids_may_leave_gaps_but_never_go_back() -> None:
    agent = at_agent()
    assert isinstance(agent.receive(pack(open_frame(101)), 1000.0)[0], Opened)
    for number in (99, 101, 7):
        assert refused(agent, open_frame(number)).code is BAD


def test_more_streams_than_granted() -> None:
    pair = Pair(agent=Limits(max_streams=3))
    messages = pack(*(open_frame(number) for number in (1, 3, 5)))
    assert len(pair.agent.receive(messages, pair.now)) == 3
    assert refused(pair.agent, open_frame(7)).code is LIMIT


def test_limits_are_ours_not_the_defaults() -> None:
    tight = Limits(fields_bytes=10, fields_count=1, target_bytes=4, window=1024, interims=0)
    for code, frame in (
        (LIMIT, open_frame(1, fields=[b"12345", b"678901"])),
        (LIMIT, open_frame(1, fields=[b"1", b"2", b"3", b"4"])),
        (BAD, open_frame(1, target=b"/long", fields=[])),
        (FLOW, open_frame(1, fields=[], body=b"x" * 1025, target=b"/")),
    ):
        assert refused(Pair(agent=tight).agent, frame).code is code
    pair = Pair(hub=tight)
    pair.open(end=True)
    assert refused(pair.hub, [7, 1, 100, []]).code is LIMIT


# -- Credit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_open", [0, 1, 1024])
def test_one_byte_beyond_the_credit(with_open: int) -> None:
    pair = Pair(agent=Limits(window=1024))
    pair.agent.receive(pack(open_frame(1, 0, body=b"x" * with_open)), pair.now)
    if with_open < 1024:
        pair.agent.receive(pack([8, 1, 0, b"x" * (1024 - with_open)]), pair.now)
    assert refused(pair.agent, [8, 1, 0, b"x"]).code is FLOW


def test_one_byte_beyond_what_was_granted_since() -> None:
    pair = Pair(agent=Limits(window=1024, window_max=1024))
    (event,) = pair.agent.receive(pack(open_frame(1, 0, body=b"x" * 1024)), pair.now)
    assert isinstance(event, Opened)
    pair.agent.consumed(event.stream, 600, pair.now)
    assert len(pair.agent.receive(pack([8, 1, 0, b"x" * 600]), pair.now)) == 1
    assert refused(pair.agent, [8, 1, 0, b"x"]).code is FLOW


def test_bytes_of_an_answer_count() -> None:
    pair = Pair(hub=Limits(window=1024))
    pair.open(end=True)
    pair.hub.receive(pack(answer_frame(1, 0, body=b"x" * 1000), [8, 1, 0, b"x" * 24]), pair.now)
    assert refused(pair.hub, [8, 1, 1, b"x"]).code is FLOW


def test_credit_is_checked_after_our_reset_too() -> None:
    pair = Pair(agent=Limits(window=1024))
    (event,) = pair.agent.receive(pack(open_frame(1)), pair.now)
    assert isinstance(event, Opened)
    pair.agent.reset(event.stream, StreamCode.INTERNAL, pair.now)
    assert pair.agent.receive(pack([8, 1, 0, b"x" * 1024]), pair.now) == []
    assert refused(pair.agent, [8, 1, 0, b"x"]).code is FLOW


def test_credit_adds_up_to_its_bound() -> None:
    agent = at_agent()
    start = agent.streams[1].credit
    agent.receive(pack([10, 1, 2**31 - start]), 1000.0)
    assert agent.streams[1].credit == 2**31
    assert refused(agent, [10, 1, 1]).code is FLOW


def test_credit_for_a_half_that_is_over_is_ignored() -> None:
    hub = at_hub()
    before = hub.streams[1].credit
    assert hub.receive(pack([10, 1, 2**31], [10, 7, 5], [10, 7, 2**31]), 1000.0) == []
    assert hub.streams[1].credit == before
    assert not hub.has_output()


# -- Floods ------------------------------------------------------------------------------------------------


def test_a_flood_of_pings() -> None:
    agent = at_agent()
    agent.receive(pack(*[[12, n] for n in range(200)]), 1000.0)
    assert refused(agent, [12, 1]).code is LIMIT
    agent = at_agent()
    for second in range(100):
        agent.receive(pack(*[[12, n] for n in range(100)]), 1001.0 + second)


@pytest.mark.parametrize("number", [1, 5])
def test_a_flood_of_resets(number: int) -> None:
    agent = at_agent()
    agent.receive(pack(*[[11, number, 0, ""]] * 20_000), 1000.0)
    assert refused(agent, [11, number, 0, ""]).code is LIMIT


def test_opening_and_resetting_in_a_loop_runs_into_the_rate() -> None:
    pair = Pair()
    for number in range(1, 40_001, 2):
        pair.agent.receive(pack(open_frame(number), [11, number, 1, ""]), pair.now)
        assert not pair.agent.streams
    assert refused(pair.agent, open_frame(40_001), [11, 40_001, 1, ""]).code is LIMIT


def test_events_before_the_offending_frame_are_handed_over() -> None:
    agent = at_agent()
    violation = refused(agent, [8, 1, 0, b"good"], open_frame(7), [8, 1, 0, b""], [8, 1, 0, b"never"])
    assert [type(event) for event in violation.events] == [DataReceived, Opened]
    assert violation.events[0].body == b"good"


def test_a_reset_of_a_stream_that_is_over_is_ignored_but_not_of_one_that_never_was() -> None:
    agent = at_agent()
    assert agent.receive(pack([11, 5, 1, ""]), 1000.0) == []
    assert not agent.has_output()
    assert refused(agent, [11, 7, 1, ""]).code is BAD


def test_an_unknown_reset_code_is_passed_on() -> None:
    (event,) = at_agent().receive(pack([11, 1, 200, "later version"]), 1000.0)
    assert isinstance(event, StreamReset)
    assert event.code == 200


# -- Anything in any place ---------------------------------------------------------------------------------


def _anything(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(12 if depth < 3 else 9)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice([0, 1, 2, 3, 5, 7, 8, 127, 128, 255, 256, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1])
    if kind == 3:
        return -rng.choice([1, 32, 33, 2**31, 2**63])
    if kind == 4:
        return rng.choice([0.0, 1.0, -1.5, float("nan"), float("inf"), 1e308])
    if kind in {5, 6}:
        return rng.randbytes(rng.choice([0, 1, 5, 300]))
    if kind in {7, 8}:
        return rng.choice(["", "s", "é", "x" * 300])
    if kind == 9:
        return {str(n): _anything(rng, depth + 1) for n in range(rng.randrange(2))}
    return [_anything(rng, depth + 1) for _ in range(rng.randrange(5))]


FRAMES_AGENT = [open_frame(7, 1, length=3), [8, 1, 0, b"x"], [9, 1, []], [10, 1, 5], [11, 1, 0, ""], [12, 5]]
FRAMES_HUB = [
    answer_frame(5, 1),
    [7, 5, 100, []],
    [8, 1, 1, b"x"],
    [9, 1, [b"n", b"v"]],
    [10, 3, 5],
    [11, 5, 3, "d"],
]
FRAMES_BOTH = [[13, 1], [14, None], [14, 5], [31, 0, "bye"]]


@pytest.mark.parametrize("seed", range(8))
def test_random_values_in_every_place_of_every_frame(seed: int) -> None:
    rng = random.Random(seed)
    for make, base in ((at_agent, FRAMES_AGENT + FRAMES_BOTH), (at_hub, FRAMES_HUB + FRAMES_BOTH)):
        for frame in base:
            for place in range(len(frame)):
                for _ in range(6):
                    changed = list(frame)
                    changed[place] = _anything(rng)
                    session = make()
                    try:
                        session.receive(pack(changed), 1000.0)
                    except ProtocolViolation:
                        pass
                    else:
                        for stream in session.streams.values():
                            assert type(stream.credit) is int
                        session.data_to_send([])


def test_names_of_all_frames_are_known() -> None:
    from protocol.receiving import HANDLERS

    handshake = {frames.HELLO, frames.CHALLENGE, frames.PROOF, frames.READY, frames.ENROL, frames.ROTATE}
    assert set(HANDLERS) == set(frames.NAMES) - handshake
    assert msgpack.packb([frames.OPEN])
