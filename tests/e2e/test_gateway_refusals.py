"""What refusals say: everything to a caller's developer, nothing to those who have not proven who they are."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support import scripts
from tests.support.credentials import ApiKey, api_key
from tests.support.metrics import reached_agent
from tests.support.problems import assert_problem
from tests.support.rawhttp import Answer
from tests.support.tunnel import Tunnel

MakeGateway = Callable[..., Tunnel]
OFF = "sw1tched-off"
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.fixture(scope="module")
def key() -> ApiKey:
    return api_key()


@pytest.fixture(scope="module")
def off_key() -> ApiKey:
    return api_key()


@pytest.fixture(scope="module")
def tunnel(make_shared_gateway: MakeGateway, key: ApiKey, off_key: ApiKey) -> Tunnel:
    rules = ["GET /nomisapi/**", "POST /nomisapi/offenders/*/visits/booking"]
    tunnel = make_shared_gateway(
        {
            "named": {
                "booking": {"api_keys": [key.hash], "allow": {"visits": rules, OFF: ["GET /**"]}},
                "leaver": {"api_keys": [off_key.hash], "allow": {"visits": ["GET /**"]}, "enabled": False},
            }
        },
        {
            "services": {
                "visits": {"max_body": "10B"},
                OFF: {"hosts": ["off.internal"], "enabled": False},
                "unruled": {"hosts": ["unruled.internal"]},
            },
            "agents": {"leeds-1": {"services": ["visits", OFF, "unruled"]}},
        },
    )
    for name in (OFF, "unruled"):
        tunnel.agent.config["services"][name] = {"upstream": tunnel.upstream.url, "allow": ["* /**"]}
    tunnel.agent.write_config()
    tunnel.upstream.on("/nomisapi/ws", scripts.websocket_echo)
    return tunnel.start()


def undated(data: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*", b"", data)


@pytest.mark.parametrize(
    "fields", [(), ("X-Api-Key: tk_wrong",), ("Authorization: Bearer a.b.c",), ("Authorization: Basic eDp5",)]
)
def test_nothing_is_revealed_to_the_unauthenticated(tunnel: Tunnel, fields: tuple[str, ...]) -> None:
    """For whatever may be behind the hub, or wrong with the request, the answer is the same byte for byte."""
    before = reached_agent(tunnel.agent), len(tunnel.upstream.ledger)
    fields = (*fields, "X-Request-Id: always-the-same")
    usual = tunnel.fetch("/nomisapi/health", *fields)
    assert_problem(usual, 401, code="unauthenticated", hidden=("visits", "booking", OFF, "unruled", "nomisapi"))
    others = [
        tunnel.fetch("/nomisapi/no/such/path", *fields),
        tunnel.fetch("/", *fields, host="unknown.internal"),
        tunnel.fetch("/", *fields, host="off.internal"),
        tunnel.fetch("/", *fields, host="unruled.internal"),
        tunnel.fetch("/nomisapi/health", *fields, "Tunnel-Service: unruled"),
        tunnel.fetch("/nomisapi/health", *fields, "Tunnel-Service: no-such"),
        tunnel.fetch("/nomisapi/health", *fields, "Tunnel-Deadline: nonsense"),
        tunnel.fetch("/nomisapi/../heapdump", *fields),
        tunnel.fetch("/nomisapi/%2e%2e/heapdump", *fields),
        tunnel.fetch("/nomisapi/health;x", *fields),
        tunnel.fetch("http://off.internal/", *fields),
        tunnel.fetch("/nomisapi/health", *fields, method="DELETE"),
        tunnel.fetch("/nomisapi/health", *fields, method="POST", body=b"x" * 100),
        tunnel.fetch("/nomisapi/health", *fields, "X-Client-Name: booking"),
    ]
    for number, answer in enumerate(others):
        assert undated(answer.raw_head + answer.body) == undated(usual.raw_head + usual.body), number
    head = tunnel.fetch("/nomisapi/health", *fields, method="HEAD")
    assert undated(head.raw_head) == undated(usual.raw_head)
    with tunnel.raw() as caller:
        caller.start("POST", "/nomisapi/health", *fields, "Content-Length: 1000000", "Expect: 100-continue")
        late = caller.answer("POST")
        assert late.interim == [], "nobody asks the unauthenticated for a body"
        assert_problem(late, 401)
        assert late.body == usual.body
    for target in ("/nomisapi/ws", "/nomisapi/no-ws"):
        with tunnel.raw() as caller:
            assert_problem(caller.get(target, *fields, *UPGRADE), 401)
    assert (reached_agent(tunnel.agent), len(tunnel.upstream.ledger)) == before


def test_refusals_tell_an_authenticated_caller_everything(tunnel: Tunnel, key: ApiKey, off_key: ApiKey) -> None:
    before = reached_agent(tunnel.agent), len(tunnel.upstream.ledger)

    def refused(status: int, code: str, answer: Answer) -> str:
        document = assert_problem(answer, status, code=code, origin="hub")
        assert not answer.has("www-authenticate")
        assert document["type"] == f"urn:http-tunnel:problem:{code}"
        assert document["developerMessage"] == f"{code}: {document['detail']}"
        assert document["detail"].endswith((".", "segment", "off", "large", "path")), document["detail"]
        return str(document["detail"])

    field = key.field
    method = refused(403, "forbidden", tunnel.fetch("/nomisapi/health", field, method="DELETE"))
    assert method == (
        'The caller "booking" may not ask this of the service "visits". The path is allowed for GET, HEAD only. '
        "If it needs to, ask the hub's operators for a rule."
    )
    path = refused(403, "forbidden", tunnel.fetch("/heapdump", field))
    assert "No rule allows this path." in path
    service = refused(403, "forbidden", tunnel.fetch("/", field, host="unruled.internal"))
    assert "It has no rule for this service." in service
    booking = "/nomisapi/offenders/1/visits/booking"
    refused(413, "content_too_large", tunnel.fetch(booking, field, method="POST", body=b"x" * 11))
    refused(503, "switched_off", tunnel.fetch("/", field, host="off.internal"))
    refused(404, "no_such_service", tunnel.fetch("/", field, host="unknown.internal"))
    ambiguous = refused(400, "malformed_request", tunnel.fetch("/nomisapi/../heapdump", field))
    assert ambiguous == "The path holds a dot segment"
    leaver = refused(403, "forbidden", tunnel.fetch("/nomisapi/health", off_key.field))
    assert leaver == 'The caller "leaver" is switched off at the hub.'
    assert (reached_agent(tunnel.agent), len(tunnel.upstream.ledger)) == before


def test_a_refusal_keeps_the_connection(tunnel: Tunnel, key: ApiKey) -> None:
    with tunnel.raw() as caller:
        assert_problem(caller.get("/nomisapi/x"), 401)
        assert_problem(caller.get("/heapdump", key.field), 403)
        assert caller.get("/nomisapi/x", key.field).status == 200
        assert_problem(caller.get("/nomisapi/x"), 401)  # each request proves anew who sends it


def test_pipelined_requests_are_judged_one_by_one(tunnel: Tunnel, key: ApiKey) -> None:
    with tunnel.raw() as caller:
        for fields in ((key.field,), (), (key.field,)):
            caller.start("GET", "/nomisapi/x", *fields)
        assert [caller.answer().status for _ in range(3)] == [200, 401, 200]


def test_upgrades_pass_the_gate_like_any_other(tunnel: Tunnel, key: ApiKey) -> None:
    for fields, status in ((), 401), ((api_key().field,), 401), ((key.field,), 101):
        with tunnel.raw() as caller:
            caller.start("GET", "/nomisapi/ws", *fields, *UPGRADE)
            assert caller.head().status == status
    seen = tunnel.upstream.ledger[-1]
    assert seen.get("x-client-name") == "booking"
    assert not seen.has("x-api-key")
    with tunnel.raw() as caller:
        assert_problem(caller.get("/other/ws", key.field, *UPGRADE), 403)
