"""Long exchanges: events, websockets, raw upgrades, bulk bodies, slow readers beside fast ones."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.e2e.conftest import SHORT_DEADLINE
from tests.support import scripts
from tests.support.rawhttp import RawClient, Truncated
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, Gone, reply
from tests.support.waiting import Gate, stays, wait_until

MIB = 1 << 20
BULK = int(os.environ.get("TUNNEL_TEST_BULK_MIB", "1024")) * MIB
"""Size of the bulk bodies: a gigabyte; TUNNEL_TEST_BULK_MIB=64 for slow machines."""


# -- events and drips -------------------------------------------------------------------------------


@pytest.mark.bug(14)
def test_each_event_arrives_before_the_next_is_sent(tunnel: Tunnel, path: str) -> None:
    gates = [Gate(f"event {number}") for number in range(5)]
    tunnel.upstream.on(path, scripts.events(gates))
    with tunnel.raw() as caller:
        caller.start("GET", path)
        assert caller.head().get("content-type") == "text/event-stream"
        for number, gate in enumerate(gates):
            gate.open()
            assert caller.chunk() == b"id: %d\ndata: event %d\n\n" % (number, number)
        assert caller.chunk() == b""


def test_the_answers_head_does_not_wait_for_its_body(tunnel: Tunnel, path: str) -> None:
    gate = Gate()
    tunnel.upstream.on(path, scripts.slow_drip(1, [gate]))
    with tunnel.raw() as caller:
        caller.start("GET", path)
        assert caller.head().status == 200
        gate.open()
        assert caller.chunk() == b"piece-0\n"


def test_request_bodies_are_not_gathered(tunnel: Tunnel, path: str) -> None:
    """The upstream sees the first piece while the caller still holds back the second."""
    pieces: list[bytes] = []

    async def script(x: Exchange) -> None:
        while piece := await x.body_piece():
            pieces.append(piece)
        await x.answer(200)

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("POST", path, "Transfer-Encoding: chunked")
        for number in range(3):
            caller.send(b"1\r\n%d\r\n" % number)
            wait_until(lambda: len(b"".join(pieces)) == number + 1, f"piece {number} at the upstream")  # noqa: B023
        caller.send(b"0\r\n\r\n")
        assert caller.answer().status == 200
    assert b"".join(pieces) == b"012"


def test_both_directions_at_once(tunnel: Tunnel, path: str) -> None:
    """An upstream that answers each piece of the request as it comes."""

    async def script(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while piece := await x.body_piece():
            await x.chunk(piece.upper())
        await x.last_chunk()

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("POST", path, "Transfer-Encoding: chunked")
        assert caller.head().status == 200
        for word in (b"one", b"two", b"three"):
            caller.send(b"%x\r\n%b\r\n" % (len(word), word))
            assert caller.chunk() == word.upper()
        caller.send(b"0\r\n\r\n")
        assert caller.chunk() == b""


@pytest.mark.bug(14)
def test_a_stream_outlives_the_services_deadline(tunnel: Tunnel, path: str) -> None:
    """The deadline is for the head of the answer: three gaps that sum up past it cut nothing."""
    gates = [Gate() for _ in range(4)]
    tunnel.upstream.on(path, scripts.events(gates))
    with tunnel.raw() as caller:
        caller.start("GET", path, host=SHORT_DEADLINE)
        caller.head()
        for gate in gates:
            timer = threading.Timer(0.6, gate.open)
            timer.start()
            assert b"data: event" in caller.chunk()
            timer.join()
        assert caller.chunk() == b""


# -- upgrades ---------------------------------------------------------------------------------------


def test_websocket_echo(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, scripts.websocket_echo)
    url = f"ws://{HOST}:{tunnel.hub.callers_port}{path}?q=%20"
    with connect(
        url,
        sock=tunnel.socket(),
        proxy=None,
        subprotocols=[Subprotocol("echo.v1")],
        max_size=None,
    ) as socket:
        assert socket.subprotocol == "echo.v1"
        for message in ("hello", "", "é" * 1000, b"", b"\0\xff" * 10, os.urandom(2 * MIB)):
            socket.send(message)
            assert socket.recv(timeout=20) == message
        for number in range(500):
            socket.send(str(number))
        assert [socket.recv(timeout=20) for _ in range(500)] == [str(number) for number in range(500)]
        assert socket.ping().wait(10)
    assert socket.close_code == 1000
    received = tunnel.upstream.only(path)
    assert received.target.endswith(b"?q=%20")
    received.finished.wait()


@pytest.mark.bug(14)
def test_a_websocket_outlives_the_services_deadline(make_tunnel: Callable[..., Tunnel]) -> None:
    tunnel = make_tunnel(
        service={"deadline": "500ms", "upgrades": ["websocket"]}, agent_service={"upgrades": ["websocket"]}
    ).start()
    tunnel.upstream.on("/ws", scripts.websocket_echo)
    with connect(f"ws://{HOST}/ws", sock=tunnel.socket(), proxy=None) as socket:
        for word in ("one", "two", "three"):
            stays(lambda: tunnel.hub.running, "the hub runs", 0.6)
            socket.send(word)
            assert socket.recv(timeout=5) == word


def test_any_other_upgrade_is_a_byte_pipe(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, scripts.byte_echo)
    with tunnel.raw() as caller:
        caller.start("GET", path, "Connection: upgrade", "Upgrade: echo", body=b"early")
        answer = caller.head()
        assert (answer.status, answer.get("upgrade")) == (101, "echo")
        assert (answer.get("connection") or "").lower() == "upgrade"
        assert caller.read_exactly(5) == b"early"
        blob = os.urandom(300_000)
        sender = threading.Thread(target=caller.send, args=(blob,))
        sender.start()
        assert caller.read_exactly(len(blob)) == blob
        sender.join()
        caller.half_close()
        assert caller.expect_closed() == "fin"


def test_an_upgrade_that_the_upstream_declines_is_an_ordinary_answer(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply(426, [("Upgrade", "websocket")], b"no", "Upgrade Required"))
    answer = tunnel.fetch(path, "Connection: upgrade", "Upgrade: echo")
    assert (answer.status, answer.body) == (426, b"no")


def test_an_upgraded_callers_end_reaches_the_upstream(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        await x.until_gone()

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("GET", path, "Connection: upgrade", "Upgrade: echo")
        assert caller.head().status == 101
        caller.abort()
    tunnel.upstream.only(path).gone.wait(5)


# -- bulk -------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunked", [False, True])
def test_bulk_download_arrives_whole(tunnel: Tunnel, path: str, chunked: bool) -> None:
    size = BULK if not chunked else BULK // 4
    tunnel.upstream.on(path, scripts.bulk_download(size, chunked=chunked))
    digest, total = hashlib.sha256(), 0
    with tunnel.client.stream("GET", path) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_raw(MIB):
            digest.update(piece)
            total += len(piece)
    assert total == size
    assert digest.hexdigest() == scripts.pattern_digest(size)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunked", [False, True])
def test_bulk_upload_arrives_whole(tunnel: Tunnel, path: str, chunked: bool) -> None:
    size = BULK if not chunked else BULK // 4
    tunnel.upstream.on(path, scripts.bulk_upload)

    def pieces() -> Iterator[bytes]:
        for _ in range(size // MIB):
            yield scripts.PATTERN

    headers = {} if chunked else {"Content-Length": str(size)}
    answer = tunnel.client.post(path, content=pieces(), headers=headers, timeout=120)
    assert answer.status_code == 200
    assert answer.text == scripts.pattern_digest(size)
    assert tunnel.upstream.only(path).body_bytes == size


def test_many_bodies_at_once_stay_apart(tunnel: Tunnel, path: str) -> None:
    """20 callers, each with its own body both ways: nobody gets another's bytes."""

    async def mirror(x: Exchange) -> None:
        body = await x.body()
        await x.answer(200, body=body[::-1])

    tunnel.upstream.on(path, mirror)
    failures: list[object] = []

    def call(number: int) -> None:
        try:
            with tunnel.raw() as caller:
                for turn in range(5):
                    body = hashlib.shake_128(b"%d/%d" % (number, turn)).digest(40_000 + 997 * number)
                    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
                    answer = caller.request(head.encode() + body)
                    assert answer.body == body[::-1]
        except BaseException as error:
            failures.append(error)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert not failures


