"""The egress and TLS: whom it trusts, what it shows, how handshakes and answers end."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import StreamCode
from tests.support.tls import PrivateCA
from tests.unit.egress.harness import (
    HOST,
    LINE,
    SWITCH,
    Peer,
    both_loops,
    client,
    pair,
    request,
    serve,
    silent,
    until,
)
from tunnel_agent.egress.dial import tls_context

# -- TLS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCA:
    return PrivateCA(tmp_path_factory.mktemp("ca"))


@both_loops
async def test_tls_with_an_own_authority_and_a_client_certificate(ca: PrivateCA) -> None:
    own = ca.issue("agent.example")
    context = tls_context(ca.ca_file, own.certificate, own.key)
    server_tls = ca.server_context(ask_client=True)
    async with pair(serve, server_tls=server_tls, tls=context) as (it, server):
        for _ in range(3):
            assert (await it.ask()).body == b"ok"
        assert (len(server.peers), it.upstream.reuse) == (1, 2)
        assert server.heads[0].startswith(b"GET /x HTTP/1.1\r\nHost: " + HOST)


@both_loops
async def test_tls_for_another_name_than_the_address(ca: PrivateCA) -> None:
    server_tls = ca.server_context(ca.issue("visits.internal"))
    async with pair(serve, server_tls=server_tls, tls=tls_context(ca.ca_file), server_name="visits.internal") as (
        it,
        _,
    ):
        assert (await it.ask()).status == 200


async def tls_failure(server_tls: Any, script: Any = serve, **settings: Any) -> tuple[StreamCode, str]:
    async with pair(script, server_tls=server_tls, **settings) as (it, server):
        got = await it.ask()
        assert got.failure is not None
        assert server.heads == []
        await until(lambda: server.live == 0 and it.upstream.open == 0, "the connection is closed")
        return got.failure


@both_loops
async def test_tls_certificates_that_do_not_verify(ca: PrivateCA, tmp_path: Path) -> None:
    other = PrivateCA(tmp_path / "other")
    code, detail = await tls_failure(ca.server_context(), tls=tls_context(other.ca_file))
    assert (code, detail) == (
        StreamCode.UPSTREAM_TLS,
        "certificate comes from an authority that is not trusted",
    )
    wrong_name = ca.server_context(ca.issue("another.example"))
    code, detail = await tls_failure(wrong_name, tls=tls_context(ca.ca_file), server_name="visits.internal")
    assert (code, detail) == (
        StreamCode.UPSTREAM_TLS,
        "certificate is not valid for the configured name",
    )
    assert (await tls_failure(wrong_name, tls=tls_context(ca.ca_file)))[0] is StreamCode.UPSTREAM_TLS


@both_loops
async def test_tls_without_the_client_certificate_that_the_upstream_requires(ca: PrivateCA) -> None:
    # A blocking server: asyncio's own does not send the alert that says why it refuses.
    listener = socket.create_server(("127.0.0.1", 0))
    context = ca.server_context(ask_client=True)

    def refuse() -> None:
        accepted, _ = listener.accept()
        tls = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        with pytest.raises(ssl.SSLError):
            tls.do_handshake()
        with socket.socket(fileno=tls.detach()) as rest:  # a close with unread data would overtake the alert
            rest.shutdown(socket.SHUT_WR)
            while rest.recv(65536):
                pass

    thread = threading.Thread(target=refuse)
    thread.start()
    async with client(listener.getsockname()[1], tls=tls_context(ca.ca_file)) as it:
        got = await it.ask()
        assert got.failure == (StreamCode.UPSTREAM_TLS, "the upstream requires a client certificate")
    thread.join()
    listener.close()


@both_loops
async def test_tls_to_a_port_that_speaks_plain_http(ca: PrivateCA) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    failure = await tls_failure(None, plain, tls=tls_context(ca.ca_file))
    assert failure == (StreamCode.UPSTREAM_TLS, "the upstream does not speak TLS on this port")


@both_loops
async def test_tls_handshakes_that_hang_or_are_cut_off(ca: PrivateCA) -> None:
    failure = await tls_failure(None, silent, tls=tls_context(ca.ca_file), timeouts={"connect": 0.1})
    assert failure == (StreamCode.CONNECT_TIMEOUT, "no connection in time")

    async def cut(peer: Peer) -> None:
        await peer.reader.read(10)

    failure = await tls_failure(None, cut, tls=tls_context(ca.ca_file))
    assert failure == (StreamCode.UPSTREAM_TLS, "the upstream ended the TLS handshake")


@both_loops
async def test_tls_tells_the_end_of_an_answer_from_a_cut(ca: PrivateCA) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        head = await peer.head()
        await peer.send(LINE + b"\r\nbody")
        if b"/cut" in head:
            await seen.wait()
            peer.writer.transport.abort()  # FIN without close_notify

    async with pair(script, server_tls=ca.server_context(), tls=tls_context(ca.ca_file)) as (it, _):
        whole = await it.ask()
        assert (whole.body, whole.ended) == (b"body", True)
        cut = it.start(request(target=b"/cut"))
        cut.hook = lambda _: seen.set()
        await until(lambda: cut.over, "the end")
        assert cut.code is StreamCode.UPSTREAM_TRUNCATED


@both_loops
async def test_tls_pipes_end_both_ways_at_once(ca: PrivateCA) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH + b"hi")

    async with pair(script, server_tls=ca.server_context(), tls=tls_context(ca.ca_file)) as (it, _):
        got = it.start(request(upgrade=b"echo"))
        await until(lambda: got.over, "the end")
        assert (got.body, got.ended) == (b"hi", True)
        await until(lambda: got.unwanted, "the other direction is over too")


@both_loops
async def test_tls_carries_big_bodies_both_ways_with_backpressure(ca: PrivateCA) -> None:
    size = 3_000_000

    async def script(peer: Peer) -> None:
        await peer.head()
        body = await peer.reader.readexactly(size)
        await peer.send(LINE + b"Content-Length: %d\r\n\r\n" % size + body)
        await peer.until_gone()

    data = random.Random(2).randbytes(size)
    async with pair(script, server_tls=ca.server_context(), tls=tls_context(ca.ca_file)) as (it, _):
        got = it.start(request(b"PUT", length=size, complete=False))
        assert got.call is not None
        for start in range(0, size, 50_000):
            before = got.writable
            if not got.call.body(data[start : start + 50_000]):
                await it.writable(got, before)
        await until(lambda: got.over, "the answer")
        assert got.body == data
