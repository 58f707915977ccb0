"""What a caller sends arrives as sent, and what the upstream answers comes back so, byte for byte."""

from __future__ import annotations

import gzip

import pytest

from tests.support.problems import assert_upstreams_own
from tests.support.rawhttp import Answer
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, raw_reply, reply
from tests.support.waiting import Gate

ADDED_TO_REQUESTS = {"via", "host", "forwarded", "traceparent", "tracestate", "content-length", "connection"}
ADDED_TO_ANSWERS = {"via", "date", "content-length", "connection", "server-timing", "transfer-encoding"}


def sent_fields(answer: Answer) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, value in answer.fields
        if name.decode().lower() not in ADDED_TO_ANSWERS and not name.lower().startswith(b"x-request")
    ]


# -- targets ----------------------------------------------------------------------------------------


@pytest.mark.bug(16)
@pytest.mark.parametrize(
    "query",
    [
        "?from_datetime=2017-10-24%2015:36:24.380&limit=1000",
        "?a=%2F&b=%2f&c=%20&d=+",
        "?x=%41%7e~",
        "?",
        "??a=b?c/d;e=//../%2e",
        "?q=%C3%A9&r=%c3%a9",
        "?a=1&a=2&a=1",
        "?&&==&",
        "?" + "long=" + "v" * 4000,
    ],
)
def test_query_arrives_byte_for_byte(tunnel: Tunnel, path: str, query: str) -> None:
    tunnel.upstream.on(path, reply())
    answer = tunnel.fetch(path + query)
    assert answer.status == 200
    assert tunnel.upstream.only(path).target == (path + query).encode()


@pytest.mark.bug(16)
@pytest.mark.parametrize("tail", ["/a%20b", "/%41", "/~tilde", "/a!$&'()*+,=:@", "/a.b..c", "/caf%C3%A9", "/"])
def test_path_arrives_byte_for_byte(tunnel: Tunnel, path: str, tail: str) -> None:
    tunnel.upstream.on(path + "*", reply())
    answer = tunnel.fetch(path + tail)
    assert answer.status == 200
    assert tunnel.upstream.requests(path + "*")[0].target == (path + tail).encode()


# -- fields -----------------------------------------------------------------------------------------


@pytest.mark.bug(16)
def test_request_fields_keep_order_spelling_and_repetition(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply())
    fields = [
        "X-One: 1",
        "x-TWO: a, b",
        "X-One: 2",
        "Cookie: a=1; b=2",
        "X-Empty:",
        "X-Latin: caf\xe9",
        "X-One: 1",
        'Accept: */*;q="1"',
    ]
    assert tunnel.fetch(path, *fields).status == 200
    expected = [tuple(part.strip().encode("latin-1") for part in field.split(":", 1)) for field in fields]
    names = {name.lower() for name, _ in expected}
    arrived = [(name, value) for name, value in tunnel.upstream.only(path).fields if name.lower() in names]
    assert arrived == expected


@pytest.mark.bug(16)
def test_answer_fields_keep_order_spelling_and_repetition(tunnel: Tunnel, path: str) -> None:
    fields = [
        ("Set-Cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        ("X-Between", "x"),
        ("set-cookie", "b=2"),
        ("SET-COOKIE", "a=1; Path=/"),
        ("Server", "legacy/1.0"),
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "no-store"),
        ("X-Empty", ""),
        ("X-Latin", "caf\xe9"),
        ("ETag", '"x,y"'),
    ]
    tunnel.upstream.on(path, reply(200, fields))
    answer = tunnel.fetch(path)
    assert sent_fields(answer) == [(k.encode(), v.encode("latin-1")) for k, v in fields]


def test_large_header_sections_pass(tunnel: Tunnel, path: str) -> None:
    fields = [(f"X-Large-{number}", "v" * 1000) for number in range(20)]
    tunnel.upstream.on(path, reply(200, fields))
    answer = tunnel.fetch(path, *(f"{name}: {value}" for name, value in fields))
    assert sent_fields(answer) == [(k.encode(), v.encode()) for k, v in fields]
    received = tunnel.upstream.only(path)
    assert [received.get(name) for name, _ in fields] == [value for _, value in fields]


# -- statuses and bodies ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 299, 301, 400, 401, 403, 404, 409, 418, 429, 500, 502, 503, 504])
def test_an_upstreams_own_answer_passes_verbatim(tunnel: Tunnel, path: str, status: int) -> None:
    body = b'{"error":{"message":"the upstream said so"}}'
    tunnel.upstream.on(path, reply(status, [("Content-Type", "application/json")], body, "In Its Words"))
    answer = tunnel.fetch(path)
    assert (answer.status, answer.reason, answer.body) == (status, b"In Its Words", body)
    assert sent_fields(answer) == [(b"Content-Type", b"application/json")]
    assert_upstreams_own(answer)


@pytest.mark.bug(17)
def test_nothing_of_the_tunnels_own_keys_reaches_the_upstream(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply())
    tunnel.fetch(path)
    head = tunnel.upstream.only(path).raw_head.lower()
    for word in (b"ed25519", b"tunnel-service", b"tunnel.v1", b"leeds-1"):
        assert word not in head


