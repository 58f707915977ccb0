"""Codes: every stream code says what happened to the request, every session code has a websocket code."""

from __future__ import annotations

import pytest

from protocol.errors import FAILURES, Delivered, ProtocolViolation, SessionCode, SessionError, StreamCode
from protocol.limits import DATA_FRAME, DATA_MAX, MESSAGE_MAX, MESSAGE_TARGET, SEND_HIGH, SEND_LOW, Limits


@pytest.mark.parametrize("code", list(StreamCode))
def test_every_code_has_its_meaning(code: StreamCode) -> None:
    failure = FAILURES[code]
    assert failure.delivered in {Delivered.NO, Delivered.UNKNOWN, Delivered.YES}
    assert failure.origin in {"hub", "tunnel", "agent", "upstream"}
    assert failure.title
    assert not failure.title.endswith(".")
    not_dispatched = 16 <= code <= 31
    assert failure.retry_safe is not_dispatched
    assert (failure.delivered == Delivered.NO) is not_dispatched
    assert (failure.status in {503, 403, 400}) is not_dispatched
    assert failure.status in {400, 403, 502, 503, 504}


def test_session_errors_carry_code_and_message() -> None:
    error = SessionError(SessionCode.SILENT, "the peer fell silent")
    assert (error.code, error.message, str(error)) == (4, "the peer fell silent", "the peer fell silent")
    violation = ProtocolViolation("bad")
    assert violation.code is SessionCode.PROTOCOL_ERROR
    assert ProtocolViolation("bad", SessionCode.FLOW_CONTROL).code is SessionCode.FLOW_CONTROL


def test_the_limits_fit_each_other() -> None:
    limits = Limits()
    assert DATA_FRAME <= DATA_MAX < 2**16
    assert SEND_LOW < SEND_HIGH
    assert limits.window <= limits.window_max
    largest = limits.fields_bytes + 3 * 2 * limits.fields_count + limits.target_bytes + DATA_MAX + 4096
    assert MESSAGE_TARGET + largest < MESSAGE_MAX
    assert MESSAGE_MAX // 2 + largest < MESSAGE_MAX
