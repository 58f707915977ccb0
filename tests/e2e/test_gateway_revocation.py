"""A client token's fingerprint enters the feed (callers.md, scenario 5); feeds that fail."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_agent_changes import reload
from tests.support.credentials import READ, api_key, bearer, tokens_table
from tests.support.issuer import Issuer
from tests.support.metrics import metric
from tests.support.problems import assert_problem
from tests.support.rawhttp import RawClient
from tests.support.tokens import Client, Provisioner, twin
from tests.support.tunnel import Tunnel
from tests.support.waiting import PATIENCE, stays, wait_until

MakeGateway = Callable[..., Tunnel]
PATH = "/nomisapi/x"
INTERVAL = "1s"


@pytest.fixture
def provisioner() -> Provisioner:
    return Provisioner()


@pytest.fixture
def tunnel(make_gateway: MakeGateway, issuer: Issuer, provisioner: Provisioner, tmp_path: Path) -> Tunnel:
    table = tokens_table(
        tmp_path / "provisioning.pem",
        provisioner,
        skew="1m",
        revocations=issuer.feed.url,
        revocations_interval=INTERVAL,
    )
    return make_gateway(
        {"tokens": table, "named": {"by-key": {"api_keys": [api_key().hash], "allow": READ}}},
    )


def refused(caller: RawClient, field: str) -> bool:
    """Whether the caller is refused on this connection, in the words that it is owed."""
    answer = caller.get(PATH, field)
    if answer.status == 200:
        return False
    document = assert_problem(answer, 401, code="unauthenticated")
    assert document["detail"] == "The client token is revoked; ask the gateway's operator for a new one."
    return True


def age(tunnel: Tunnel) -> float:
    return metric(tunnel.hub, "tunnel_hub_feed_age_seconds", feed="revocations")


def test_scenario_5_refused_within_the_interval(tunnel: Tunnel, issuer: Issuer, provisioner: Provisioner) -> None:
    tunnel.start()
    leaver, other = provisioner.client("leaver"), provisioner.client("other")
    kept, fresh = bearer(leaver.bearer()), lambda: bearer(leaver.bearer())
    with tunnel.raw() as first, tunnel.raw() as second, tunnel.raw() as third:
        for caller, client in (first, leaver), (second, leaver), (third, other):
            assert caller.get(PATH, bearer(client.bearer())).status == 200
        assert first.get(PATH, kept).status == 200, "the hub remembers this bearer"
        issuer.revoked.append(leaver.fingerprint)
        wait_until(lambda: refused(first, kept), "the remembered bearer to be refused on its connection", 5.0)
        assert refused(second, fresh()), "a fresh bearer on another open connection"
        with tunnel.raw() as new:
            assert refused(new, fresh())
        assert third.get(PATH, bearer(other.bearer())).status == 200
        assert metric(tunnel.hub, "tunnel_hub_revoked_credentials") == 1
        seen = len(tunnel.upstream.ledger)
        assert refused(first, kept)
        assert len(tunnel.upstream.ledger) == seen
        issuer.revoked.clear()
        wait_until(lambda: not refused(first, kept), "the client whose token is taken off the feed", 3.0)


def test_scenario_5_the_feed_is_down(tunnel: Tunnel, issuer: Issuer, provisioner: Provisioner) -> None:
    leaver, other = provisioner.client("leaver"), provisioner.client("other")
    issuer.revoked.append(leaver.fingerprint)
    tunnel.start()
    modes = ("down", "error", "slow", "garbage", "redirect", "huge", "compressed")
    with tunnel.raw() as left, tunnel.raw() as kept:
        wait_until(lambda: refused(left, bearer(leaver.bearer())), "the first list")
        for mode in modes:
            failures = metric(tunnel.hub, "tunnel_hub_feed_failures_total", feed="revocations")
            issuer.feed.mode = mode  # type: ignore[assignment]
            issuer.drop()

            def failed(before: float = failures) -> bool:
                return metric(tunnel.hub, "tunnel_hub_feed_failures_total", feed="revocations") > before

            wait_until(failed, f"a failure: {mode}", 15)
            assert kept.get(PATH, bearer(other.bearer())).status == 200, mode
            assert refused(left, bearer(leaver.bearer())), mode
        # Of all these fetches none was good.
        before = age(tunnel)
        assert before > 3.0
        wait_until(lambda: age(tunnel) > before + 1.0, "the age to rise")
        tunnel.hub.wait_log("a feed fails", "revocations")
        issuer.feed.mode = "ok"
        wait_until(lambda: age(tunnel) < 2.0, "the age to fall", 15)
        tunnel.hub.wait_log("a feed works again", "revocations")
        assert kept.get(PATH, bearer(other.bearer())).status == 200


def test_the_same_token_in_another_text_is_revoked_too(
    tunnel: Tunnel, issuer: Issuer, provisioner: Provisioner
) -> None:
    """An ECDSA signature can be rewritten without the key; the fingerprint of one text takes both."""
    tunnel.start()
    client = provisioner.client("leaver")
    other_text = Client(client.name, twin(client.token), client.key)
    assert other_text.fingerprint != client.fingerprint
    with tunnel.raw() as caller:
        assert not refused(caller, bearer(other_text.bearer()))
        issuer.revoked.append(client.fingerprint.upper())
        wait_until(lambda: refused(caller, bearer(other_text.bearer())), "the other text to be refused", 3.0)


@pytest.mark.parametrize("change", ["interval", "url"])
def test_a_reload_forgets_no_revocation(
    tunnel: Tunnel, issuer: Issuer, provisioner: Provisioner, change: str
) -> None:
    """A feed whose table changes while it is down: who was revoked stays so until there is a newer list."""
    leaver = provisioner.client("leaver")
    issuer.revoked.append(leaver.fingerprint)
    tunnel.start()
    with tunnel.raw() as caller:
        wait_until(lambda: refused(caller, bearer(leaver.bearer())), "the first list")
        issuer.feed.mode = "down"
        table = tunnel.hub.config["callers"]["tokens"]
        if change == "interval":
            table["revocations_interval"] = "2s"
        else:
            table["revocations"] = issuer.feed.url.replace("127.0.0.1", "localhost")
        reload(tunnel.hub)
        stays(lambda: refused(caller, bearer(leaver.bearer())), "it stays revoked", 1.0 * PATIENCE)
        issuer.revoked.clear()
        issuer.feed.mode = "ok"
        wait_until(lambda: not refused(caller, bearer(leaver.bearer())), "the new feed's own list", 10)


def test_a_hub_that_starts_without_its_feed(tunnel: Tunnel, issuer: Issuer, provisioner: Provisioner) -> None:
    """It serves, after a short wait, and the alarm is there; the list counts as soon as it can be had."""
    leaver, other = provisioner.client("leaver"), provisioner.client("other")
    issuer.revoked.append(leaver.fingerprint)
    issuer.feed.mode = "down"
    tunnel.start()
    tunnel.hub.wait_log("a feed fails", "revocations")
    with tunnel.raw() as caller:
        assert caller.get(PATH, bearer(other.bearer())).status == 200
        wait_until(lambda: age(tunnel) > 2.0, "the age since the start")
        issuer.feed.mode = "ok"
        wait_until(lambda: refused(caller, bearer(leaver.bearer())), "the revocation", 10)


def test_one_reload_after_another_leaves_one_feed(tunnel: Tunnel, issuer: Issuer) -> None:
    tunnel.start()
    for _ in range(3):
        mark = tunnel.hub.mark()
        tunnel.hub.signal(signal.SIGHUP)
        tunnel.hub.wait_log("configuration reloaded", since=mark)
    for interval in ("2s", "1s"):
        tunnel.hub.config["callers"]["tokens"]["revocations_interval"] = interval
        reload(tunnel.hub)
    before = len(issuer.feed.requests)
    wait_until(lambda: len(issuer.feed.requests) >= before + 2, "two more fetches")
    assert len(issuer.feed.requests) <= before + 3
