"""The harness notices what it is there to notice."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.frames import ANSWER, DATA, PONG
from tests.reliability.bodies import DUPLICATE, HOST, body_of, bulk_hash, bulk_pieces, size_of
from tests.reliability.mayhem import Struck
from tests.reliability.plan import Plan, Request, Source
from tests.reliability.report import Report, quantile
from tests.reliability.verdict import judge_effects, split_lost, untrue
from tests.reliability.wire_frames import FrameEnds
from tests.reliability.worker import Worker, WorkerFailed
from tests.support.hostile import pack
from tests.support.rawhttp import RawClient

Serve = Callable[[bytes], bytes]


def request_of(method: str = "GET", attempt: int = 1) -> Request:
    return Request(7, attempt, method, f"{method}.a.7.{attempt}".encode(), b"", None, None)


def test_a_body_is_its_requests_own() -> None:
    request = request_of()
    right = body_of(request.ident)
    assert len(right) == size_of(request.ident)
    assert request.is_right(200, request.ident, right)
    assert not request.is_right(200, request.ident, body_of(b"GET.a.8.1"))
    assert not request.is_right(200, b"GET.a.8.1", right)
    assert not request.is_right(200, request.ident, right[:-1])
    assert not request.is_right(404, request.ident, right)


def test_a_duplicate_is_right_only_for_a_second_attempt() -> None:
    first, second = request_of("POST", 1), request_of("POST", 2)
    assert not first.is_right(409, first.ident, DUPLICATE)
    assert second.is_right(409, second.ident, DUPLICATE)


def test_bulk_pieces_have_the_hash() -> None:
    import hashlib

    whole = b"".join(bulk_pieces("seed", 100_001))
    assert len(whole) == 100_001
    assert hashlib.sha256(whole).hexdigest() == bulk_hash("seed", 100_001) != bulk_hash("other", 100_001)


def test_a_plan_repeats_only_posts_and_only_so_often() -> None:
    source = Source(Plan([1], "p", retries=1, mix={"POST": 1.0}))
    again = source.again(source.next())
    assert again is not None
    assert b"X-Ref: p.1\r\n" in again.raw
    assert b"X-Attempt: POST.p.1.2\r\n" in again.raw
    assert source.again(again) is None
    assert Source(Plan([1], "p", retries=1)).again(request_of("GET")) is None


@pytest.mark.parametrize(
    ("status", "delivered", "arrived", "true"),
    [
        (502, "unknown", 1, True),
        (502, "unknown", 0, True),
        (502, "no", 0, True),
        (502, "no", 1, False),
        (502, "yes", 1, True),
        (502, "yes", 0, False),
        (503, "no", 0, True),
        (503, "no", 1, False),
        (503, "unknown", 0, False),
        (504, "no", 1, False),
        (504, "yes", 1, False),
        (502, "", 0, False),
    ],
)
def test_claims_are_held_against_the_ledger(status: int, delivered: str, arrived: int, true: bool) -> None:
    found = untrue([("POST.a.1.1", status, "x", delivered)], {"POST.a.1.1": arrived} if arrived else {})
    assert (not found) == true, found


def ledger_of(**changes: Any) -> dict[str, Any]:
    quiet: dict[str, Any] = {
        "arrivals": {"POST.a.1.1": 1},
        "effects_by_ref": {"a.1": 1},
        "repeated_attempts": {},
        "repeated_effects": {},
        "violations": [],
    }
    return {**quiet, **changes}


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({}, True),
        ({"repeated_effects": {"a.1": 2}}, False),
        ({"repeated_attempts": {"POST.a.1.1": 2}}, False),
        ({"repeated_attempts": {"PATCH.a.1.1": 2}}, False),
        ({"repeated_attempts": {"PUT.a.1.1": 2}}, True),
        ({"arrivals": {}}, False),
        ({"effects_by_ref": {}}, False),
        ({"violations": ["not HTTP"]}, False),
    ],
)
def test_effects_are_judged(changes: dict[str, Any], ok: bool) -> None:
    report = Report("test")
    judge_effects(report, [{"claims": [], "served": ["POST.a.1.1"]}], ledger_of(**changes))
    assert report.ok is ok, report.broken


def test_only_a_kill_of_its_own_hub_excuses_a_lost_request() -> None:
    lost = [{"target": 1, "sent_at": 10.0, "at": 10.2}]
    assert split_lost(lost, [(1, 10.1)])[1] == []
    assert split_lost(lost, [(2, 10.1)])[0] == []
    assert split_lost(lost, [(1, 10.3)])[0] == []
    assert split_lost(lost, [(1, 9.0)])[0] == []


def test_gaps_are_found() -> None:
    struck = Struck([("cut", 1.0, 2.0), ("stall", 5.0, 6.0)], [])
    assert struck.gaps([0.9, 1.25, 1.5, 1.75, 2.0]) == {"cut": [0.25], "stall": [1.0]}


def test_quantiles_are_by_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]


def websocket_frame(payload: bytes, opcode: int = 2) -> bytes:
    mask = os.urandom(4)
    size = bytes([128 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([128 | opcode]) + size + mask + bytes(b ^ mask[at % 4] for at, b in enumerate(payload))


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_frame_ends_are_found_however_the_bytes_come(piece: int) -> None:
    answer, data, pong = pack(ANSWER, 1, 0, 200, b"", [], 9, b"x" * 200), pack(DATA, 1, 0, b"y"), pack(PONG, 3)
    opening = b"GET /tunnel HTTP/1.1\r\n\r\n"
    first = websocket_frame(pong + answer + data)
    whole = opening + first + websocket_frame(b"ping", 9) + websocket_frame(data)
    behind_first = len(opening) + len(first)
    ends = FrameEnds()
    found = [end for at in range(0, len(whole), piece) for end in ends.feed(whole[at : at + piece])]
    assert found == [behind_first - len(data), behind_first, len(whole)]


# -- the load engine against servers that do wrong ----------------------------------------------------------------


@contextlib.contextmanager
def server(answer: Serve) -> Iterator[int]:
    """Answers each request on a connection with these bytes; closes after b"" and after an `X-Cut`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            head = b""
            while data := connection.recv(65536):
                head += data
                if b"\r\n\r\n" in head:
                    found = answer(head)
                    head = b""
                    if not found:
                        return
                    connection.sendall(found)
                    if b"X-Cut" in found:
                        return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def right(head: bytes) -> bytes:
    ident = head.split(b" ")[1].rpartition(b"/")[2]
    body = body_of(ident)
    return b"HTTP/1.1 200 OK\r\nX-Id: %b\r\nContent-Length: %d\r\n\r\n%b" % (ident, len(body), body)


