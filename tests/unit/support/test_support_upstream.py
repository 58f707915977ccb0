"""Scripted upstream, raw client and proxy, against each other: exact bytes both ways."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from tests.support import scripts
from tests.support.connect_proxy import ConnectProxy
from tests.support.rawhttp import BrokenAnswer, RawClient, Truncated
from tests.support.upstream import Exchange, Upstream, raw_reply, reply
from tests.support.waiting import Gate


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()
    assert not server.errors, server.errors


def test_exact_bytes_both_ways(upstream: Upstream) -> None:
    sent = b"POST /a%20b?q=%2F HTTP/1.1\r\nHost: h\r\nX-One:  two \r\nContent-Length: 3\r\n\r\nabc"
    answered = b"HTTP/1.1 201 Made so\r\nSet-Cookie: a=1\r\nsEt-cooKie: b=2\r\nContent-Length: 2\r\n\r\nhi"
    upstream.on("/a%20b", raw_reply(answered))
    with RawClient(upstream.port) as caller:
        answer = caller.request(sent)
    assert answer.raw_head + answer.body == answered
    assert answer.all("set-cookie") == [b"a=1", b"b=2"]
    received = upstream.only("/a%20b")
    assert received.raw_head + received.raw_body == sent
    assert (received.method, received.target) == (b"POST", b"/a%20b?q=%2F")
    assert received.complete


def test_chunks_and_trailers_both_ways(upstream: Upstream) -> None:
    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await x.chunk(b"abc")
        await x.last_chunk([("X-Sum", "1")])

    upstream.on("/", script)
    with RawClient(upstream.port) as caller:
        answer = caller.request(
            b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"4;x=y\r\nwxyz\r\n0\r\nX-End: yes\r\n\r\n"
        )
        assert (answer.body, answer.trailers, answer.chunk_sizes) == (b"abc", [(b"X-Sum", b"1")], [3])
        assert caller.get("/").complete
    assert upstream.ledger[0].body == b"wxyz"
    assert upstream.ledger[0].trailers == [(b"X-End", b"yes")]
    assert upstream.connections == 1


def test_interim_answers_are_gathered(upstream: Upstream) -> None:
    upstream.on("/", raw_reply(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"))
    with RawClient(upstream.port) as caller:
        answer = caller.get("/")
    assert answer.status == 204
    assert [i.status for i in answer.interim] == [103]
    assert answer.interim[0].get("link") == "</a>"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
def test_truncation_is_seen(upstream: Upstream, framing: bytes, reset: bool) -> None:
    gate = Gate()
    head = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"
    upstream.on("/", scripts.dies_in_body(head, b"3\r\nabc\r\n", reset=reset, gate=gate))
    with RawClient(upstream.port) as caller:
        caller.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        first = caller.head()
        gate.open()
        with pytest.raises(Truncated) as cut:
            caller._body(first, "GET")
    assert cut.value.closing == ("reset" if reset else "fin")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_the_raw_client_forgives_nothing(upstream: Upstream, answer: bytes) -> None:
    upstream.on("/", raw_reply(answer))
    with RawClient(upstream.port) as caller, pytest.raises(BrokenAnswer):
        caller.get("/")


def test_a_caller_that_goes_away_is_noticed(upstream: Upstream) -> None:
    upstream.on("/", scripts.no_answer)
    with RawClient(upstream.port) as caller:
        caller.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        received = upstream.wait_for("/")
        assert not received.gone.is_open
    received.gone.wait()
    assert received.gone_at >= received.at


def test_paths_without_a_script_and_prefixes(upstream: Upstream) -> None:
    upstream.on("/p/*", reply(body=b"prefix"))
    upstream.on("/p/exact", reply(body=b"exact"))
    with httpx.Client(base_url=upstream.url, trust_env=False) as client:
        assert client.get("/p/exact").text == "exact"
        assert client.get("/p/other?x=1").text == "prefix"
        assert client.get("/q").status_code == 599
    assert len(upstream.requests("/p/*")) == 2


def test_refuse_and_listen_again(upstream: Upstream) -> None:
    upstream.on("/", reply())
    upstream.refuse()
    with pytest.raises(httpx.ConnectError):
        httpx.get(upstream.url, trust_env=False)
    upstream.listen()
    assert httpx.get(upstream.url, trust_env=False).status_code == 200


def test_bulk(upstream: Upstream) -> None:
    import hashlib

    size = 3_000_000
    upstream.on("/down", scripts.bulk_download(size))
    upstream.on("/down-chunked", scripts.bulk_download(size, chunked=True))
    upstream.on("/up", scripts.bulk_upload)
    with httpx.Client(base_url=upstream.url, trust_env=False) as client:
        for path in ("/down", "/down-chunked"):
            assert hashlib.sha256(client.get(path).content).hexdigest() == scripts.pattern_digest(size)
        content = client.get("/down").content
        assert client.post("/up", content=content).text == scripts.pattern_digest(size)
        assert client.post("/up", content=iter([content])).text == scripts.pattern_digest(size)


def test_websocket_and_byte_echo(upstream: Upstream) -> None:
    upstream.on("/ws", scripts.websocket_echo)
    upstream.on("/bytes", scripts.byte_echo)
    with connect(f"ws://127.0.0.1:{upstream.port}/ws", proxy=None) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"
        socket.send(b"\0" * 100_000)
        assert socket.recv(timeout=5) == b"\0" * 100_000
    with RawClient(upstream.port) as caller:
        caller.send(b"GET /bytes HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        assert caller.head().status == 101
        caller.send(b"\0\r\n\xff")
        assert caller.read_exactly(4) == b"\0\r\n\xff"
        caller.half_close()
        assert caller.expect_closed() == "fin"


def test_never_ending_head_goes_on_until_the_reader_leaves(upstream: Upstream) -> None:
    upstream.on("/", scripts.never_ending_head)
    with RawClient(upstream.port) as caller:
        caller.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert len(caller.read_exactly(500_000)) == 500_000
    upstream.wait_for("/").finished.wait()


def test_events_wait_for_their_gates(upstream: Upstream) -> None:
    gates = [Gate(), Gate()]
    upstream.on("/", scripts.events(gates))
    with RawClient(upstream.port, timeout=5) as caller:
        caller.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        caller.head()
        for number, gate in enumerate(gates):
            gate.open()
            assert caller.chunk() == b"id: %d\ndata: event %d\n\n" % (number, number)
        assert caller.chunk() == b""


def test_proxy_asks_for_the_password(upstream: Upstream) -> None:
    upstream.on("/", reply(body=b"through"))
    proxy = ConnectProxy("user", "pa ss")
    try:
        authority = f"127.0.0.1:{upstream.port}".encode()
        ask = b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n"
        with RawClient(proxy.port) as caller:
            assert caller.request(ask + b"\r\n", method="CONNECT").status == 407
        with RawClient(proxy.port) as caller:
            wrong = base64.b64encode(b"user:other")
            assert caller.request(ask + b"Proxy-Authorization: Basic " + wrong + b"\r\n\r\n").status == 407
        with RawClient(proxy.port) as caller:
            right = base64.b64encode(b"user:pa ss")
            caller.send(ask + b"Proxy-Authorization: Basic " + right + b"\r\n\r\n")
            assert caller.head().status == 200
            assert caller.get("/").body == b"through"
        assert (proxy.granted, proxy.refused) == (1, 2)
        assert proxy.connects[0].authority == authority.decode()
    finally:
        proxy.close()
