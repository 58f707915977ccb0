"""A line of the tail as people read it, and that nothing in it steers their terminal."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tunnel_hub.tail.show import lost, shown

LINE: dict[str, Any] = {
    "time": "2026-01-02T03:04:05.678Z",
    "request_id": "a-1",
    "method": "GET",
    "path": "/nomisapi/x",
    "status": 503,
    "origin": "hub",
    "delivered": "no",
    "duration_ms": 2001.53,
    "bytes_in": 0,
    "bytes_out": 300,
    "service": "visits",
    "code": "no_session",
    "caller": "booking",
    "peer": "192.0.2.1",
}


def test_what_an_operator_looks_for() -> None:
    assert shown(LINE) == (
        "03:04:05.678Z 503 GET  /nomisapi/x visits from booking by nobody 2001.5ms "
        "no_session at hub, delivered no id=a-1"
    )
    fine = LINE | {"status": 200, "agent": "leeds-1", "code": "", "caller": "", "repeats": 1, "query": "q=1"}
    assert shown(fine) == (
        "03:04:05.678Z 200 GET  /nomisapi/x?q=1 visits from 192.0.2.1 by leeds-1 2001.5ms repeated 1 id=a-1"
    )


def test_colours_say_the_class_of_the_status() -> None:
    def style(text: str, colour: str) -> str:
        return f"<{colour}>{text}</>"

    assert "<red>503</>" in shown(LINE, style)
    assert "<yellow>404</>" in shown(LINE | {"status": 404}, style)
    assert "<green>200</>" in shown(LINE | {"status": 200}, style)


@given(st.text(), st.sampled_from(["path", "method", "caller", "agent", "service", "code", "request_id", "query"]))
def test_nothing_steers_the_terminal(text: str, name: str) -> None:
    line = shown(LINE | {name: text})
    assert line.isprintable()


def test_what_is_lost() -> None:
    assert lost(1).startswith("1 line dropped")
    assert lost(20).startswith("20 lines dropped")
