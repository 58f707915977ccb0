"""Logs, metrics and health: complete enough to work with, and free of secrets and personal data."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.process import Program
from tests.support.rawhttp import Answer
from tests.support.seeded import seed
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

MakeTunnel = Callable[..., Tunnel]
SECRETS = {
    "authorization": f"Bearer {seed('s3cr3t-bearer')}",
    "cookie": f"session={seed('s3cr3t-cookie')}",
    "elite-authorization": seed("s3cr3t-elite"),
    "x-api-key": seed("s3cr3t-api-key"),
    "proxy-authorization": f"Basic {seed('s3cr3t-proxy')}",
}
PERSONAL = f"noms_id={seed('A1475AE-pers0nal')}&date_of_birth={seed('1979-04-23-pers0nal')}"


def access_lines(program: Program, since: int, path: str) -> list[dict[str, Any]]:
    """The program's access-log lines (JSON) for a path."""
    lines = []
    for line in program.log(since).splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if entry.get("path") == path and "status" in entry:
                lines.append(entry)
    return lines


@pytest.mark.bug(23)
def test_no_secret_and_no_query_in_any_log(make_tunnel: MakeTunnel) -> None:
    """Every kind of ending, at debug level: nothing of header values, queries or bodies is logged."""
    log = {"log": {"level": "debug", "format": "json"}}
    tunnel = make_tunnel(
        agent_service={"allow": ["GET /**", "POST /ok"]},
        hub_options=log,
        agent_options={"log": {**log["log"], "access": "all"}},
        service={"hold": "100ms"},
    ).start()
    fields = [f"{name}: {value}" for name, value in SECRETS.items()]
    tunnel.upstream.on("/ok", reply(200, [("Set-Cookie", "id=s3cr3t-set-cookie"), ("WWW-Authenticate", "s3cr3t")]))

    async def broken(x: Any) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nX-Secret: s3cr3t\r\nContent-Length: 9\r\n\r\ns3cr3t")
        x.reset()

    async def nonsense(x: Any) -> None:
        await x.body()
        await x.send(b"s3cr3t nonsense\r\n\r\n")
        x.close()

    tunnel.upstream.on("/broken", broken)
    tunnel.upstream.on("/nonsense", nonsense)
    body = b'{"s3cr3t":"pers0nal"}'
    assert tunnel.fetch(f"/ok?{PERSONAL}", *fields, method="POST", body=body).status == 200
    assert tunnel.fetch(f"/refused?{PERSONAL}", *fields, method="POST", body=body).status == 403
    assert tunnel.fetch(f"/nonsense?{PERSONAL}", *fields).status == 502
    assert tunnel.fetch(f"/x?{PERSONAL}", *fields, host="unknown.example").status == 404
    assert tunnel.fetch(f"/%00?{PERSONAL}", *fields).status in (400, 403)
    with tunnel.raw() as caller:
        caller.start("GET", f"/broken?{PERSONAL}", *fields)
        caller.read_to_end()
    with tunnel.raw() as caller:
        caller.start("GET", f"/ok?{PERSONAL}", *fields, "Bad Name: s3cr3t")
        assert caller.answer().status == 400
    tunnel.agent.stop()
    assert tunnel.fetch(f"/gone?{PERSONAL}", *fields).status == 503
    wait_until(lambda: access_lines(tunnel.hub, 0, "/gone"), "the last access line")
    tunnel.hub.stop()
    for program in (tunnel.hub, tunnel.agent):
        assert "s3cr3t" not in program.log()
        assert "pers0nal" not in program.log()


@pytest.mark.bug(23)
def test_one_access_line_for_each_request_joins_caller_and_hub(make_tunnel: MakeTunnel) -> None:
    json_log = {"log": {"format": "json"}}
    tunnel = make_tunnel(hub_options=json_log, agent_options=json_log, service={"deadline": "1s"}).start()
    tunnel.upstream.on("/ok", reply(201, body=b"12345"))
    mark = tunnel.hub.mark()
    assert tunnel.fetch("/ok?q=1", method="POST", body=b"123").status == 201
    missing = tunnel.fetch("/ok", host="unknown.example")
    [line] = wait_until(lambda: access_lines(tunnel.hub, mark, "/ok")[:1], "the access line")
    assert line["status"] == 201
    assert (line["method"], line["service"], line["agent"]) == ("POST", "visits", "leeds-1")
    assert (line["bytes_in"], line["bytes_out"]) == (3, 5)
    assert (line["origin"], line["delivered"]) == ("-", "yes")
    assert line["peer"] == "127.0.0.1"
    assert line["duration_ms"] > 0
    assert "query" not in line
    lines = wait_until(lambda: _two(access_lines(tunnel.hub, mark, "/ok")), "the second access line")
    document: Any = missing.json()
    assert lines[1]["request_id"] == document["request_id"]
    assert lines[1]["code"] == "no_such_service"


