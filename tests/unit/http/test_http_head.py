from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.http.head import REASONS, InvalidHead, http_date, is_method, status_line


@pytest.mark.parametrize(
    "method", [b"", b"G T", b"GET /x HTTP/1.1\r\nA:", b"GET\r\n", b"G\x00", b"G" * 33, b"\xff", b"G:"]
)
def test_methods_that_are_not_tokens(method: bytes) -> None:
    assert not is_method(method)


def test_methods() -> None:
    assert all(map(is_method, [b"GET", b"DELETE", b"TRACE", b"M-SEARCH", b"x!#$%&'*+.^_`|~9"]))


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, b"OK", b"HTTP/1.1 200 OK\r\n"),
        (200, b"", b"HTTP/1.1 200 \r\n"),
        (404, b"Not Found", b"HTTP/1.1 404 Not Found\r\n"),
        (404, b"Nicht da\xdf\t!", b"HTTP/1.1 404 Nicht da\xdf\t!\r\n"),
        (100, b"Continue", b"HTTP/1.1 100 Continue\r\n"),
        (599, b"Own", b"HTTP/1.1 599 Own\r\n"),
        (999, b"", b"HTTP/1.1 999 \r\n"),
    ],
)
def test_status_line(status: int, reason: bytes, line: bytes) -> None:
    assert status_line(status, reason) == line


@pytest.mark.parametrize("status", [-1, 0, 99, 1000])
def test_status_line_refuses_other_statuses(status: int) -> None:
    with pytest.raises(InvalidHead):
        status_line(status, b"OK")


@pytest.mark.parametrize("octet", [*range(9), *range(10, 32), 127])
def test_status_line_refuses_control_characters(octet: int) -> None:
    with pytest.raises(InvalidHead):
        status_line(200, b"O%bK" % bytes([octet]))


def test_reasons_are_the_registered_ones() -> None:
    assert (REASONS[200], REASONS[404], REASONS[504]) == (b"OK", b"Not Found", b"Gateway Timeout")


def test_http_date_is_the_example_of_the_rfc() -> None:
    assert http_date(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert http_date(0) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert http_date(951782400) == b"Tue, 29 Feb 2000 00:00:00 GMT"


@settings(deadline=None)
@given(st.integers(0, 2**35))
def test_http_date_agrees_with_the_library_for_mail(when: int) -> None:
    assert http_date(when).decode() == format_datetime(datetime.fromtimestamp(when, UTC), usegmt=True)
