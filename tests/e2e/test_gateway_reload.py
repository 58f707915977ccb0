"""SIGHUP at a gateway: who may call changes at once, on open connections too."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_agent_changes import reload
from tests.support.credentials import READ, ApiKey, api_key, bearer, oauth_table, tokens_table, wait_keys
from tests.support.issuer import Issuer
from tests.support.metrics import metric
from tests.support.problems import assert_problem
from tests.support.tokens import Provisioner
from tests.support.toml import merge
from tests.support.tunnel import Tunnel
from tests.support.waiting import wait_until

MakeGateway = Callable[..., Tunnel]
PATH = "/nomisapi/x"


@pytest.fixture
def key() -> ApiKey:
    return api_key()


@pytest.fixture
def tunnel(make_gateway: MakeGateway, key: ApiKey) -> Tunnel:
    return make_gateway({"named": {"booking": {"api_keys": [key.hash], "allow": READ}}}).start()


def test_keys_come_and_go(tunnel: Tunnel, key: ApiKey) -> None:
    new = api_key()
    booking = tunnel.hub.config["callers"]["named"]["booking"]
    with tunnel.raw() as caller:
        assert caller.get(PATH, key.field).status == 200
        assert_problem(caller.get(PATH, new.field), 401)
        booking["api_keys"] = [key.hash, new.hash]
        reload(tunnel.hub)
        assert caller.get(PATH, new.field).status == 200
        assert caller.get(PATH, key.field).status == 200
        booking["api_keys"] = [new.hash]
        reload(tunnel.hub)
        assert_problem(caller.get(PATH, key.field), 401, code="unauthenticated")
        assert_problem(caller.get(PATH, key.bearer), 401, code="unauthenticated")
        assert caller.get(PATH, new.field).status == 200
    assert metric(tunnel.hub, "tunnel_hub_caller_requests_total", caller="booking", status="200") == 4


def test_rules_change(tunnel: Tunnel, key: ApiKey) -> None:
    booking = tunnel.hub.config["callers"]["named"]["booking"]
    with tunnel.raw() as caller:
        assert caller.get(PATH, key.field).status == 200
        booking["allow"] = {"visits": ["POST /nomisapi/**"]}
        reload(tunnel.hub)
        assert_problem(caller.get(PATH, key.field), 403, code="forbidden")
        booking["allow"] = {}
        reload(tunnel.hub)
        assert_problem(caller.get(PATH, key.field), 403, code="forbidden")


def test_a_caller_is_switched_off_and_on(tunnel: Tunnel, key: ApiKey) -> None:
    other = api_key()
    named = tunnel.hub.config["callers"]["named"]
    named["money"] = {"api_keys": [other.hash], "allow": READ}
    reload(tunnel.hub)
    with tunnel.raw() as caller, tunnel.raw() as money:
        assert caller.get(PATH, key.field).status == 200
        named["booking"]["enabled"] = False
        reload(tunnel.hub)
        document = assert_problem(caller.get(PATH, key.field), 403, code="forbidden")
        assert document["detail"] == 'The caller "booking" is switched off at the hub.'
        assert money.get(PATH, other.field).status == 200
        named["booking"]["enabled"] = True
        reload(tunnel.hub)
        assert caller.get(PATH, key.field).status == 200
        del named["booking"]
        reload(tunnel.hub)
        assert_problem(caller.get(PATH, key.field), 401, code="unauthenticated")


BAD = [
    ({"named": {"booking": {"api_keys": ["sha256:12"]}}}, "callers.named.booking.api_keys"),
    ({"named": {"booking": {"allow": {"visit": ["GET /**"]}}}}, "callers.named.booking.allow"),
    ({"named": {"booking": {"allow": {"visits": ["/**"]}}}}, "callers.named.booking.allow.visits"),
    ({"named": {"booking": {"api_keys": None}}}, "callers.named.booking"),
    ({"authentication": "nonee"}, "callers.authentication"),
    ({"tokens": {"provisioning_keys": ["no-such.pem"]}}, "callers.tokens.provisioning_keys"),
]


@pytest.mark.parametrize(("change", "place"), BAD, ids=[place for _, place in BAD])
def test_a_bad_file_leaves_the_gate_as_it_is(tunnel: Tunnel, key: ApiKey, change: object, place: str) -> None:
    good = tunnel.hub.config
    with tunnel.raw() as caller:
        tunnel.hub.config = merge(good, {"callers": change})
        tunnel.hub.write_config()
        mark = tunnel.hub.mark()
        tunnel.hub.signal(signal.SIGHUP)
        line = tunnel.hub.wait_log("the new configuration is not used", since=mark)
        assert place in line
        assert caller.get(PATH, key.field).status == 200
        assert_problem(caller.get(PATH), 401)


@pytest.mark.parametrize("ways", ["api_keys", "all"])
def test_from_none_to_required_and_back(
    make_gateway: MakeGateway, issuer: Issuer, key: ApiKey, tmp_path: Path, ways: str
) -> None:
    """The tables may stand there before they count; then they do, for open connections as well."""
    provisioner = Provisioner()
    callers = {"authentication": "none", "named": {"booking": {"api_keys": [key.hash], "allow": READ}}}
    if ways == "all":
        file = tmp_path / "provisioning.pem"
        callers["tokens"] = tokens_table(file, provisioner, revocations=issuer.feed.url)
        callers["oauth"] = {"platform": oauth_table(issuer)}
        callers["named"]["moves"] = {"oauth": ["platform/moves"], "allow": READ}  # type: ignore[index]
    tunnel = make_gateway(callers).start()
    tunnel.hub.wait_log("callers are not authenticated")
    with tunnel.raw() as anonymous, tunnel.raw() as booking:
        assert anonymous.get(PATH).status == 200
        assert booking.get(PATH, key.field).status == 200
        assert tunnel.upstream.ledger[-1].get("x-client-name") is None
        tunnel.hub.config["callers"]["authentication"] = "required"
        reload(tunnel.hub)
        assert_problem(anonymous.get(PATH), 401, code="unauthenticated")
        assert booking.get(PATH, key.field).status == 200
        assert tunnel.upstream.ledger[-1].get("x-client-name") == "booking"
        if ways == "all":
            assert anonymous.get(PATH, bearer(provisioner.client().bearer())).status == 200
            moves = bearer(issuer.token("moves"))
            wait_until(lambda: tunnel.fetch(PATH, moves).status == 200, "the issuer's keys")
        tunnel.hub.config["callers"]["authentication"] = "none"
        mark = tunnel.hub.mark()
        reload(tunnel.hub)
        tunnel.hub.wait_log("callers are not authenticated", since=mark)
        assert anonymous.get(PATH).status == 200


def test_the_window_of_used_bearers_survives(make_gateway: MakeGateway, tmp_path: Path) -> None:
    provisioner = Provisioner()
    tunnel = make_gateway({"tokens": tokens_table(tmp_path / "provisioning.pem", provisioner)}).start()
    once = bearer(provisioner.client().bearer(jti="one"))
    with tunnel.raw() as caller:
        assert caller.get(PATH, once).status == 200
        tunnel.hub.config["callers"]["tokens"]["skew"] = "20s"
        reload(tunnel.hub)
        assert "replayed" in assert_problem(caller.get(PATH, once), 401)["detail"]


def test_provisioning_keys_rotate(make_gateway: MakeGateway, tmp_path: Path) -> None:
    """Two keys while one is replaced; with the old one go the tokens that it signed."""
    old, new = Provisioner(), Provisioner()
    old_table = tokens_table(tmp_path / "old.pem", old)
    new_table = tokens_table(tmp_path / "new.pem", new)
    tunnel = make_gateway({"tokens": old_table}).start()
    by_old, by_new = bearer(old.client().bearer()), bearer(new.client().bearer())
    table = tunnel.hub.config["callers"]["tokens"]
    with tunnel.raw() as caller:
        for files, statuses in (
            (old_table["provisioning_keys"], (200, 401)),
            (old_table["provisioning_keys"] + new_table["provisioning_keys"], (200, 200)),
            (new_table["provisioning_keys"], (401, 200)),
        ):
            table["provisioning_keys"] = files
            reload(tunnel.hub)
            assert (caller.get(PATH, by_old).status, caller.get(PATH, by_new).status) == statuses


def test_a_key_set_survives_another_interval(make_gateway: MakeGateway, issuer: Issuer) -> None:
    """The issuer is away while its table changes: its keys stay; at another address they do not."""
    table = oauth_table(issuer)
    named = {"moves": {"oauth": ["platform/moves"], "allow": READ}}
    tunnel = make_gateway({"oauth": {"platform": table}, "named": named}).start()
    wait_keys(tunnel, issuer)
    field = bearer(issuer.token("moves"))
    with tunnel.raw() as caller:
        assert caller.get(PATH, field).status == 200
        issuer.jwks.mode = "down"
        tunnel.hub.config["callers"]["oauth"]["platform"]["jwks_interval"] = "2s"
        reload(tunnel.hub)
        assert caller.get(PATH, field).status == 200
        tunnel.hub.config["callers"]["oauth"]["platform"]["jwks"] += "/elsewhere"
        reload(tunnel.hub)
        assert_problem(caller.get(PATH, field), 503, code="authentication_unavailable")
