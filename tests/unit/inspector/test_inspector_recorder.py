"""Recordings of a hub without sockets: what runs is followed, what is held is bounded, and every way to end it."""

from __future__ import annotations

import gzip
import tracemalloc
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.unit.hub.rig import HOST, FakeReply, Rig
from tunnel_hub.ingress.request import Request
from tunnel_hub.inspector import recorder as recording
from tunnel_hub.inspector.recorder import BYTES_MAX, Inspector, InspectorError, Recorder, Wanted
from tunnel_hub.inspector.tape import Sample
from tunnel_hub.tail.filters import parse


class Audit:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def write(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    hub = cast("Any", rig.hub)
    hub.access.query_strings = False
    hub.audit = Audit()
    return rig


@pytest.fixture
def inspector(rig: Rig) -> Inspector:
    return rig.hub.inspector


def serve(rig: Rig, number: int = 1, method: bytes = b"GET", *, answer: bytes = b"ok", **options: Any) -> None:
    """So many requests, answered by an agent."""
    if not rig.agents:
        rig.agent()
    for _ in range(number):
        rig.call(method, **options)
        rig.settle()
        for visit in rig.agents[0].waiting:
            visit.answer(body=answer)
        rig.settle()


def events(rig: Rig) -> list[str]:
    return [event for event, _ in cast("Any", rig.hub.audit).lines]


def test_off_nothing_is_attached(rig: Rig, inspector: Inspector) -> None:
    call = rig.call()
    assert call.exchange.tape is None
    assert rig.service.inspector is None
    assert call.exchange.reply is call.reply
    assert list(inspector) == []


def test_the_latest_are_kept(rig: Rig, inspector: Inspector) -> None:
    kept = inspector.on("visits", Wanted(number=3, paths=True), "anna")
    serve(rig, 5)
    assert [seen.path for seen in kept.seen] == ["/2", "/3", "/4"]
    assert (kept.recorded, kept.skipped) == (5, 0)
    seen = kept.find(4)
    assert seen is not None
    assert (seen.status, seen.bytes_out, seen.agent) == (200, 2, "")
    assert kept.find(1) is None
    rig.assert_nothing_left()


def test_bodies_from_the_first_byte_to_the_last(rig: Rig, inspector: Inspector) -> None:
    """In pieces in both directions, and whatever else happens with the reply is as without it."""
    kept = inspector.on("visits", Wanted(bodies=True, headers=True), "anna")
    agent = rig.agent()
    call = rig.call(b"POST", b"Content-Type", b"text/plain", pieces=[b"one ", b"two"])
    for _ in range(2):
        call.send_piece()
        rig.settle()
    [visit] = agent.waiting
    visit.answer(body=b"three ", end=False)
    rig.settle()
    visit.finish(b"four")
    rig.settle()
    assert call.reply.content == b"three four"
    [seen] = kept.seen
    assert seen.request_body is not None
    assert seen.response_body is not None
    assert (seen.request_body.text, seen.response_body.text) == ("one two", "three four")
    assert seen.request_fields == [("Content-Type", "text/plain")]
    rig.assert_nothing_left()


def test_refusals_of_the_hub_are_kept_too(rig: Rig, inspector: Inspector) -> None:
    kept = inspector.on("visits", Wanted(headers=True), "anna")
    rig.call()
    rig.advance(3)
    [seen] = kept.seen
    assert (seen.status, seen.code, seen.origin) == (503, "no_session", "hub")
    assert seen.response_fields is not None
    assert ("Tunnel-Delivered", "no") in seen.response_fields


def test_a_path_that_is_refused_stands_under_its_service(rig: Rig, inspector: Inspector) -> None:
    kept = inspector.on("visits", Wanted(paths=True), "anna")
    request = Request(b"GET", b"/a/../b", HOST, 1, [], 0, None, False, False, None, True, rig.clock.now)
    rig.hub.start_exchange(request, FakeReply("192.0.2.1"))
    [seen] = kept.seen
    assert (seen.status, seen.code, seen.service) == (400, "malformed_request", "visits")


def test_a_caller_that_goes_away(rig: Rig, inspector: Inspector) -> None:
    kept = inspector.on("visits", Wanted(bodies=True), "anna")
    rig.agent()
    call = rig.call()
    rig.settle()
    call.go()
    rig.settle()
    [seen] = kept.seen
    assert (seen.status, seen.code, "head" in seen.phases) == (499, "caller_gone", False)


def test_pipes_are_not_recorded(rig: Rig, inspector: Inspector) -> None:
    """After 101 the bytes are nobody's body."""
    kept = inspector.on("visits", Wanted(bodies=True), "anna")
    agent = rig.agent()
    call = rig.call(upgrade=b"echo", pieces=[b"secret up"])
    rig.settle()
    [visit] = agent.waiting
    visit.answer(101, b"", end=False)
    rig.settle()
    call.send_piece()
    rig.settle()
    visit.finish(b"secret down")
    rig.settle()
    [seen] = kept.seen
    assert seen.status == 101
    assert (seen.request_body, seen.response_body) == (None, None)


def test_what_is_not_wanted_is_not_kept(rig: Rig, inspector: Inspector) -> None:
    kept = inspector.on("visits", Wanted(bodies=True, filter=parse({"method": "POST"})), "anna")
    serve(rig, 3, body=b"x" * 1000)
    assert (len(kept.seen), inspector.held) == (0, 0)
    serve(rig, 1, b"POST", body=b"x")
    assert len(kept.seen) == 1


def test_what_comes_too_fast_is_counted(rig: Rig, inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "A_SECOND", 5)
    monkeypatch.setattr(recording, "time", SimpleNamespace(time=lambda: 1000.0))
    kept = inspector.on("visits", Wanted(), "anna")
    serve(rig, 8)
    assert (kept.recorded, kept.skipped) == (5, 3)


def test_masking_is_bounded_by_the_second(rig: Rig, inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "time", SimpleNamespace(time=lambda: 1000.0))
    kept = inspector.on("visits", Wanted(bodies=True), "anna")
    serve(rig, 8, b"POST", body=b"x" * 64_000)
    assert [seen.request_body is not None for seen in kept.seen] == [True] * 5 + [False] * 3


@pytest.mark.parametrize("coding", [b"", b"gzip"])
def test_what_is_masked_away_was_work_as_well(
    rig: Rig, inspector: Inspector, monkeypatch: pytest.MonkeyPatch, coding: bytes
) -> None:
    monkeypatch.setattr(recording, "time", SimpleNamespace(time=lambda: 1000.0))
    kept = inspector.on("visits", Wanted(bodies=True), "anna")
    body = b'{"password":[' + b"1," * 33_000
    rig.agent()
    for _ in range(8):
        packed = gzip.compress(body) if coding else body
        rig.call(b"POST", b"Content-Type", b"application/json", b"Content-Encoding", coding, body=packed)
        rig.settle()
        for visit in rig.agents[0].waiting:
            visit.answer()
        rig.settle()
    assert [seen.request_body is not None for seen in kept.seen] == [True] * 4 + [False] * 4


def test_a_body_in_small_pieces_takes_no_more_than_its_bytes() -> None:
    sample = Sample(lambda _: True)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(30_000):
        sample.add(b"%02d" % (number % 100))
    took = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert sample.size == 60_000
    assert took < 90_000


def test_memory_is_bounded_over_all(rig: Rig, inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest that are over make way for what runs; when even that is not enough, bodies are left out."""
    monkeypatch.setattr(recording, "MASKED_A_SECOND", 1 << 40)
    monkeypatch.setattr(recording, "A_SECOND", 1 << 40)
    kept = inspector.on("visits", Wanted(bodies=True, number=200), "anna")
    serve(rig, 100, b"POST", body=b"x" * 64_000, answer=b"y" * 64_000)
    assert inspector.held <= BYTES_MAX
    assert 20 < len(kept.seen) < 40
    for _ in range(100):
        rig.call(b"POST", body=b"x" * 64_000)
    assert inspector.held <= BYTES_MAX
    assert len(kept.seen) == 0
    rig.settle()
    for visit in rig.agents[0].waiting:
        visit.answer()
    rig.settle()
    assert inspector.held <= BYTES_MAX
    assert any(seen.request_body and seen.request_body.note == "no room was left for it" for seen in kept.seen)
    inspector.off("visits")
    assert inspector.held == 0
    rig.assert_nothing_left()


def test_switched_off_all_is_dropped_also_what_runs(rig: Rig, inspector: Inspector) -> None:
    kept = inspector.on("visits", Wanted(bodies=True), "anna")
    serve(rig, 2)
    rig.call(b"POST", body=b"x" * 100)
    rig.settle()
    assert inspector.off("visits", "berta")
    assert not inspector.off("visits")
    assert (rig.service.inspector, inspector.of("visits"), list(kept.seen)) == (None, None, [])
    for visit in rig.agents[0].waiting:
        visit.answer()
    rig.settle()
    assert (list(kept.seen), inspector.held) == ([], 0)
    event, fields = cast("Any", rig.hub.audit).lines[-1]
    assert (event, fields["operator"], fields["recorded"]) == ("inspector off", "berta", 2)
    rig.assert_nothing_left()


def test_it_ends_by_itself_and_is_dropped_after_the_grace(rig: Rig, inspector: Inspector) -> None:
    kept = inspector.on("visits", Wanted(seconds=60), "anna")
    serve(rig)
    rig.advance(59)
    assert kept.recording
    rig.advance(2)
    assert not kept.recording
    assert rig.service.inspector is None
    serve(rig)
    assert len(kept.seen) == 1
    assert inspector.of("visits") is kept
    rig.advance(recording.GRACE)
    assert inspector.of("visits") is None
    assert inspector.held == 0
    assert events(rig) == ["inspector on", "inspector off"]


def test_a_new_one_takes_the_place_of_one_that_has_ended(rig: Rig, inspector: Inspector) -> None:
    inspector.on("visits", Wanted(seconds=60), "anna")
    with pytest.raises(InspectorError, match="already, by anna"):
        inspector.on("visits", Wanted(), "berta")
    rig.advance(61)
    second = inspector.on("visits", Wanted(seconds=3600), "berta")
    rig.advance(recording.GRACE + 1)
    assert inspector.of("visits") is second, "the first one's grace is not its own"
    inspector.close()
    assert list(inspector) == []


def test_a_reload_ends_what_nobody_stands_behind(rig: Rig, inspector: Inspector) -> None:
    inspector.on("visits", Wanted(), "anna")
    inspector.look_again({"anna", "berta"})
    assert inspector.of("visits") is not None
    inspector.look_again({"berta"})
    assert inspector.of("visits") is None
    inspector.on("visits", Wanted(), "anna")
    del rig.hub.services["visits"]
    inspector.look_again({"anna"})
    assert rig.service.inspector is None


@pytest.mark.parametrize("wanted", [Wanted(seconds=0), Wanted(seconds=3601), Wanted(number=0), Wanted(number=201)])
def test_bounds(inspector: Inspector, wanted: Wanted) -> None:
    with pytest.raises(InspectorError):
        inspector.on("visits", wanted, "anna")
    assert inspector.of("visits") is None


def test_services_at_once_are_bounded(rig: Rig, inspector: Inspector) -> None:
    for number in range(5):
        rig.hub.services[f"s{number}"] = cast("Any", SimpleNamespace(name=f"s{number}", inspector=None))
    for number in range(4):
        assert isinstance(inspector.on(f"s{number}", Wanted(), "anna"), Recorder)
    with pytest.raises(InspectorError, match="on for 4 services already"):
        inspector.on("s4", Wanted(), "anna")
    inspector.close()
