"""What the upstream is told of the caller, what never leaves the hub, and what the hub writes down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol import frames
from tests.support.credentials import READ, ApiKey, api_key, bearer, tokens_table
from tests.support.hostile import HostileAgent
from tests.support.keys import KeyRing
from tests.support.metrics import metric
from tests.support.problems import assert_problem
from tests.support.tokens import Provisioner
from tests.support.tunnel import Tunnel
from tests.support.upstream import Received, reply
from tests.support.waiting import wait_until

MakeGateway = Callable[..., Tunnel]
ELITE = "/elite2api/bookings"


@pytest.fixture(scope="module")
def key() -> ApiKey:
    return api_key()


@pytest.fixture(scope="module")
def provisioner() -> Provisioner:
    return Provisioner()


@pytest.fixture(scope="module")
def tunnel(
    make_shared_gateway: MakeGateway,
    provisioner: Provisioner,
    key: ApiKey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Tunnel:
    """`visits` with the usual field, `elite` with fields of its own."""
    anything = {"visits": ["* /**"], "elite": ["* /elite2api/**"]}
    file = tmp_path_factory.mktemp("provisioning") / "provisioning.pem"
    tunnel = make_shared_gateway(
        {
            "tokens": tokens_table(file, provisioner, allow=anything),
            "named": {"booking": {"api_keys": [key.hash], "allow": anything}},
        },
        {
            "services": {
                "elite": {
                    "paths": ["/elite2api/"],
                    "name_header": "X-Caller",
                    "rename_headers": {"Elite-Authorization": "Authorization", "X-Old": "X-New"},
                }
            },
            "agents": {"leeds-1": {"services": ["visits", "elite"]}},
        },
    )
    tunnel.agent.config["services"]["elite"] = {"upstream": tunnel.upstream.url, "allow": ["* /**"]}
    tunnel.agent.write_config()
    for path in ("/t/*", "/elite2api/*"):
        tunnel.upstream.on(path, reply())
    return tunnel.start()


def received(tunnel: Tunnel, target: str, *fields: str, host: str = "visits.internal") -> Received:
    """The request as the upstream had it."""
    before = len(tunnel.upstream.ledger)
    answer = tunnel.fetch(target, *fields, host=host)
    assert answer.status == 200, answer.body
    [request] = tunnel.upstream.ledger[before:]
    return request


def assert_without(request: Received, *secrets: str) -> None:
    shown = request.raw_head.decode("latin-1") + request.raw_body.decode("latin-1")
    for secret in secrets:
        assert secret not in shown


def test_the_verified_name_and_no_other(tunnel: Tunnel, key: ApiKey, path: str) -> None:
    for copies in (
        (),
        ("X-Client-Name: admin",),
        ("x-client-name: admin", "X-CLIENT-NAME: root"),
    ):
        assert received(tunnel, path, *copies, key.field).all("x-client-name") == [b"booking"]
        assert received(tunnel, path, key.field, *copies).all("x-client-name") == [b"booking"]
    for alias in ("X_Client_Name", "X.Client.Name", "x-client_name"):
        assert_problem(tunnel.fetch(path, key.field, f"{alias}: admin"), 400)
    nominated = tunnel.fetch(path, key.field, "Connection: X-Client-Name", "X-Client-Name: admin")
    assert_problem(nominated, 400)


def test_a_clients_name_goes_as_it_is(tunnel: Tunnel, provisioner: Provisioner, path: str) -> None:
    """Quotes, commas and the like are allowed in a client token's name and spoil nothing."""
    name = 'a "b" \\c\\, d=e; f%0d%0a'
    client = provisioner.client(name, [path])
    field = bearer(client.bearer())
    assert received(tunnel, path, field).get("x-client-name") == name
    assert metric(tunnel.hub, "tunnel_hub_caller_requests_total", caller=name) == 1
    document = assert_problem(tunnel.fetch("/elsewhere", field), 403)
    assert f'The caller "{name}" may not' in document["detail"]
    for bad in ("", " a", "a\r\nX-Evil: 1", "b\u00f6", "x" * 129, None, 7, ["a"]):
        answer = tunnel.fetch(path, bearer(provisioner.client(bad, [".*"]).bearer()))
        assert "its client must be a name" in assert_problem(answer, 401)["detail"]


def test_a_service_has_a_field_of_its_own(tunnel: Tunnel, key: ApiKey) -> None:
    elite = "elite.internal"
    for copies in (
        (),
        ("X-Caller: admin",),
        ("x-caller: admin", "X_Caller: admin", "X.CALLER: admin"),
        ("Connection: X-Caller", "X-Caller: admin"),
        ("X-Client-Name: admin",),
    ):
        request = received(tunnel, ELITE, *copies, key.field, host=elite)
        assert request.all("x-caller") == [b"booking"]
        assert_without(request, "admin")


@pytest.mark.parametrize("name", ["X-Client-Name", "X_Client_Name", "X-Caller", "X_Caller", "Authorization"])
@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
def test_no_trailer_claims_a_name(tunnel: Tunnel, key: ApiKey, name: str, late: bool) -> None:
    before = len(tunnel.upstream.ledger)
    trailers = f"0\r\n{name}: admin\r\nX-Sum: 5\r\n\r\n".encode()
    framing = ("Transfer-Encoding: chunked", f"Trailer: {name}, X-Sum")
    with tunnel.raw() as caller:
        caller.start(
            "POST", ELITE, key.field, *framing, host="e", body=b"2\r\n{}\r\n" + (b"" if late else trailers)
        )
        if late:
            wait_until(lambda: len(tunnel.upstream.ledger) > before, "the head at the upstream")
            caller.send(trailers)
        assert caller.answer("POST").status == 200
    [request] = tunnel.upstream.ledger[before:]
    assert [field for field in request.trailers if field[0].lower() != b"x-sum"] == []


