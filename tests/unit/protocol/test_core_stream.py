"""The state table, against the text of SPEC.md section 4, and its picture."""

from __future__ import annotations

import itertools
from pathlib import Path

import protocol
from protocol import frames
from protocol.stream import (
    ABORTED,
    AWAIT,
    BODY,
    ENDED,
    NEXT,
    ON_DATA,
    ON_END,
    ON_HEAD,
    ON_HEAD_END,
    ON_INTERIM,
    ON_RESET,
    SIGNAL_NAMES,
    STATE_NAMES,
    TRANSITIONS,
    Stream,
    diagram,
)

SPEC = Path(protocol.__file__).with_name("SPEC.md")

ALLOWED = {
    (AWAIT, ON_INTERIM, AWAIT),
    (AWAIT, ON_HEAD, BODY),
    (AWAIT, ON_HEAD_END, ENDED),
    (AWAIT, ON_RESET, ABORTED),
    (BODY, ON_DATA, BODY),
    (BODY, ON_END, ENDED),
    (BODY, ON_RESET, ABORTED),
    (ENDED, ON_RESET, ABORTED),
}


def test_every_pair_of_state_and_signal() -> None:
    signals = [ON_INTERIM, ON_HEAD, ON_HEAD_END, ON_DATA, ON_END, ON_RESET]
    for state, signal in itertools.product([AWAIT, BODY, ENDED, ABORTED], signals):
        expected = next((after for before, by, after in ALLOWED if (before, by) == (state, signal)), None)
        assert NEXT[state][signal] == expected, (STATE_NAMES[state], SIGNAL_NAMES[signal])
    assert len(TRANSITIONS) == len(ALLOWED)


def test_the_picture_in_the_specification_is_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in SPEC.read_text()


def test_the_frames_of_the_specification_are_the_frames_of_the_code() -> None:
    text = SPEC.read_text()
    for number, name in frames.NAMES.items():
        if number > frames.READY and number not in (frames.ENROL, frames.ROTATE):
            assert f"| {number} | {name} |" in text
    assert set(frames.NAMES.values()) == {
        *(
            "HELLO",
            "CHALLENGE",
            "PROOF",
            "READY",
            "ENROL",
            "ROTATE",
            "OPEN",
            "ANSWER",
            "INTERIM",
            "DATA",
            "TRAILERS",
        ),
        *("CREDIT", "RESET", "PING", "PONG", "DRAIN", "OFFER", "GOODBYE"),
    }


def test_closed_when_both_halves_are_over() -> None:
    for sending, receiving in itertools.product(range(4), range(4)):
        stream = Stream(1, 10, sending, receiving, None)
        assert stream.closed is (sending >= ENDED and receiving >= ENDED)
        assert STATE_NAMES[sending] in repr(stream)
        assert STATE_NAMES[receiving] in repr(stream)
