"""Which trace a request belongs to (W3C Trace Context)."""

from __future__ import annotations

import pytest

from protocol.http.trace import TraceParent, members, parse, read, render, without_parent

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
VALUE = b"00-" + TRACE + b"-" + SPAN + b"-01"


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (VALUE, True),
        (VALUE[:-2] + b"00", False),
        (VALUE[:-2] + b"02", False),
        (VALUE[:-2] + b"03", True),
        (VALUE[:-2] + b"ff", True),
        (b"01" + VALUE[2:], True),
        (b"cc" + VALUE[2:] + b"-what-comes-later", True),
    ],
)
def test_valid(value: bytes, sampled: bool) -> None:
    assert parse(value) == TraceParent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        VALUE[:-1],
        VALUE + b"0",
        VALUE + b"-x",
        b"cc" + VALUE[2:] + b"x",
        b"ff" + VALUE[2:],
        VALUE.upper(),
        b"00-" + b"0" * 32 + VALUE[35:],
        VALUE[:36] + b"0" * 16 + b"-01",
        VALUE.replace(b"-", b"_"),
        b" " + VALUE,
        VALUE + b"\n",
        VALUE[:-2] + b"0g",
    ],
)
def test_invalid(value: bytes) -> None:
    assert parse(value) is None


def test_fields_have_one_or_none() -> None:
    other = [b"Accept", b"*/*", b"tracestate", b"a=1"]
    assert read([*other, b"TraceParent", VALUE]) == parse(VALUE)
    assert read(other) is None
    assert read([b"traceparent", VALUE, b"traceparent", VALUE]) is None
    assert read([b"traceparent", VALUE, b"traceparent", b"x"]) is None
    assert read([b"traceparent", b"x", b"traceparent", VALUE]) is None
    assert without_parent([*other, b"Traceparent", VALUE]) == other
    assert members([b"tracestate", b"a=1,b=2", b"Accept", b"x,y", b"TraceState", b"c=3"]) == 3


def test_ours_reads_as_it_was_meant() -> None:
    assert parse(render(TRACE, SPAN, True)) == TraceParent(TRACE, SPAN, True)
    assert parse(render(TRACE, SPAN, False)) == TraceParent(TRACE, SPAN, False)
