"""Bytes to frames: whole frames only, nothing kept between messages, whatever they hold."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest

from protocol import codec
from protocol.codec import Decoder, encode, encode_data_head
from protocol.errors import ProtocolViolation, SessionCode
from protocol.limits import DATA_MAX, MESSAGE_MAX

PING = encode((12, 7))


def decode(decoder: Decoder, message: bytes) -> list[Any]:
    result: list[Any] = []
    decoder.decode(message, result.append)
    return result


def test_frames_in_order() -> None:
    message = encode((12, 1)) + encode((8, 3, 1, b"body")) + encode((31, 0, "bye"))
    assert decode(Decoder(), message) == [[12, 1], [8, 3, 1, b"body"], [31, 0, "bye"]]


def test_a_body_is_not_packed_but_decodes_as_a_frame() -> None:
    for size in (0, 1, 255, 256, DATA_MAX, 65_535):
        body = b"x" * size
        assert decode(Decoder(), encode_data_head(2**31 - 1, 1, size) + body) == [[8, 2**31 - 1, 1, body]]


@pytest.mark.parametrize(
    "cut", range(1, len(encode((5, 1, 0, None, "s", b"r", b"G", b"a", b"/", [b"a", b"b"], 7, None, b"xy"))))
)
def test_a_message_cut_anywhere_is_refused_and_leaves_nothing_behind(cut: int) -> None:
    whole = encode((5, 1, 0, None, "s", b"r", b"G", b"a", b"/", [b"a", b"b"], 7, None, b"xy"))
    for before in (b"", PING, b"\xc0", PING + b"\xc0", b"\x0c"):
        decoder = Decoder()
        with pytest.raises(ProtocolViolation) as caught:
            decode(decoder, before + whole[:cut])
        assert caught.value.code is SessionCode.PROTOCOL_ERROR
        assert decode(decoder, whole + PING)[1] == [12, 7]


@pytest.mark.parametrize(
    "message",
    [
        b"\xc0",
        b"\xc0\xc0",
        PING + b"\xc0",
        PING + b"\xc0" + PING,
        b"\xc0\x94\x08\xce",
        b"\xc0\x91",
        b"\x0c",
        PING + b"\x0c" + PING,
        b"\xc4\x02\x0c\x01",
        b"\xa2\x0c\x01",
        b"\x80",
        b"\x81\x0c\x01",
        b"\x92\x0c\x81\x01\x02",
        b"\xd4\x01\x00",
        b"\x92\x0c\xd4\x01\x00",
        b"\x92\x0c\xd6\xff\x00\x00\x00\x00",
        b"\xc1",
        b"\x92\x0c\xa1\xff",
        b"\x91" * 1100 + b"\x00",
        b"\xdc\x02\x01" + b"\x00" * 513,
        b"\xdd\xff\xff\xff\xff",
        b"\x92\x0c\xc6\xff\xff\xff\xff",
        b"\x92\x0c\xdb\xff\xff\xff\xff",
        b"\x92\x0c\xda\x04\x01" + b"s" * 1025,
    ],
    ids=lambda message: message[:8].hex() + f"+{len(message)}",
)
def test_what_is_not_a_sequence_of_arrays_is_refused(message: bytes) -> None:
    decoder = Decoder()
    with pytest.raises(ProtocolViolation) as caught:
        decode(decoder, message)
    assert caught.value.code is SessionCode.PROTOCOL_ERROR
    assert decode(decoder, PING) == [[12, 7]]


@pytest.mark.parametrize("size", [0, MESSAGE_MAX + 1, 2 * MESSAGE_MAX])
def test_size_of_a_message(size: int) -> None:
    decoder = Decoder()
    with pytest.raises(ProtocolViolation) as caught:
        decode(decoder, b"\x00" * size)
    assert caught.value.code is SessionCode.LIMIT_EXCEEDED
    assert decode(decoder, PING) == [[12, 7]]


def test_a_message_of_the_greatest_size_is_read_again_and_again() -> None:
    decoder = Decoder()
    head = encode((8, 1, 0, b""))[:-2] + b"\xc6"
    size = MESSAGE_MAX - len(head) - 4
    message = head + size.to_bytes(4, "big") + b"x" * size
    assert len(message) == MESSAGE_MAX
    for _ in range(3):
        assert len(decode(decoder, message)[0][3]) == size


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x"), KeyError("x"), AttributeError("x")])
def test_a_malformed_frame_is_the_peers_fault_and_named(error: Exception) -> None:
    decoder = Decoder()

    def handle(_frame: Any) -> None:
        raise error

    with pytest.raises(ProtocolViolation, match="a malformed PING frame"):
        decoder.decode(PING + PING, handle)
    with pytest.raises(ProtocolViolation, match="a malformed DATA frame"):
        decoder.decode(encode_data_head(1, 0, 1) + b"x" + PING, handle)
    assert decode(decoder, PING) == [[12, 7]]


@pytest.mark.parametrize(
    ("frame", "name"), [([], "unknown"), (["x"], "unknown"), ([99], "unknown"), ([13], "PONG")]
)
def test_the_name_in_the_message_never_fails(frame: list[Any], name: str) -> None:
    def handle(_frame: Any) -> None:
        raise ValueError

    with pytest.raises(ProtocolViolation, match=f"a malformed {name} frame"):
        Decoder().decode(msgpack.packb(frame), handle)


def test_a_violation_by_the_handler_passes_and_cleans_up() -> None:
    decoder = Decoder()

    def handle(_frame: Any) -> None:
        raise ProtocolViolation("mine", SessionCode.FLOW_CONTROL)

    with pytest.raises(ProtocolViolation, match="mine") as caught:
        decoder.decode(PING * 3, handle)
    assert caught.value.code is SessionCode.FLOW_CONTROL
    assert decode(decoder, PING) == [[12, 7]]


def test_rubbish_costs_a_message_not_sixty_of_them() -> None:
    """A byte of rubbish must not become an object of the heap each."""
    decoder = Decoder()
    for rubbish in (b"\x90", b"\x91\xc0", b"\xcb" + b"\x00" * 8, b"\x9f" + b"\xc0" * 15):
        message = rubbish * (MESSAGE_MAX // len(rubbish))
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolViolation):
                decoder.decode(message, lambda frame: frame[0].nothing)
            assert tracemalloc.get_traced_memory()[1] < 4 * MESSAGE_MAX
        finally:
            tracemalloc.stop()


def test_a_frame_that_cannot_be_packed_leaves_the_packer_clean() -> None:
    with pytest.raises(TypeError):
        encode((11, 1, object(), "half"))
    with pytest.raises(UnicodeEncodeError):
        encode((11, 1, 0, "\ud800"))
    assert decode(Decoder(), encode((12, 7))) == [[12, 7]]


def test_one_decoder_serves_all_sessions() -> None:
    from protocol import session

    assert isinstance(session._decode.__self__, codec.Decoder)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "message", [b"\xc1", PING + encode((12, 1))[:-1], encode((12, b"x")), encode((99, 1)), b"\xc0", encode((12,))]
)
def test_whoever_keeps_the_violation_does_not_keep_the_decoders_buffer(message: bytes) -> None:
    def handle(frame: list[Any]) -> None:
        if frame[0] == 99:
            raise ProtocolViolation("unknown")
        if len(frame) < 2 or type(frame[1]) is not int:
            raise TypeError

    decoder = Decoder()
    kept: list[ProtocolViolation] = []
    tracemalloc.start()
    try:
        for _ in range(20):
            with pytest.raises(ProtocolViolation) as violation:
                decoder.decode(message, handle)
            kept.append(violation.value)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * MESSAGE_MAX