def test_the_gateways_credential_stays_at_the_hub(
    tunnel: Tunnel, key: ApiKey, provisioner: Provisioner, path: str
) -> None:
    for field in (key.field, key.bearer):
        assert_without(received(tunnel, path, field), key.text)
        assert not received(tunnel, path, field).has("authorization")
        assert not received(tunnel, path, field).has("x-api-key")
    client = provisioner.client("visits-public", [".*"])
    request = received(tunnel, path, bearer(client.bearer()))
    assert_without(request, client.token.decode())
    assert not request.has("authorization")
    assert request.get("x-client-name") == "visits-public"


def test_no_frame_holds_the_credential(make_gateway: MakeGateway, keys: KeyRing, tmp_path: Path) -> None:
    """Seen by an agent that is driven by hand: what the hub sends through the tunnel."""
    key, provisioner = api_key(), Provisioner()
    client = provisioner.client("visits-public")
    tunnel = make_gateway(
        {
            "tokens": tokens_table(tmp_path / "provisioning.pem", provisioner),
            "named": {"booking": {"api_keys": [key.hash], "allow": READ}},
        }
    )
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    shown = {"booking": (key.field, key.text), "visits-public": (bearer(client.bearer()), client.token.decode())}
    with HostileAgent(tunnel.hub.agents_port) as agent:
        agent.shake(keys.agent(), keys.hub())
        tunnel.wait_sessions(1)
        for name, (field, secret) in shown.items():
            with tunnel.raw() as caller:
                caller.start("GET", "/nomisapi/x", field)
                opened = repr(agent.next_frame(frames.OPEN))
            assert f"b'X-Client-Name', b'{name}'" in opened
            assert secret not in opened
            assert "authorization" not in opened.lower()
            assert "x-api-key" not in opened.lower()


def test_what_is_meant_for_the_upstream_goes_on(tunnel: Tunnel, key: ApiKey, path: str) -> None:
    for value in ("Basic dXNlcjpwYXNz", "Bearer opaque-token-of-a-user", "Digest x=y"):
        request = received(tunnel, path, key.field, f"Authorization: {value}")
        assert request.get("authorization") == value
    request = received(tunnel, path, key.bearer, "Elite-Authorization: Bearer of-a-user", "Cookie: a=b")
    assert request.get("elite-authorization") == "Bearer of-a-user"
    assert request.get("cookie") == "a=b"


def test_fields_are_renamed(tunnel: Tunnel, key: ApiKey) -> None:
    request = received(
        tunnel, ELITE, key.bearer, "elite-authorization: Bearer of-a-user", "X-Old: 1", "X-New: 2", host="e"
    )
    assert request.get("authorization") == "Bearer of-a-user"
    assert not request.has("elite-authorization")
    assert request.get("x-new") == "1"
    assert_without(request, key.text)
    both = received(tunnel, ELITE, key.field, "Elite-Authorization: a", "Authorization: Basic b", host="e")
    assert both.all("authorization") == [b"a"]
    own = received(tunnel, ELITE, key.field, "Authorization: Basic b", "X-New: 2", host="e")
    assert own.get("authorization") == "Basic b"
    assert own.get("x-new") == "2"


def lines(tunnel: Tunnel, since: int, path: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in tunnel.hub.log(since).splitlines() if line.startswith("{")]
    return [entry for entry in entries if entry.get("path") == path and "status" in entry]


def test_the_name_is_in_log_and_metrics(tunnel: Tunnel, key: ApiKey, provisioner: Provisioner, path: str) -> None:
    mark = tunnel.hub.mark()
    names = ("booking", "moves")

    def counted() -> list[float]:
        return [metric(tunnel.hub, "tunnel_hub_caller_requests_total", caller=name) for name in names]

    before = counted()
    received(tunnel, path, key.field)
    received(tunnel, path, bearer(provisioner.client("moves", [".*"]).bearer()))
    assert_problem(tunnel.fetch(path), 401)
    found = wait_until(lambda: (seen := lines(tunnel, mark, path))[2:] and seen, "three lines")
    told = [(line.get("caller"), line["status"]) for line in found]
    assert told == [("booking", 200), ("moves", 200), (None, 401)]
    assert counted() == [number + 1 for number in before]
    assert metric(tunnel.hub, "tunnel_hub_caller_requests_total", caller="booking", status="200") >= 1


def test_where_nobody_authenticates_nobody_has_a_name(make_tunnel: MakeGateway) -> None:
    tunnel = make_tunnel(service={"name_header": "X-Caller"})
    tunnel.upstream.on("/t/*", reply())
    tunnel.start()
    request = received(tunnel, "/t/x", "X-Caller: admin", "x_caller: admin", "X-Client-Name: admin")
    assert_without(request, "admin")
    tunnel.hub.wait_log("callers are not authenticated")


def test_a_field_of_the_callers_own_cannot_be_made_the_name(make_gateway: MakeGateway, tmp_path: Path) -> None:
    """A renamed field that arrives as the name would let every caller be whom it likes."""
    for service in (
        {"rename_headers": {"X-Who": "X-Client-Name"}},
        {"name_header": "X-Caller", "rename_headers": {"X-Who": "x-caller"}},
        {"name_header": "X-Caller", "rename_headers": {"X-Who": "X_Caller"}},
    ):
        tunnel = make_gateway({"named": {"a": {"api_keys": [api_key().hash], "allow": READ}}}, service=service)
        done = tunnel.hub.check()
        assert done.returncode == 2, done.stdout
        assert "services.visits.rename_headers.X-Who" in done.stderr
        assert "name" in done.stderr