# -- slow ones beside fast ones ---------------------------------------------------------------------


@pytest.mark.bug(1)
@pytest.mark.bug(6)
def test_a_stalled_reader_stops_nobody_and_costs_little(make_tunnel: Callable[..., Tunnel]) -> None:
    tunnel = make_tunnel(sessions=1).start()
    tunnel.upstream.on("/big", scripts.bulk_download(1024 * MIB))
    tunnel.upstream.on("/small", reply())
    for _ in range(50):
        tunnel.fetch("/small")
    before = tunnel.hub.memory() + tunnel.agent.memory()
    with tunnel.raw(receive_buffer=4096) as stalled:
        stalled.start("GET", "/big")
        stalled.head()
        for _ in range(100):
            assert tunnel.fetch("/small", timeout=3).status == 200
        stays(lambda: tunnel.fetch("/small", timeout=3).status == 200, "others are served", 2.0)
        grown = tunnel.hub.memory() + tunnel.agent.memory() - before
        assert grown < 20 * MIB, f"a stalled reader costs {grown / MIB:.1f} MiB"
        stalled.abort()
    tunnel.upstream.only("/big").gone.wait(5)


@pytest.mark.bug(5)
def test_a_second_large_pull_after_an_abandoned_one(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, scripts.bulk_download(64 * MIB))
    for _ in range(3):
        with tunnel.raw(receive_buffer=4096) as abandoned:
            abandoned.start("GET", path)
            abandoned.head()
            abandoned.read_exactly(200_000)
            abandoned.abort()
    with tunnel.raw(timeout=30) as caller:
        answer = caller.get(path)
    assert hashlib.sha256(answer.body).hexdigest() == scripts.pattern_digest(64 * MIB)


