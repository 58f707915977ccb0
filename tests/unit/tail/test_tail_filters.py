"""Which requests a filter takes, and what it says to those that mean nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ops.access import AccessRecord
from tunnel_hub.tail.filters import Filter, glob, parse, statuses


def record(**other: Any) -> AccessRecord:
    values: dict[str, Any] = {
        "time": 1.0,
        "request_id": "a-1",
        "method": b"GET",
        "target": b"/nomisapi/offenders/A1234BC?q=1",
        "service": "visits",
        "agent": "leeds-1",
        "status": 503,
        "origin": "hub",
        "code": "no_session",
        "delivered": "no",
        "bytes_in": 0,
        "bytes_out": 0,
        "seconds": 0.1,
        "peer": "192.0.2.1",
        "host": b"visits.internal",
        "repeats": 0,
        "caller": "booking",
        "phases": None,
        "trace_id": b"",
        "hub": "",
    }
    return tuple((values | other).values())


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ({}, True),
        ({"service": "visits"}, True),
        ({"service": "money"}, False),
        ({"service": ""}, True),
        ({"status": "5xx"}, True),
        ({"status": "4xx"}, False),
        ({"status": "404, 500-503"}, True),
        ({"status": "500-502"}, False),
        ({"caller": "booking"}, True),
        ({"caller": "192.0.2.1"}, False),
        ({"code": "no_session"}, True),
        ({"code": "switched_off"}, False),
        ({"agent": "leeds-1"}, True),
        ({"agent": "leeds-2"}, False),
        ({"method": "get"}, True),
        ({"method": "POST"}, False),
        ({"path": "/nomisapi/**"}, True),
        ({"path": "/nomisapi/offenders/*"}, True),
        ({"path": "/nomisapi/*"}, False),
        ({"path": "/nomisapi/offenders/A1234BC"}, True),
        ({"path": "**/A1234BC"}, True),
        ({"path": "/nomisapi/offenders/A1234BC?q=1"}, False),
        ({"service": "visits", "status": "5xx", "path": "/nomisapi/**", "agent": "leeds-1"}, True),
        ({"service": "visits", "status": "2xx"}, False),
    ],
)
def test_all_that_is_asked_for_must_hold(wanted: dict[str, str], matches: bool) -> None:
    assert parse(wanted).matches(record()) is matches


def test_what_the_ingress_refused_has_no_service() -> None:
    refused = record(
        method=b"-", target=b"-", service="", agent="", status=400, code="malformed_request", caller=""
    )
    assert parse({"status": "4xx"}).matches(refused)
    assert not parse({"service": "visits"}).matches(refused)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"status": "600"}, '"600" is no status; write it as in "5xx", "404" or "500-503"'),
        ({"status": "5x"}, '"5x" is no status'),
        ({"status": ",".join(["500"] * 17)}, "status names more than 16 ranges"),
        ({"path": "nomisapi"}, '"nomisapi" matches no path'),
        ({"path": "/" + "x" * 256}, "path is too long; at most 256 characters"),
        ({"servce": "visits"}, 'did you mean "service"?'),
    ],
)
def test_what_means_nothing(wanted: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        parse(wanted)


def test_ranges() -> None:
    assert statuses("5xx") == ((500, 599),)
    assert statuses("404,2xx,500-503") == ((404, 404), (200, 299), (500, 503))
    assert statuses("") == ()


@given(st.text("/abc.*+?()[]{}|^$\\", min_size=1, max_size=12))
def test_only_stars_mean_something_in_a_glob(text: str) -> None:
    pattern = "/" + text
    found = glob(pattern).fullmatch(pattern.replace("**", "deep/er").replace("*", "x").encode())
    assert found
    assert (glob("/" + text.replace("*", ".")).fullmatch(("/" + text.replace("*", "-")).encode()) is None) == (
        "*" in text
    )


def test_many_stars_take_no_longer() -> None:
    """A pattern of an operator must not stop the hub: it is matched in linear time."""
    assert not glob("/" + "*a" * 100 + "b").fullmatch(b"/" + b"a" * 8000)


def test_any_filter_takes_any_record() -> None:
    assert Filter().matches(record())
