"""The agent's latest failures and refusals: bounded, and without what identifies anybody."""

from __future__ import annotations

from protocol.errors import StreamCode
from tunnel_agent.recent import KEPT, Recent


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def note(recent: Recent, number: int = 0, **change: bytes) -> None:
    values = {"target": b"/offenders/A1234BC/visits?dob=1979-04-23", "request_id": b"r-%d" % number, **change}
    recent.note("visits", b"GET", code=StreamCode.UPSTREAM_CLOSED, reason="closed", hub="hub-1", **values)  # type: ignore[arg-type]


def test_what_is_kept() -> None:
    recent = Recent(Clock())
    note(recent, 7)
    [trouble] = recent.newest()
    assert trouble.path == "/offenders/*/visits"
    assert (trouble.at, trouble.method, trouble.request_id, trouble.hub) == (1000.0, "GET", "r-7", "hub-1")
    assert not trouble.refused


def test_the_newest_come_first_and_push_the_oldest_out() -> None:
    clock = Clock()
    recent = Recent(clock)
    for number in range(KEPT + 5):
        clock.now += 1
        note(recent, number)
    assert [each.request_id for each in recent.newest()] == [f"r-{n}" for n in range(KEPT + 4, 4, -1)]
    assert recent.left_out == 0


def test_a_flood_costs_one_second_s_worth() -> None:
    clock = Clock()
    recent = Recent(clock)
    for number in range(10 * KEPT):
        note(recent, number)
    assert len(recent.newest()) == KEPT
    assert recent.newest()[0].request_id == f"r-{KEPT - 1}"
    assert recent.left_out == 9 * KEPT
    clock.now += 1
    note(recent, 9999)
    assert recent.newest()[0].request_id == "r-9999"


def test_what_a_hostile_hub_sends_stays_small() -> None:
    recent = Recent(Clock())
    note(recent, target=b"/" + b"a/" * 8000 + b"\xff", request_id=b"x" * 5000)
    [trouble] = recent.newest()
    assert len(trouble.request_id) == 64
    assert len(trouble.path) < 100


def test_what_a_hostile_hub_sends_cannot_steer_a_terminal() -> None:
    recent = Recent(Clock())
    steer = "\x1b[2J\x9b\u202e\nup"
    recent.note(
        steer + "x" * 1000,
        steer.encode(),
        b"/",
        StreamCode.UNKNOWN_SERVICE,
        "unknown",
        hub="hub-1",
        request_id=steer.encode(),
        refused=True,
    )
    [trouble] = recent.newest()
    for word in (trouble.service, trouble.method, trouble.request_id):
        assert word.startswith("\\x1b[2J")
        assert word.isprintable()
        assert not {*"\x1b\x9b\u202e\n"} & {*word}
        assert len(word) < 100