def load_against(folder: Path, answer: Serve, **options: Any) -> dict[str, Any]:
    with server(answer) as port:
        load = Worker("load", folder)
        try:
            plan = {"targets": [port], "prefix": "t", "connections": 1, "count": 5, "mix": {"GET": 1.0}, **options}
            load.ask("start", plan=plan)
            load.ask("wait", seconds=5.0)
            found: dict[str, Any] = load.ask("stop", patience=1.0)
        finally:
            load.close()
    return found


def test_right_answers_are_right(tmp_path: Path) -> None:
    found = load_against(tmp_path, right)
    assert found["answers"] == {"200": 5}
    assert not found["failures"]
    assert found["connects"] == 1


def test_another_requests_answer_is_a_mix_up(tmp_path: Path) -> None:
    found = load_against(tmp_path, lambda head: right(head.replace(b".3.1", b".2.1")))
    assert (found["mixed"], found["answers"]) == (1, {"200": 4})


def test_a_short_answer_is_truncated(tmp_path: Path) -> None:
    def faulty(head: bytes) -> bytes:
        if b".2.1" in head:
            return right(head)[:-1]
        if b".3.1" in head:
            return right(head).replace(b"X-Id", b"X-Cut: 1\r\nX-Id")[:-1]
        return b"" if b".4.1" in head else right(head)

    found = load_against(tmp_path, faulty, timeout=0.3)
    assert found["failures"] == {"timeout": 1, "truncated": 1, "lost": 1}
    assert found["complete"] == 2


def test_close_is_honoured_and_no_failure(tmp_path: Path) -> None:
    found = load_against(tmp_path, lambda head: right(head).replace(b"X-Id", b"Connection: close\r\nX-Id"))
    assert found["answers"] == {"200": 5}
    assert not found["failures"]
    assert found["told_to_close"] == 5


def test_an_answer_without_its_request_is_noticed(tmp_path: Path) -> None:
    found = load_against(tmp_path, lambda head: right(head) * 2)
    assert found["failures"].get("unasked", 0) + found["mixed"] >= 1


# -- ledger and workers -------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker("ledger", tmp_path)
    yield worker
    worker.close()


def post(ledger: Worker, ref: str, attempt: str) -> int:
    with RawClient(ledger.hello["port"]) as caller:
        caller.start(
            "POST", "/transactions", f"X-Ref: {ref}", f"X-Attempt: {attempt}", "Content-Length: 0", host=HOST
        )
        return caller.answer("POST").status


def test_the_ledger_counts_effects_and_arrivals(ledger: Worker) -> None:
    assert [post(ledger, "r1", "POST.r1.1"), post(ledger, "r1", "POST.r1.2")] == [200, 409]
    assert post(ledger, "r2", "POST.r1.2") == 200
    summary = ledger.ask("summary")
    assert summary["effects"] == summary["refs"] == 2
    assert summary["duplicates"] == 1
    assert summary["repeated_attempts"] == {"POST.r1.2": 2}
    assert summary["repeated_effects"] == {}


def test_the_ledger_answers_what_it_is_asked_for(ledger: Worker) -> None:
    with RawClient(ledger.hello["port"]) as caller:
        assert caller.get("/item/abc?size=70000").body == body_of(b"abc", 70_000)
        assert caller.get("/item/abc?chunked=1").body == body_of(b"abc")
        assert caller.get("/bulk/s?size=70000").body == b"".join(bulk_pieces("s", 70_000))


def test_a_worker_reports_its_failures(ledger: Worker) -> None:
    with pytest.raises(WorkerFailed, match="TypeError"):
        ledger.ask("arrived")
    assert ledger.ask("summary")["requests"] == 0
