"""tests/vectors/frames.json: the code and the file agree, byte for byte, and nothing here writes the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocol import frames
from protocol.codec import Decoder, encode, encode_data_head
from protocol.errors import ProtocolViolation, SessionCode
from tests.sim.pair import at_agent, at_hub

FILE = Path(__file__).parents[2] / "vectors" / "frames.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
SESSIONS = {"agent": at_agent, "hub": at_hub}


def message_of(parts: list[Any]) -> bytes:
    return b"".join(
        bytes.fromhex(part) if isinstance(part, str) else bytes.fromhex(part[0]) * part[1] for part in parts
    )


def value_of(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) * value.get("times", 1)
    return [value_of(each) for each in value] if isinstance(value, list) else value


def name_of(row: dict[str, Any]) -> str:
    return f"{row['name']} to the {row['to']}"


@pytest.mark.parametrize("row", VECTORS["accepted"], ids=name_of)
def test_accepted(row: dict[str, Any]) -> None:
    message, frame = message_of(row["message"]), value_of(row["frame"])
    found: list[Any] = []
    Decoder().decode(message, found.append)
    assert found == [frame]
    session = SESSIONS[row["to"]]()
    session.receive(message, 1000.0)
    if frame[0] == frames.DATA:
        sent = encode_data_head(frame[1], frame[2], len(frame[3])) + frame[3]
    else:
        sent = encode(frame)
    assert (sent == message) is row["canonical"]


@pytest.mark.parametrize("row", VECTORS["rejected"], ids=name_of)
def test_rejected(row: dict[str, Any]) -> None:
    session = SESSIONS[row["to"]]()
    with pytest.raises(ProtocolViolation) as caught:
        session.receive(message_of(row["message"]), 1000.0)
    assert caught.value.code is SessionCode[row["code"]], caught.value.message


def test_every_frame_type_is_there_for_everyone_who_receives_it() -> None:
    only = {frames.OPEN: {"agent"}, frames.ANSWER: {"hub"}, frames.INTERIM: {"hub"}, frames.OFFER: {"hub"}}
    for number in frames.NAMES:
        if number > frames.READY and number not in (frames.ENROL, frames.ROTATE):
            seen = {row["to"] for row in VECTORS["accepted"] if row["frame"][0] == number}
            assert seen == only.get(number, {"agent", "hub"}), frames.NAMES[number]