def _two(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return lines if len(lines) >= 2 else []


def test_query_strings_are_logged_where_configured(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(hub_options={"log": {"format": "json", "query_strings": True}}).start()
    tunnel.upstream.on("/ok", reply())
    tunnel.fetch("/ok?q=1")
    [line] = wait_until(lambda: access_lines(tunnel.hub, 0, "/ok"), "the access line")
    assert line["query"] == "q=1"


def test_log_lines_cannot_be_forged(tunnel: Tunnel, path: str) -> None:
    """Whatever a caller sends, a line stays a line."""
    tunnel.upstream.on(path + "*", reply())
    mark = tunnel.hub.mark()
    with tunnel.raw() as caller:
        caller.send(f'GET {path}/%0a%0d"{{}}\x85 HTTP/1.1\r\nHost: {HOST}\r\n\r\n'.encode("latin-1"))
        caller.answer()
    with tunnel.raw() as caller:
        caller.start("GET", f'{path}/"%22,"status":299,"x":"')
        caller.read_some()
    wait_until(lambda: "status" in tunnel.hub.log(mark), "an access line")
    for line in tunnel.hub.log(mark).splitlines():
        assert line.startswith("{")
        assert json.loads(line).get("status") != 299


@pytest.mark.parametrize("which", ["hub", "agent"])
def test_admin_endpoints(tunnel: Tunnel, which: str) -> None:
    program: Program = getattr(tunnel, which)
    assert program.admin("/health").json()
    assert program.admin_status("/health/liveness") == 200
    assert program.admin_status("/health/readiness") == 200
    assert program.admin_status("/ping") == 200
    about = program.admin("/info").json()
    assert "version" in json.dumps(about)
    assert "revision" in json.dumps(about)
    names = {family.name for family in text_string_to_metric_families(program.admin("/metrics").text)}
    assert any(name.startswith(f"tunnel_{which}_") for name in names), names
    assert program.admin_status("/nothing") == 404
    assert program.admin_url is not None
    assert httpx.post(program.admin_url + "/health", trust_env=False).status_code == 405


def test_metrics_count_requests(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/ok", reply(201))
    for _ in range(7):
        tunnel.fetch("/ok")
    tunnel.fetch("/ok", host="unknown.example")

    def counted() -> bool:
        families = {
            family.name: family.samples
            for family in text_string_to_metric_families(tunnel.hub.admin("/metrics").text)
        }
        served = [
            sample.value
            for sample in families["tunnel_hub_requests"]
            if sample.labels.get("service") == "visits" and sample.labels.get("status") == "201"
        ]
        return sum(served) == 7

    wait_until(counted, "seven requests in the metrics")


def test_admin_is_not_for_callers(tunnel: Tunnel) -> None:
    """The callers' port serves services only, the admin port no service."""
    for path in ("/health", "/metrics", "/info"):
        assert tunnel.fetch(path, host="hub").status == 404
    assert tunnel.hub.admin_url is not None
    answer = httpx.get(tunnel.hub.admin_url + "/nomisapi/x", headers={"Host": HOST}, trust_env=False)
    assert answer.status_code == 404


@pytest.mark.bug(12)
def test_health_tells_which_part_is_down(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    assert "visits" in tunnel.hub.admin("/health").text
    tunnel.agent.kill()
    wait_until(lambda: tunnel.hub.admin_status("/health") == 503, "the hub to notice")
    assert "visits" in tunnel.hub.admin("/health").text
    tunnel.hub.stop()
    tunnel.agent.start()
    tunnel.agent.wait_alive()
    answer = tunnel.agent.admin("/health")
    assert answer.status_code == 503
    assert "127.0.0.1:" in answer.text or "hub" in answer.text


@pytest.mark.bug(7)
def test_a_large_header_section_costs_one_exchange_at_most(tunnel: Tunnel, path: str) -> None:
    """Answers whose heads exceed every limit: each is one caller's 502, the sessions stay."""
    tunnel.upstream.on(path, reply(200, [(f"X-{n}", "v" * 2000) for n in range(60)]))
    tunnel.upstream.on(path + "/one", reply(200, [("X-One", "v" * 200_000)]))
    tunnel.upstream.on(path + "/ok", reply())
    mark = tunnel.hub.mark()
    answers: list[Answer] = [tunnel.fetch(path), tunnel.fetch(path + "/one"), tunnel.fetch(path + "/ok")]
    assert [answer.status for answer in answers] == [502, 502, 200]
    assert "session ended" not in tunnel.hub.log(mark)