@pytest.mark.bug(2)
def test_a_slow_upload_holds_up_nobody(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply())
    tunnel.upstream.on(path + "/slow", reply(body=b"slow"))
    with tunnel.raw() as slow:
        slow.start("POST", f"{path}/slow", "Content-Length: 30")
        for _ in range(30):
            slow.send(b"x")
            assert tunnel.fetch(path, timeout=3).status == 200
        assert slow.answer().body == b"slow"


@pytest.mark.bug(1)
def test_an_upstream_that_reads_nothing_holds_up_nobody(tunnel: Tunnel, path: str) -> None:
    """An upload into an upstream that does not read: it stops, others go on, and it ends with its caller."""
    gate = Gate()

    async def deaf(x: Exchange) -> None:
        x.keep_body = False
        await gate.passed()
        try:
            await x.body()
        except Gone:
            return

    tunnel.upstream.on(path + "/deaf", deaf)
    tunnel.upstream.on(path, reply())
    stop = threading.Event()
    sent = 0

    def upload(caller: RawClient) -> None:
        nonlocal sent
        try:
            while not stop.is_set():
                caller.send(b"x" * 65536)
                sent += 65536
        except OSError:
            return

    with tunnel.raw(timeout=1) as caller:
        caller.start("POST", f"{path}/deaf", f"Content-Length: {1 << 40}")
        uploader = threading.Thread(target=upload, args=(caller,))
        uploader.start()
        uploader.join(15)  # its send times out once nobody takes bytes any more
        assert not uploader.is_alive(), "the upload goes on although nobody reads"
        assert sent < 64 * MIB
        for _ in range(20):
            assert tunnel.fetch(path, timeout=3).status == 200
        stop.set()
        caller.abort()
    gate.open()
    tunnel.upstream.only(path + "/deaf").finished.wait()


@pytest.mark.bug(4)
def test_a_download_stopped_and_resumed_loses_no_byte(tunnel: Tunnel, path: str) -> None:
    size = 48 * MIB
    tunnel.upstream.on(path, scripts.bulk_download(size))
    digest, total = hashlib.sha256(), 0
    with tunnel.raw(receive_buffer=16384) as caller:
        caller.start("GET", path)
        assert caller.head().get("content-length") == str(size)
        while total < size:
            piece = caller.read_exactly(min(4 * MIB, size - total))
            total += len(piece)
            digest.update(piece)
            if total % (16 * MIB) == 0:  # stop reading for a while: every buffer on the way fills
                stays(lambda: tunnel.hub.running, "the hub runs", 0.3)
    assert digest.hexdigest() == scripts.pattern_digest(size)


def test_a_cut_download_is_visible(make_tunnel: Callable[..., Tunnel]) -> None:
    """The link breaks at 60 % of a 150 kB body: the caller never sees a complete 200."""
    tunnel = make_tunnel(relay=True, sessions=1).start()
    gate = Gate()
    body = scripts.PATTERN[:150_000]

    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n" + body[:90_000])
        await gate.passed()
        await x.send(body[90_000:])

    tunnel.upstream.on("/photo", script)
    assert tunnel.relay is not None
    with tunnel.raw() as caller:
        caller.start("GET", "/photo")
        answer = caller.head()
        assert caller.read_exactly(80_000) == body[:80_000]
        tunnel.relay.cut()
        gate.open()
        with pytest.raises(Truncated):
            caller.read_exactly(int(answer.get("content-length") or "0") - 80_000)
