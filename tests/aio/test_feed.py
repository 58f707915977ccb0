"""Feeds on real sockets: what a source may do to them, and what stays in force meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.issuer import Issuer
from tests.support.logs import Logged, kept
from tests.support.ports import free_port
from tests.support.tls import PrivateCA
from tests.unit.egress.harness import both_loops, until
from tests.unit.gateway.feeds import running
from tunnel_hub.gateway import feed
from tunnel_hub.gateway.feed import BadDocument, Feed, open_client

LIMIT = 1000


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FIRST_RETRY", 0.02)


@pytest.fixture
def log() -> Iterator[Logged]:
    with kept():
        yield Logged()


@pytest.fixture
def source() -> Iterator[Issuer]:
    source = Issuer("ES256")
    yield source
    source.close()


def read(body: bytes) -> bytes:
    if not body.startswith(b"["):
        raise BadDocument("the document is no list")
    return body


def make(url: str, got: list[bytes], **knobs: Any) -> Feed[bytes]:
    return Feed("news", url, **{"interval": 30, "limit": LIMIT, "read": read, "taken": got.append, **knobs})


@both_loops
async def test_the_first_fetch_is_at_once_and_others_follow(source: Issuer, log: Logged) -> None:
    taken: list[bytes] = []
    news = make(source.feed.url, taken, interval=0.5)
    assert not news.ready
    source.revoked.append("a")
    async with running(news):
        await until(lambda: taken, "the first fetch")
        assert news.ready
        assert news.last_success is not None
        assert news.known_at is not None
        assert news.known_at <= news.last_success
        assert news.stale_for(news.last_success + 5) == 5
        source.revoked.append("b")
        await until(lambda: len(taken) == 2, "the next one")
    assert taken == [b'["a"]', b'["a", "b"]']
    assert news.failures == 0
    assert log.events == []


async def test_what_has_not_changed_is_not_sent_again(source: Issuer) -> None:
    taken: list[bytes] = []
    news = make(source.feed.url, taken)
    async with running(news):
        await until(lambda: news.ready, "the first fetch")
        first = news.last_success
        news.refresh()
        await until(lambda: news.last_success != first, "the second fetch")
        assert source.feed.statuses == [200, 304]
        source.revoked.append("a")
        news.refresh()
        await until(lambda: len(taken) == 2, "the third fetch")
    assert source.feed.statuses == [200, 304, 200]
    assert {fields["accept-encoding"] for fields in source.feed.requests} == {"identity"}


async def test_a_bad_document_is_asked_for_again(source: Issuer) -> None:
    """Its ETag is not kept: or 304 would mean that the bad one holds."""
    taken: list[bytes] = []
    news = make(source.jwks.url, taken)
    async with running(news):
        await until(lambda: news.failures >= 2, "two failures")
    assert set(source.jwks.statuses) == {200}
    assert taken == []


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("down", "RemoteProtocolError"),
        ("error", "status 503"),
        ("slow", "no whole answer in time"),
        ("garbage", "the document is no list"),
        ("redirect", "status 302"),
        ("huge", "the document is longer than 1000 bytes"),
        ("compressed", "the answer is compressed, which was not asked for"),
    ],
)
async def test_what_a_source_may_do(
    source: Issuer, log: Logged, monkeypatch: pytest.MonkeyPatch, mode: Any, reason: str
) -> None:
    if mode == "slow":
        monkeypatch.setattr(feed, "FETCH_TIMEOUT", 0.3)
    taken: list[bytes] = []
    news = make(source.feed.url + "?secret=1", taken)
    async with running(news):
        await until(lambda: taken, "the first fetch")
        before = news.last_success
        source.feed.mode = mode
        source.revoked.append("a")
        news.refresh()
        await until(lambda: news.failures >= 2, "it fails, and again")
        assert news.ready
        assert news.last_success == before
        assert taken == [b"[]"]
        source.feed.mode = "ok"
        monkeypatch.setattr(feed, "FETCH_TIMEOUT", 10.0)
        await until(lambda: len(taken) == 2, "it works again")
    assert taken[1] == b'["a"]'
    assert source.jwks.requests == [], "no redirect is followed"
    assert [(event["event"], event.get("reason")) for event in log.events] == [
        ("a feed fails; what it said last stays in force", reason),
        ("a feed works again", None),
    ]
    assert "secret" not in str(log.events)
    assert "127.0.0.1" not in str(log.events)


async def test_where_nothing_listens(log: Logged) -> None:
    news = make(f"http://127.0.0.1:{free_port()}/", [])
    async with running(news):
        await until(lambda: news.failures >= 2, "it fails")
        assert not news.ready
    assert [event["reason"] for event in log.events] == ["ConnectError"]


async def test_over_tls(tmp_path: Path, log: Logged) -> None:
    ca = PrivateCA(tmp_path)
    source = Issuer("ES256", tls=ca.server_context())
    try:
        taken: list[bytes] = []
        trusting = make(source.feed.url, taken, client=partial(open_client, ca.ca_file))
        wary = make(source.feed.url, [])
        async with running(trusting), running(wary):
            await until(lambda: taken, "the fetch")
            await until(lambda: wary.failures, "the system's authorities do not know it")
            assert not wary.ready
        assert [event["reason"] for event in log.events] == ["ConnectError"]
    finally:
        source.close()


async def test_a_client_that_cannot_be_made_is_tried_again(source: Issuer) -> None:
    made: list[int] = []
    taken: list[bytes] = []

    def client() -> httpx.AsyncClient:
        made.append(1)
        if len(made) == 1:
            raise FileNotFoundError("no such authority file")
        return open_client()

    news = make(source.feed.url, taken, client=client)
    async with running(news):
        await until(lambda: taken, "the first fetch")
    assert len(made) == 2
    assert news.failures == 1


async def test_a_mistake_in_the_program_does_not_end_the_feed(source: Issuer) -> None:
    taken: list[bytes] = []
    mistakes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: mistakes.append(context))

    def take(body: bytes) -> None:
        if not mistakes:
            raise KeyError("oops")
        taken.append(body)

    news = make(source.feed.url, taken, taken=take)
    async with running(news):
        await until(lambda: taken, "the second fetch")
    assert len(mistakes) == 1


async def test_refresh_during_a_fetch_asks_once_more(source: Issuer) -> None:
    """What was published after the fetch began must not wait for the interval."""
    source.feed.mode = "slow"
    taken: list[bytes] = []
    news = make(source.feed.url, taken)
    async with running(news):
        await until(lambda: len(source.feed.requests) == 1, "it asks")
        news.refresh()
        await asyncio.sleep(0)
        assert len(source.feed.requests) == 1
        source.feed.mode = "ok"
        source.drop()
        await until(lambda: taken, "it asks again")


async def test_it_stops_at_once_and_may_start_again(source: Issuer) -> None:
    source.feed.mode = "slow"
    taken: list[bytes] = []
    news = make(source.feed.url, taken)
    await news.stop()
    news.start()
    await until(lambda: source.feed.requests, "it asks")
    async with asyncio.timeout(1):
        await news.stop()
    source.feed.mode = "ok"
    async with running(news):
        await until(lambda: taken, "it asks again")
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith("feed")]


async def test_stale_before_there_was_anything() -> None:
    news = make("http://127.0.0.1:1/", [], clock=lambda: 100.0)
    assert news.stale_for(107.0) == 7.0


def test_pauses_grow_up_to_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FIRST_RETRY", 1.0)
    news = make("http://127.0.0.1:1/", [])
    pauses = []
    for _ in range(40):
        pauses.append(news._pause())
        news._in_a_row += 1
    for pause, most in zip(pauses, [30, 1, 2, 4, 8, 16, *[30] * 34], strict=True):
        assert 0.9 * most <= pause <= most


def test_the_environments_proxy_is_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    client = open_client()
    proxied, direct, name = (
        client._transport_for_url(httpx.URL(url))
        for url in ("http://idp.example/jwks", "http://127.0.0.1:8080/", "http://localhost/")
    )
    assert "HTTPProxy" in type(proxied._pool).__name__  # type: ignore[attr-defined]
    assert direct is name is client._transport
