from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.http.fields import BadMessage
from tunnel_hub.ingress.chunks import ChunkedBody
from tunnel_hub.ingress.limits import IngressLimits


def feed_all(*reads: bytes) -> tuple[bytes, bytes | None, list[bytes]]:
    """Payload, what followed the body (None: it did not end) and trailers."""
    body = ChunkedBody(IngressLimits())
    payload = b""
    for index, read in enumerate(reads):
        piece, end = body.feed(read)
        payload += piece
        if end is not None:
            return payload, read[end:] + b"".join(reads[index + 1 :]), body.trailers()
    return payload, None, []


def drip(body: ChunkedBody, wire: bytes) -> None:
    for byte in wire:
        body.feed(bytes([byte]))


BODIES = [
    (b"0\r\n\r\n", b"", []),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc", []),
    (b"A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", b"0123456789x", []),
    (b'3;a=b;c="d e"\r\nabc\r\n0;z\r\n\r\n', b"abc", []),
    (b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n" * 4, []),
    (b"7\r\n0\r\n\r\nab\r\n0\r\n\r\n", b"0\r\n\r\nab", []),
    (b"2\r\n\r\n\r\n0\r\nX-Sum:  1 \r\nX-Empty:\r\n\r\n", b"\r\n", [b"X-Sum", b"1", b"X-Empty", b""]),
]


@pytest.mark.parametrize(("wire", "payload", "trailers"), BODIES)
def test_every_cut_gives_the_same(wire: bytes, payload: bytes, trailers: list[bytes]) -> None:
    following = b"GET / HTTP/1.1\r\n\r\n0\r\n\r\n"
    whole = wire + following
    for first in range(len(whole) + 1):
        for second in range(first, len(whole) + 1):
            reads = [whole[:first], whole[first:second], whole[second:]]
            assert feed_all(*reads) == (payload, following, trailers), (first, second)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6), cuts=st.lists(st.integers(0, 300), max_size=6)
)
def test_any_payload_in_any_cut(chunks: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\nnext"
    places = sorted(min(cut, len(wire)) for cut in cuts)
    reads = [wire[a:b] for a, b in zip([0, *places], [*places, len(wire)], strict=True)]
    assert feed_all(*reads) == (b"".join(chunks), b"next", [])


@pytest.mark.parametrize(
    "wire",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"\r\n3\r\nabc\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"3;\nabc\r\n0\r\n\r\n",
        b"g\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nContent-Length: 3\r\n\r\n",
        b"0\r\n\n",
    ],
)
def test_broken_framing(wire: bytes) -> None:
    for cut in range(len(wire)):
        with pytest.raises(BadMessage) as refused:
            feed_all(wire[:cut], wire[cut:])
        assert refused.value.status == 400


def test_trailers_that_frame_route_or_authenticate_are_dropped() -> None:
    wire = b"0\r\nHost: a\r\nAuthorization: b\r\nX-Sum: 1\r\nContent-Type: c\r\nTunnel-Service: d\r\n\r\n"
    assert feed_all(wire) == (b"", b"", [b"X-Sum", b"1"])


def test_trailers_are_bounded_in_number_and_size() -> None:
    limits = IngressLimits(fields=3, head=1000)
    for section in (b"A: b\r\n" * 4, b"A: %b\r\n" % (b"c" * 1000)):
        body = ChunkedBody(limits)
        with pytest.raises(BadMessage) as refused:
            drip(body, b"0\r\n" + section + b"\r\n")
        assert refused.value.status == 431


def test_as_many_trailers_as_allowed() -> None:
    body = ChunkedBody(IngressLimits(fields=3))
    assert body.feed(b"0\r\n" + b"A: b\r\n" * 3 + b"\r\n")[1] is not None
    assert body.trailers() == [b"A", b"b"] * 3


def test_many_trailers_behind_payload_are_too_many_as_well() -> None:
    body = ChunkedBody(IngressLimits(fields=3))
    with pytest.raises(BadMessage) as refused:
        body.feed(b"1\r\na\r\n0\r\n" + b"A: b\r\n" * 4 + b"\r\n")
    assert refused.value.status == 431


def test_extensions_are_bounded() -> None:
    body = ChunkedBody(IngressLimits(head=1000))
    drip(body, b"1;" + b"x" * 998)
    with pytest.raises(BadMessage) as refused:
        body.feed(b"x")
    assert refused.value.status == 431


@pytest.mark.parametrize("read", [1000, 1 << 20])
def test_extensions_are_bounded_behind_payload_and_in_large_reads(read: int) -> None:
    wire = b"2\r\nok\r\n4;" + b"x" * 100_000 + b"\r\nbody\r\n0\r\n\r\n"
    with pytest.raises(BadMessage) as refused:
        feed_all(*(wire[start : start + read] for start in range(0, len(wire), read)))
    assert refused.value.status == 431


def test_large_chunks_in_large_reads() -> None:
    chunk = b"0123456789abcdef" * 5000
    wire = (b"%x\r\n%b\r\n" % (len(chunk), chunk)) * 4 + b"0\r\n\r\nnext"
    assert feed_all(wire) == (chunk * 4, b"next", [])


def test_small_extensions_on_many_chunks_are_no_reason_to_refuse() -> None:
    body = ChunkedBody(IngressLimits(head=64))
    for _ in range(100):
        assert body.feed(b"1;" + b"x" * 30 + b"\r\na\r\n") == (b"a", None)
