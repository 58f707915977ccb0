"""The fault relay does to bytes exactly what a test asked for."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.rawhttp import RawClient, Truncated
from tests.support.relay import Relay
from tests.support.upstream import Exchange, Upstream, reply
from tests.support.waiting import Gate, stays, wait_until

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    server.on("/x", reply(200, body=b"y" * 1000))
    yield server
    server.close()


@pytest.fixture
def relay(upstream: Upstream) -> Iterator[Relay]:
    made = Relay(upstream.port)
    yield made
    made.close()


def test_passes_bytes_and_counts_them(relay: Relay) -> None:
    with RawClient(relay.port) as caller:
        answer = caller.request(GET)
    assert answer.body == b"y" * 1000
    assert relay.count("up") == len(GET)
    assert relay.count("down") == len(answer.raw_head) + 1000


def test_delay_holds_each_direction(relay: Relay) -> None:
    relay.set(delay=0.1)
    with RawClient(relay.port) as caller:
        began = time.monotonic()
        caller.request(GET)
        assert time.monotonic() - began >= 0.2


def test_rate_limits(relay: Relay) -> None:
    relay.set("down", rate=5000.0)
    with RawClient(relay.port) as caller:
        began = time.monotonic()
        caller.request(GET)
        assert time.monotonic() - began >= 0.15


def test_stall_and_clear(relay: Relay, upstream: Upstream) -> None:
    with RawClient(relay.port) as caller:
        caller.request(GET)
        relay.stall()
        caller.send(GET)
        stays(lambda: len(upstream.ledger) == 1, "nothing may pass a stalled relay", 0.1)
        relay.clear()
        assert caller.answer().complete


def test_black_hole_loses_what_was_sent(relay: Relay, upstream: Upstream) -> None:
    with RawClient(relay.port) as caller:
        caller.request(GET)
        relay.black_hole("up")
        caller.send(GET)
        wait_until(lambda: relay.links[0].pipes["up"].received == 2 * len(GET), "the bytes to be swallowed")
        relay.clear()
        caller.request(GET)
    assert len(upstream.ledger) == 2


@pytest.mark.parametrize("ending", ["fin", "reset"])
def test_ends_after_a_chosen_byte(relay: Relay, ending: str) -> None:
    with RawClient(relay.port) as caller:
        head = caller.request(GET).raw_head
        relay.end_after("down", len(head) + 600, ending)  # type: ignore[arg-type]
        with pytest.raises(Truncated) as cut:
            caller.request(GET)
    assert cut.value.answer is not None
    assert cut.value.answer.body == b"y" * 600
    assert cut.value.closing == ending


def test_half_open_keeps_one_side_in_the_dark(relay: Relay, upstream: Upstream) -> None:
    gate = Gate()

    async def script(x: Exchange) -> None:
        await x.body()
        gate.open()
        await x.until_gone()

    upstream.on("/x", script)
    with RawClient(relay.port, timeout=0.2) as caller:
        caller.send(GET)
        gate.wait()
        relay.half_open("client")
        upstream.only("/x").gone.wait()
        with pytest.raises(TimeoutError):
            caller.read_some()
        caller.send(b"more")


def test_refuse_and_listen_again(relay: Relay) -> None:
    relay.refuse()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", relay.port)):
        pass
    relay.listen()
    with RawClient(relay.port) as caller:
        assert caller.request(GET).complete


def test_cut_resets(relay: Relay) -> None:
    with RawClient(relay.port) as caller:
        caller.request(GET)
        relay.cut()
        assert caller.expect_closed() == "reset"
    assert relay.open_links == 0


def test_a_target_that_is_down_resets_the_client(relay: Relay, upstream: Upstream) -> None:
    upstream.refuse()
    try:
        with RawClient(relay.port) as caller:
            assert caller.expect_closed() == "reset"
    except ConnectionResetError:
        pass  # the reset came before connect() had returned
    assert not relay.links
