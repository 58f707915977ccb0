"""Callers that go away and upstreams that die: nobody is left waiting, nothing broken looks whole."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support import scripts
from tests.support.problems import assert_problem
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, Gone, Received, reply
from tests.support.waiting import PATIENCE, Gate, wait_until

CANCELLED_WITHIN = 1.0


def assert_gone_within(received: Received, left_at: float) -> None:
    """The agent closed the upstream's connection within the promised second of the caller's leaving."""
    received.gone.wait(10)
    taken = received.gone_at - left_at
    assert taken <= CANCELLED_WITHIN * PATIENCE, f"the upstream's connection was closed after {taken:.2f} s"


# -- the caller goes away ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "abort"])
def test_before_the_answer(tunnel: Tunnel, path: str, how: str) -> None:
    tunnel.upstream.on(path, scripts.no_answer)
    with tunnel.raw() as caller:
        caller.start("GET", path)
        received = tunnel.upstream.wait_for(path)
        left_at = time.monotonic()
        getattr(caller, how)()
    assert_gone_within(received, left_at)


def test_in_the_middle_of_the_answer(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await x.until_gone()

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("GET", path)
        caller.head()
        assert caller.chunk() == b"first"
        left_at = time.monotonic()
        caller.abort()
    assert_gone_within(tunnel.upstream.only(path), left_at)


@pytest.mark.parametrize("how", ["close", "abort", "half_close"])
@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_in_the_middle_of_its_own_body(tunnel: Tunnel, path: str, how: str, framing: str) -> None:
    """Half a body is never completed on the caller's behalf: the upstream sees a broken request."""

    async def script(x: Exchange) -> None:
        await x.answer(200)

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("POST", path, f"{framing}")
        caller.send(b"4\r\nhalf\r\n")
        received = tunnel.upstream.wait_for(path)
        wait_until(lambda: received.body_bytes > 0, "the first bytes at the upstream")
        left_at = time.monotonic()
        getattr(caller, how)()
        received.gone.wait()
    assert_gone_within(received, left_at)
    assert not received.complete


def test_while_the_upload_waits_for_credit(tunnel: Tunnel, path: str) -> None:
    gate = Gate()

    async def script(x: Exchange) -> None:
        x.keep_body = False
        await gate.passed()
        await x.body()

    tunnel.upstream.on(path, script)
    with tunnel.raw(timeout=0.5) as caller:
        caller.start("POST", path, f"Content-Length: {1 << 40}")
        with pytest.raises(TimeoutError):
            caller.send(b"x" * (256 << 20))  # more than windows and buffers on the way can take
        caller.abort()
    gate.open()
    received = tunnel.upstream.only(path)
    received.finished.wait()
    assert not received.complete


def test_pipelined_requests_of_a_caller_that_left_are_dropped(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, scripts.no_answer)
    with tunnel.raw() as caller:
        caller.send(f"GET {path}?n=1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 3)
        received = tunnel.upstream.wait_for(path)
        left_at = time.monotonic()
        caller.abort()
    assert_gone_within(received, left_at)


def test_many_at_once_leave_nothing_behind(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, scripts.no_answer)
    tunnel.upstream.on(path + "/after", reply())
    callers = [tunnel.raw() for _ in range(50)]
    for caller in callers:
        caller.start("GET", path)
    tunnel.upstream.wait_for(path, 50, timeout=20)
    for caller in callers:
        caller.abort()
    for received in tunnel.upstream.requests(path):
        received.gone.wait()
    assert tunnel.fetch(path + "/after").status == 200


def test_an_abandoned_requests_late_answer_reaches_nobody(tunnel: Tunnel, path: str) -> None:
    """One caller times out again and again, another on the same tunnel gets its own answers only."""

    async def late(x: Exchange) -> None:
        await x.body()
        try:
            await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            await x.send(b"LATE")
        except Gone:
            return

    async def echo(x: Exchange) -> None:
        await x.answer(200, body=x.received.target)

    tunnel.upstream.on(path + "/late", late)
    tunnel.upstream.on(path, echo)
    with tunnel.raw() as other:
        for number in range(100):
            with tunnel.raw() as caller:
                caller.start("GET", f"{path}/late")
                caller.abort()
            assert other.get(f"{path}?n={number}").body == f"{path}?n={number}".encode()


# -- the upstream dies ------------------------------------------------------------------------------


@pytest.mark.bug(9)
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize(
    ("head", "sent"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"some"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nsome\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nsome\r\n8\r\nhalf"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nsome\r\n0\r\n"),
    ],
    ids=["length", "chunked", "in-a-chunk", "before-the-last-crlf"],
)
def test_in_its_body(tunnel: Tunnel, path: str, head: bytes, sent: bytes, reset: bool) -> None:
    gate = Gate("the caller to have the first bytes")
    tunnel.upstream.on(path, scripts.dies_in_body(head, sent, reset=reset, gate=gate))
    with tunnel.raw() as caller:
        caller.start("GET", path)
        answer = caller.head()
        assert answer.status == 200
        if answer.has("transfer-encoding"):
            assert caller.chunk().startswith(b"some")
        else:
            assert caller.read_exactly(4) == b"some"
        gate.open()
        rest, _ = caller.read_to_end()
        assert b"0\r\n\r\n" not in rest, "a broken body was ended as if it were whole"
        assert len(rest) < 96


@pytest.mark.bug(9)
def test_clients_notice_an_upstreams_death(tunnel: Tunnel, path: str) -> None:
    """The same, as an ordinary HTTP library sees it."""
    for framing in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
        head = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"
        tunnel.upstream.on(path, scripts.dies_in_body(head, b"4\r\nsome\r\n"))
        try:
            status = tunnel.client.get(path).status_code
        except (httpx.RemoteProtocolError, httpx.ReadError):
            continue
        assert status == 502, "dying together with the head may be told as a failure, never as a success"


