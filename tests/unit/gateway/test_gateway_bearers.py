"""Which bearers are the hub's to judge, and which may be the upstream's."""

from __future__ import annotations

import pytest

from tests.support.tokens import Provisioner
from tunnel_hub.gateway.bearers import Bearers
from tunnel_hub.gateway.es256 import public_key
from tunnel_hub.gateway.grant import Unauthenticated
from tunnel_hub.gateway.replay import Replay
from tunnel_hub.gateway.tokens import TwoLayerTokens

NOW = 1_800_000_000.0


def test_a_hub_that_takes_no_bearers_judges_none() -> None:
    bearers = Bearers(None, [])
    for bearer in (b"a.b.c", b"", b"..", Provisioner().client().bearer()):
        assert bearers.verify(bearer, NOW) is None


def test_what_looks_like_its_own_is_judged() -> None:
    provisioner = Provisioner()
    keys = [public_key(provisioner.public_pem.encode())]
    bearers = Bearers(TwoLayerTokens(keys, is_revoked=lambda _: False, replay=Replay()), [])
    client = provisioner.client("visits", now=NOW)
    verified = bearers.verify(client.bearer(NOW), NOW)
    assert verified is not None
    assert verified.grant.name == "visits"
    assert bearers.verify(b"opaque", NOW) is None
    assert bearers.verify(client.token, NOW) is None
    for bearer in (b"a.b.c", Provisioner().client(now=NOW).bearer(NOW)):
        with pytest.raises(Unauthenticated):
            bearers.verify(bearer, NOW)
