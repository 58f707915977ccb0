"""Whoever vouched for a caller does so no longer: what is remembered of the caller and what it runs end, too."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from tests.e2e.test_agent_changes import reload
from tests.e2e.test_gateway_lapses import cut_off, streams
from tests.support import scripts
from tests.support.credentials import READ, bearer, oauth_table, tokens_table
from tests.support.issuer import Issuer
from tests.support.problems import assert_problem
from tests.support.tls import PrivateCA
from tests.support.tokens import Provisioner
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import Gate

MakeGateway = Callable[..., Tunnel]
PATH = "/nomisapi/x"


def test_an_issuers_key_that_was_withdrawn(make_gateway: MakeGateway, issuer: Issuer) -> None:
    """Whoever stole it chose when its tokens end."""
    tunnel = make_gateway(
        {
            "oauth": {"platform": oauth_table(issuer, jwks_interval="200ms")},
            "named": {"booking": {"oauth": ["platform/visits-api"], "allow": READ}},
        }
    ).start()
    tunnel.upstream.on(PATH, reply())
    forged = bearer(issuer.token("visits-api", lifetime=10 * 365 * 86_400))
    (caller,), _ = streams(tunnel, forged)
    with caller:
        assert tunnel.fetch(PATH, forged).status == 200
        issuer.rotate(keep=0)
        assert cut_off(caller)
        assert tunnel.fetch(PATH, forged).status in (401, 503), "503 while the key may still come"
        assert tunnel.fetch(PATH, bearer(issuer.token("visits-api"))).status == 200


def test_a_provisioning_key_that_was_replaced(make_gateway: MakeGateway, tmp_path: Path) -> None:
    stolen, fresh = Provisioner(), Provisioner()
    tunnel = make_gateway({"tokens": tokens_table(tmp_path / "stolen.pem", stolen)}).start()
    tunnel.upstream.on(PATH, reply())
    (caller,), _ = streams(tunnel, bearer(stolen.client("visits").bearer()))
    with caller:
        tunnel.hub.config["callers"]["tokens"] = tokens_table(tmp_path / "fresh.pem", fresh)
        reload(tunnel.hub)
        assert cut_off(caller)
        assert_problem(tunnel.fetch(PATH, bearer(stolen.client("visits").bearer())), 401)
        assert tunnel.fetch(PATH, bearer(fresh.client("visits").bearer())).status == 200


def test_a_certificates_name_that_was_taken_out(make_gateway: MakeGateway, tmp_path: Path) -> None:
    ca = PrivateCA(tmp_path / "callers-ca")
    named = {"booking": {"certificates": ["old.internal"], "allow": READ}}
    tunnel = make_gateway(
        {"named": deepcopy(named)},
        {"listen": {"callers_tls": {"client_ca": str(ca.ca_file), "client_certificates": "required"}}},
        callers_tls=True,
    ).start()
    assert tunnel.ca is not None
    at_once = Gate()
    at_once.open()
    tunnel.upstream.on("/nomisapi/stream", scripts.slow_drip(2, [at_once, Gate()]))
    with tunnel.raw(tls=tunnel.ca.client_context(ca.issue_client(hosts=["old.internal"]))) as caller:
        caller.start("GET", "/nomisapi/stream")
        assert caller.head().status == 200
        assert caller.chunk() == b"piece-0\n"
        tunnel.hub.config["callers"]["named"]["booking"]["certificates"] = ["new.internal"]
        reload(tunnel.hub)
        assert cut_off(caller)


def test_other_authorities_wait_for_a_restart_and_are_named(make_gateway: MakeGateway, tmp_path: Path) -> None:
    """The file's name is the same; that one authority was taken out of it would otherwise be believed in vain."""
    ca = PrivateCA(tmp_path / "callers-ca")
    tunnel = make_gateway(
        {"named": {"booking": {"certificates": ["old.internal"], "allow": READ}}},
        {"listen": {"callers_tls": {"client_ca": str(ca.ca_file), "client_certificates": "required"}}},
        callers_tls=True,
    ).start()
    ca.ca_file.write_bytes(PrivateCA(tmp_path / "another-ca").ca_file.read_bytes())
    reload(tunnel.hub)
    tunnel.hub.wait_log("a change takes effect only after a restart", "listen.callers_tls")
    mark = tunnel.hub.mark()
    reload(tunnel.hub)
    assert "only after a restart" not in tunnel.hub.log(mark), "said once"
