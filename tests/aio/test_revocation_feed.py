"""The revocation feed on real sockets: what is revoked, since when, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.issuer import Issuer
from tests.unit.egress.harness import until
from tests.unit.gateway.feeds import running
from tunnel_hub.gateway import feed
from tunnel_hub.gateway.revocations import RevocationFeed

A, B, C = (digit * 64 for digit in "abc")


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FIRST_RETRY", 0.02)


@pytest.fixture
def source() -> Iterator[Issuer]:
    source = Issuer("ES256")
    yield source
    source.close()


async def fetched(revocations: RevocationFeed, failures: int = 0) -> None:
    """One more fetch, good or bad."""
    before, failed = revocations.last_success, revocations.failures
    revocations.refresh()
    if failures:
        await until(lambda: revocations.failures >= failed + failures, "it fails")
    else:
        await until(lambda: revocations.last_success != before, "a good fetch")


async def test_what_is_revoked(source: Issuer) -> None:
    told: list[frozenset[str]] = []
    source.revoked.extend([A.upper(), A, B])
    revocations = RevocationFeed(source.feed.url)
    revocations.on_revoked(told.append)
    assert not revocations.is_revoked(A)
    async with running(revocations):
        await until(lambda: revocations.ready, "the first fetch")
        assert revocations.is_revoked(A)
        assert revocations.is_revoked(B)
        assert not revocations.is_revoked(C)
        assert revocations.count == 2
        await fetched(revocations)
        source.revoked.append(C)
        await fetched(revocations)
        assert revocations.is_revoked(C)
        source.revoked.remove(B)
        await fetched(revocations)
        assert not revocations.is_revoked(B), "the feed took it back"
    assert told == [{A, B}, {C}]


@pytest.mark.parametrize("mode", ["down", "error", "garbage", "redirect", "huge"])
async def test_nothing_comes_back_while_the_feed_is_out_of_order(source: Issuer, mode: Any) -> None:
    source.revoked.append(A)
    revocations = RevocationFeed(source.feed.url)
    async with running(revocations):
        await until(lambda: revocations.ready, "the first fetch")
        source.feed.mode = mode
        source.revoked[:] = [B]
        await fetched(revocations, failures=3)
        assert revocations.is_revoked(A)
        assert not revocations.is_revoked(B)
        source.feed.mode = "ok"
        await fetched(revocations)
        assert revocations.is_revoked(B)
    assert revocations.is_revoked(B), "and after the end, too"


async def test_half_a_list_is_no_list(source: Issuer) -> None:
    source.revoked.append(A)
    revocations = RevocationFeed(source.feed.url)
    async with running(revocations):
        await until(lambda: revocations.ready, "the first fetch")
        source.revoked[:] = [B, "not a fingerprint"]
        await fetched(revocations, failures=1)
        assert revocations.is_revoked(A)
        assert not revocations.is_revoked(B)


async def test_whoever_is_told_hears_of_a_list_that_holds_already(source: Issuer) -> None:
    revocations = RevocationFeed(source.feed.url)
    mistakes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: mistakes.append(context))
    seen: list[bool] = []

    def broken(_new: frozenset[str]) -> None:
        raise KeyError("oops")

    revocations.on_revoked(broken)
    revocations.on_revoked(lambda new: seen.append(all(map(revocations.is_revoked, new))))
    source.revoked.append(A)
    async with running(revocations):
        await until(lambda: revocations.ready, "the first fetch")
    assert seen == [True]
    assert len(mistakes) == 1
    assert revocations.failures == 0