def test_head_has_the_length_and_no_body(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, raw_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-A: b\r\n\r\n"))
    with tunnel.raw() as caller:
        head = f"HEAD {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        for _ in range(2):
            answer = caller.request(head, "HEAD")
            assert (answer.status, answer.get("content-length"), answer.body) == (200, "1234", b"")
    assert {r.method for r in tunnel.upstream.requests(path)} == {b"HEAD"}


def test_compressed_bodies_pass_untouched(tunnel: Tunnel, path: str) -> None:
    packed = gzip.compress(b"visits" * 1000)
    tunnel.upstream.on(path, reply(200, [("Content-Encoding", "gzip")], packed))
    answer = tunnel.fetch(path)
    assert answer.body == packed
    assert answer.get("content-encoding") == "gzip"
    assert not tunnel.upstream.only(path).has("accept-encoding")


@pytest.mark.parametrize(
    "answered",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\nuntil the end",
    ],
)
def test_answers_of_old_upstreams(tunnel: Tunnel, path: str, answered: bytes) -> None:
    tunnel.upstream.on(path, raw_reply(answered, close=True))
    with tunnel.raw() as caller:
        for _ in range(2):
            answer = caller.get(path)
            assert (answer.status, answer.body, answer.complete) == (200, b"until the end", True)


# -- request bodies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100, 70_000, 1_000_000])
def test_a_body_with_length_arrives_with_length(tunnel: Tunnel, path: str, size: int) -> None:
    tunnel.upstream.on(path, reply())
    body = bytes(range(256)) * (size // 256 + 1)
    answer = tunnel.fetch(path, method="POST", body=body[:size])
    assert answer.status == 200
    received = tunnel.upstream.only(path)
    assert received.get("content-length") == str(size)
    assert not received.has("transfer-encoding")
    assert received.body == body[:size]


def test_a_chunked_body_arrives_chunked(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply())
    with tunnel.raw() as caller:
        caller.start("PUT", path, "Transfer-Encoding: chunked")
        caller.send(b"4;ext=dropped\r\nwxyz\r\n")
        caller.send(b"A\r\n0123456789\r\n0\r\n\r\n")
        assert caller.answer().status == 200
    received = tunnel.upstream.only(path)
    assert received.get("transfer-encoding") == "chunked"
    assert not received.has("content-length")
    assert received.body == b"wxyz0123456789"
    assert b"dropped" not in received.raw_body


def test_requests_without_a_body_stay_without(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply())
    for method in ("GET", "DELETE", "OPTIONS"):
        assert tunnel.fetch(path, method=method).status == 200
    for received in tunnel.upstream.requests(path):
        assert not received.has("content-length")
        assert not received.has("transfer-encoding")


def test_a_get_with_a_body_keeps_it(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply())
    assert tunnel.fetch(path, body=b"query").status == 200
    assert tunnel.upstream.only(path).body == b"query"


def test_trailers_both_ways(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nTrailer: X-Sum, X-Two\r\nTransfer-Encoding: chunked\r\n\r\n")
        await x.chunk(b"data")
        await x.last_chunk([("X-Sum", "abc"), ("X-Two", "2")])

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        answer = caller.request(
            f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nConnection: TE\r\n"
            "Trailer: X-Digest\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n0\r\nX-Digest: d\r\nX-Other: e\r\n\r\n".encode()
        )
        assert (answer.body, answer.trailers) == (b"data", [(b"X-Sum", b"abc"), (b"X-Two", b"2")])
        assert answer.get("trailer") == "X-Sum, X-Two"
    received = tunnel.upstream.only(path)
    assert received.trailers == [(b"X-Digest", b"d"), (b"X-Other", b"e")]
    assert received.get("trailer") == "X-Digest"


# -- interim answers --------------------------------------------------------------------------------


# -- connections ------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(tunnel: Tunnel, path: str) -> None:
    async def echo(x: Exchange) -> None:
        body = await x.body()
        await x.answer(200, body=x.received.target + b" " + body)

    tunnel.upstream.on(path, echo)
    requests = b"".join(
        f"POST {path}?n={n} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(str(n))}\r\n\r\n{n}".encode()
        for n in range(20)
    )
    with tunnel.raw() as caller:
        caller.send(requests)
        for number in range(20):
            assert caller.answer().body == f"{path}?n={number} {number}".encode()


def test_a_slow_first_answer_keeps_its_place_in_the_pipeline(tunnel: Tunnel, path: str) -> None:
    gate = Gate()

    async def slow(x: Exchange) -> None:
        await x.body()
        await gate.passed()
        await x.answer(200, body=b"slow")

    tunnel.upstream.on(path + "/slow", slow)
    tunnel.upstream.on(path + "/fast", reply(body=b"fast"))
    with tunnel.raw() as caller:
        for name in ("slow", "fast", "fast"):
            caller.start("GET", f"{path}/{name}")
        tunnel.upstream.wait_for(path + "/slow")
        gate.open()
        assert [caller.answer().body for _ in range(3)] == [b"slow", b"fast", b"fast"]


def test_connections_are_kept_on_both_sides(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply())
    with tunnel.raw() as caller:
        for _ in range(30):
            assert caller.get(path).status == 200
    assert len({received.connection for received in tunnel.upstream.requests(path)}) <= 3


def test_a_head_in_single_bytes_is_understood(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply())
    with tunnel.raw() as caller:
        caller.send_slowly(f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc".encode())
        assert caller.answer().status == 200
    assert tunnel.upstream.only(path).body == b"abc"
