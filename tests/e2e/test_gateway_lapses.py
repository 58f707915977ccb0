"""What runs when its credentials cease to hold: long exchanges are cut, those of others go on."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_agent_changes import reload
from tests.support import scripts
from tests.support.credentials import READ, api_key, bearer, tokens_table
from tests.support.issuer import Issuer
from tests.support.rawhttp import RawClient
from tests.support.tokens import Provisioner, twin
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import Gate

MakeGateway = Callable[..., Tunnel]
STAYING, LEAVING = api_key(), api_key()
CALLERS: dict[str, Any] = {
    "named": {
        "staying": {"api_keys": [STAYING.hash], "allow": READ},
        "leaving": {"api_keys": [LEAVING.hash], "allow": READ},
    }
}
UPGRADE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def streams(tunnel: Tunnel, *fields: str) -> tuple[list[RawClient], Gate]:
    """One caller for each field, each in the middle of an answer; the gate lets the next pieces through."""
    at_once, gate = Gate(), Gate()
    at_once.open()
    clients = []
    tunnel.upstream.on("/nomisapi/stream", scripts.slow_drip(2, [at_once, gate]))
    for field in fields:
        client = tunnel.raw()
        client.start("GET", "/nomisapi/stream", field)
        assert client.head().status == 200
        assert client.chunk() == b"piece-0\n"
        clients.append(client)
    return clients, gate


def cut_off(caller: RawClient) -> bool:
    """Whether the answer is broken off, for the caller to see."""
    return not caller.read_to_end()[0].endswith(b"0\r\n\r\n")


def key_taken_away(tunnel: Tunnel) -> None:
    tunnel.hub.config["callers"]["named"]["leaving"]["api_keys"] = [api_key().hash]
    reload(tunnel.hub)


def caller_switched_off(tunnel: Tunnel) -> None:
    tunnel.hub.config["callers"]["named"]["leaving"]["enabled"] = False
    reload(tunnel.hub)


def table_removed(tunnel: Tunnel) -> None:
    del tunnel.hub.config["callers"]["named"]["leaving"]
    reload(tunnel.hub)


def rule_taken_away(tunnel: Tunnel) -> None:
    tunnel.hub.config["callers"]["named"]["leaving"]["allow"] = {"visits": ["GET /nomisapi/health"]}
    reload(tunnel.hub)


@pytest.mark.parametrize("lapse", [key_taken_away, caller_switched_off, table_removed, rule_taken_away])
def test_a_reload_cuts_what_may_not_run_any_more(
    make_gateway: MakeGateway, lapse: Callable[[Tunnel], None]
) -> None:
    tunnel = make_gateway(deepcopy(CALLERS)).start()
    (staying, leaving), gate = streams(tunnel, STAYING.field, LEAVING.field)
    with staying, leaving:
        lapse(tunnel)
        assert cut_off(leaving)
        line = tunnel.hub.wait_log("exchanges cut", "leaving")
        assert "staying" not in line
        gate.open()
        assert staying.chunk() == b"piece-1\n"
        tunnel.upstream.on("/nomisapi/x", reply())
        assert tunnel.fetch("/nomisapi/x", STAYING.field).status == 200
        assert tunnel.fetch("/nomisapi/x", LEAVING.field).status in (401, 403)


def test_a_websocket_ends_with_its_credentials(make_gateway: MakeGateway) -> None:
    tunnel = make_gateway(deepcopy(CALLERS)).start()
    tunnel.upstream.on("/nomisapi/ws", scripts.websocket_echo)
    with tunnel.raw() as websocket:
        websocket.start("GET", "/nomisapi/ws", LEAVING.field, *UPGRADE)
        assert websocket.head().status == 101
        caller_switched_off(tunnel)
        assert websocket.read_to_end()[0] == b"", "no close frame: it did not end well"


@pytest.mark.parametrize("listed", ["its own", "its twin's"])
def test_a_revocation_cuts_what_runs(
    make_gateway: MakeGateway, issuer: Issuer, tmp_path: Path, listed: str
) -> None:
    provisioner = Provisioner()
    client, other = provisioner.client("leaving"), provisioner.client("staying")
    table = tokens_table(
        tmp_path / "provisioning.pem",
        provisioner,
        revocations=issuer.feed.url,
        revocations_interval="500ms",
    )
    tunnel = make_gateway({"tokens": table}).start()
    (staying, leaving), gate = streams(tunnel, bearer(other.bearer()), bearer(client.bearer()))
    with staying, leaving:
        revoked = client if listed == "its own" else type(client)("leaving", twin(client.token), client.key)
        issuer.revoked.append(revoked.fingerprint)
        assert cut_off(leaving)
        gate.open()
        assert staying.chunk() == b"piece-1\n"


def test_what_began_without_authentication_ends_when_it_is_required(make_gateway: MakeGateway) -> None:
    tunnel = make_gateway({**deepcopy(CALLERS), "authentication": "none"}).start()
    (nobody,), _ = streams(tunnel, "Accept: */*")
    with nobody:
        tunnel.hub.config["callers"]["authentication"] = "required"
        reload(tunnel.hub)
        assert cut_off(nobody)