@pytest.mark.bug(9)
@pytest.mark.bug(8)
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
def test_before_its_answer(tunnel: Tunnel, path: str, reset: bool) -> None:
    tunnel.upstream.on(path, scripts.resets_without_answer if reset else scripts.closes_without_answer)
    answer = tunnel.fetch(path, method="POST", body=b"{}")
    assert_problem(answer, 502, delivered="unknown", code="upstream_closed", hidden=(str(tunnel.upstream.port),))
    assert len(tunnel.upstream.requests(path)) == 1, "a POST that may have arrived is never sent twice"


def test_in_the_middle_of_its_head(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        x.close()

    tunnel.upstream.on(path, script)
    assert_problem(tunnel.fetch(path, method="POST", body=b""), 502, delivered=None)


def test_in_the_middle_of_the_request_body(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        await x.body_piece()
        x.reset()

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("POST", path, "Content-Length: 1000000")
        caller.send(b"x" * 1000)
        answer = caller.answer()
        assert_problem(answer, 502, delivered="unknown")


def test_a_kept_connection_that_the_upstream_closed_costs_no_request(tunnel: Tunnel, path: str) -> None:
    """The keep-alive race: an idle connection dies just as a request leaves. Bodyless and repeatable: 200."""
    tunnel.upstream.on(path, reply())
    for _ in range(20):
        assert tunnel.fetch(path).status == 200
        tunnel.upstream.cut()


@pytest.mark.bug(10)
def test_a_retried_request_never_doubles_data(tunnel: Tunnel, path: str) -> None:
    """A GET may be repeated by the tunnel only while no byte of its answer was passed on."""
    turns: list[int] = []

    async def script(x: Exchange) -> None:
        turns.append(1)
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        x.reset()

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("GET", path)
        data, _ = caller.read_to_end()
    assert data.count(b"hello") <= 1
    if b"502" not in data.split(b"\r\n")[0]:
        assert len(turns) == 1


def test_the_link_breaks_before_the_answer_to_a_post(make_tunnel: Callable[..., Tunnel]) -> None:
    """Scenario 7: the upstream acted, the link is cut before its answer: 502, unknown, and one POST."""
    tunnel = make_tunnel(relay=True, sessions=1).start()
    gate = Gate()

    async def script(x: Exchange) -> None:
        await x.body()
        await gate.passed()
        await x.answer(200, body=b"booked")

    tunnel.upstream.on("/booking", script)
    assert tunnel.relay is not None
    with tunnel.raw() as caller:
        caller.start("POST", "/booking", "Content-Length: 2", body=b"{}")
        tunnel.upstream.wait_for("/booking")
        tunnel.relay.cut()
        answer = caller.answer()
        gate.open()
    assert_problem(answer, 502, delivered="unknown", code="session_lost", origin="tunnel")
    tunnel.wait_served()
    tunnel.upstream.only("/booking")


def test_a_dying_agents_requests_are_repeated_only_where_that_is_safe(make_tunnel: Callable[..., Tunnel]) -> None:
    """Two agents; the one that has both requests dies. The GET may be repeated at the other, the POST never."""
    tunnel = make_tunnel(agent_ids=("leeds-1", "leeds-2"))
    gate = Gate()

    async def script(x: Exchange) -> None:
        await x.body()
        if not gate.is_open:
            await x.until_gone()
        else:
            await x.answer(200, body=b"served")

    tunnel.upstream.on("/safe", script)
    tunnel.upstream.on("/unsafe", script)
    tunnel.hub.start()
    tunnel.agents[0].start()
    tunnel.hub.wait_healthy()
    with tunnel.raw() as safe, tunnel.raw() as unsafe:
        safe.start("GET", "/safe")
        unsafe.start("POST", "/unsafe", "Content-Length: 2", body=b"{}")
        tunnel.upstream.wait_for("/safe")
        tunnel.upstream.wait_for("/unsafe")
        tunnel.agents[1].start()
        tunnel.agents[1].wait_ready()
        gate.open()
        tunnel.agents[0].kill()
        answer = safe.answer()
        if answer.status == 200:
            assert answer.body == b"served"
            assert len(tunnel.upstream.requests("/safe")) == 2
        else:
            assert_problem(answer, 502, delivered="unknown", code="session_lost")
            assert len(tunnel.upstream.requests("/safe")) == 1
        assert_problem(unsafe.answer(), 502, delivered="unknown", code="session_lost")
    tunnel.upstream.only("/unsafe")


def test_random_departures_never_mix_up_answers(tunnel: Tunnel, path: str) -> None:
    """Scenario 8: callers leave at any moment, again and again; whoever stays gets its own answer, whole."""

    async def echo(x: Exchange) -> None:
        body = await x.body()
        size = len(body)
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body[: size // 2])
        await asyncio.sleep(0)
        await x.send(body[size // 2 :])

    def caller(seed: int) -> int:
        chance = random.Random(seed)
        whole = 0
        connection = tunnel.raw()
        for turn in range(150):
            body = hashlib.shake_128(b"%d/%d" % (seed, turn)).digest(chance.choice((10, 1000, 60_000)))
            if chance.random() < 0.4:
                sent = body[: chance.randint(0, len(body))]
                connection.start("POST", path, f"Content-Length: {len(body)}", body=sent)
                connection.abort()
                connection = tunnel.raw()
            else:
                connection.start("POST", path, f"Content-Length: {len(body)}", body=body)
                assert connection.answer().body == body
                whole += 1
        connection.close()
        return whole

    tunnel.upstream.on(path, echo)
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(caller, range(6))) > 500
    tunnel.upstream.ledger.clear()
