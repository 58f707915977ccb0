"""Carries out one row of a table and compares both ends with it, byte for byte."""

from __future__ import annotations

import contextlib
import re

from tests.support.problems import assert_problem, assert_upstreams_own
from tests.support.rawhttp import Answer, RawClient
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, Received, reply
from tests.support.waiting import Gate, wait_until

from .rows import AnswerRow, RequestRow, fill

SENTINEL = b"the sentinel's own"
_OWN_ID = re.compile(rb"X-Request-Id: [0-9a-f]{8}-[0-9a-f]+\r\n")


def check_request(tunnel: Tunnel, path: str, row: RequestRow) -> None:
    """Send the row's bytes and then a sound request; whatever the row says holds, and nothing else arrived."""
    upstream = tunnel.upstream
    upstream.on(path + "*", reply(body=b"answer"))
    upstream.on(path + "/sentinel", reply(body=SENTINEL))
    sent = fill(row.sent, path, upstream.port)
    with tunnel.raw() as caller:
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            caller.send(sent)
        answer = caller.answer(row.method)
        assert answer.status == row.status, answer.raw_head + answer.body
        if row.code:
            assert_problem(answer, row.status, code=row.code, delivered="no")
        else:
            assert_upstreams_own(answer)
        _check_connection(caller, path, keeps=row.keeps)
    arrived = [received for received in upstream.requests(path + "*") if received.path != path + "/sentinel"]
    if not row.arrives:
        assert not arrived, [received.raw_head for received in arrived]
        return
    assert len(arrived) == 1, [received.raw_head for received in arrived]
    assert _on_the_wire(arrived[0]) == fill(row.arrives, path, upstream.port)


def _check_connection(caller: RawClient, path: str, *, keeps: bool) -> None:
    """A sound request on the same connection is answered as such, or finds the connection closed."""
    try:
        caller.start("GET", path + "/sentinel")
        if keeps:
            assert caller.answer().body == SENTINEL
            return
        rest, _ = caller.read_to_end()
    except ConnectionError:
        assert not keeps
        return
    assert rest == b"", "the connection went on"


def _on_the_wire(received: Received) -> bytes:
    """What the upstream got, with the ids that the hub makes replaced by `*`."""
    head = _OWN_ID.sub(b"X-Request-Id: *\r\n", received.raw_head)
    return head + bytes(received.raw_body)


def check_answer(tunnel: Tunnel, path: str, row: AnswerRow) -> None:
    """Have the upstream answer the row's bytes; whatever the row says holds, and the next request is untouched."""
    upstream = tunnel.upstream
    seen = Gate("the caller to have the head")

    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(fill(row.answered, path, upstream.port))
        if row.aborted:
            await seen.passed()
            await x.send(fill(row.then, path, upstream.port))
        if row.close:
            x.close()

    upstream.on(path, script)
    upstream.on(path + "/other", reply(body=b"followed"))
    upstream.on(path + "/sentinel", reply(body=SENTINEL))
    kept = False
    with tunnel.raw() as caller:
        lines = (f"{row.method} {path} {row.version}", f"Host: {HOST}", *row.request)
        caller.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        if row.aborted:
            _check_aborted(caller, seen)
        else:
            answer = caller.answer(row.method)
            if row.code:
                assert_problem(answer, row.status, code=row.code, delivered=None, hidden=(str(upstream.port),))
            else:
                _check_passed(answer, row, path, upstream.port)
            kept = row.keeps and row.version == "HTTP/1.1"
            _check_connection(caller, path, keeps=kept)
    if not kept:
        assert tunnel.fetch(path + "/sentinel").body == SENTINEL
    assert len(upstream.requests(path)) == 1
    assert upstream.requests(path + "/other") == []
    used, next_used = upstream.only(path).connection, upstream.only(path + "/sentinel").connection
    if row.reused:
        assert next_used == used
    else:
        assert next_used != used
        wait_until(lambda: not upstream.is_open(used), "the spoilt connection to be closed")


def _check_aborted(caller: RawClient, seen: Gate) -> None:
    head = caller.head()
    assert head.status == 200
    seen.open()
    rest, closing = caller.read_to_end()
    assert closing == "reset", f"a clean end of a broken answer: {head.raw_head + rest!r}"
    assert not rest.endswith(b"0\r\n\r\n"), "a broken answer was completed"


def _check_passed(answer: Answer, row: AnswerRow, path: str, port: int) -> None:
    assert (answer.status, answer.reason, answer.body) == (row.status, row.reason, row.body), answer.raw_head
    assert_upstreams_own(answer)
    framing = {b"content-length", b"transfer-encoding", b"connection", b"date"}
    fields = [(name, value) for name, value in answer.fields if name.lower() not in framing]
    expected = [_pair(fill(each, path, port)) for each in row.fields]
    assert fields == [*expected, (b"Via", b"1.1 hub-1")]
    assert answer.trailers == [_pair(each) for each in row.trailers]
    date = answer.get("date")
    assert date
    if row.date is not None:
        assert date == row.date
    if row.length is not None:
        assert answer.get("content-length") == row.length
    interim = [
        b"|".join((b"%d" % each.status, *(b"%b: %b" % pair for pair in each.fields))) for each in answer.interim
    ]
    assert tuple(interim) == row.interim


def _pair(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip()
