"""The agent's own page and its switch, in plain HTTP: real processes at both ends."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.test_agent_changes import reload
from tests.e2e.test_audit import lines, wait_line
from tests.support.operators import Browser, Operator, make_operator
from tests.support.toml import merge
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import PATIENCE, wait_until

MakeTunnel = Callable[..., Tunnel]


@pytest.fixture
def operator() -> Operator:
    return make_operator()


@pytest.fixture
def tunnel(make_tunnel: MakeTunnel, operator: Operator) -> Tunnel:
    tunnel = make_tunnel(
        agent_options=merge(operator.table, {"audit": {"file": "agent-audit.jsonl"}}),
        agent_service={"allow": ["GET /**"]},
        service={"hold": "0s"},
    ).start()
    tunnel.upstream.on("/ok", reply())
    return tunnel


@pytest.fixture
def browser(tunnel: Tunnel) -> Iterator[Browser]:
    assert tunnel.agent.admin_url is not None
    browser = Browser(tunnel.agent.admin_url)
    yield browser
    browser.close()


def text_of(answer: httpx.Response) -> str:
    """What a reader sees."""
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", answer.text)))


def state(tunnel: Tunnel) -> Any:
    return tunnel.agent.admin("/api/status").json()["services"][0]["state"]


def test_the_page_says_what_the_snapshot_says(tunnel: Tunnel, browser: Browser) -> None:
    assert tunnel.get("/ok?noms_id=A1234BC").status_code == 200
    refused = tunnel.fetch("/offenders/A1234BC?dob=1979", method="POST", body=b"x")
    assert refused.status == 403
    text = text_of(browser.get("/"))
    told = browser.get("/api/status").json()
    assert "up All hubs and upstreams are up." in text
    assert "Sessions 2 of 2" in text
    assert "Requests 1" in text
    assert "Refused by the boundary 1" in text
    for session in told["hubs"][0]["sessions"]:
        assert session["id"] in text
    assert tunnel.upstream.url in text
    assert "POST /offenders/*" in text
    problem: Any = refused.json()
    assert problem["request_id"] in text
    assert "A1234BC" not in text
    assert "1979" not in text


def test_what_is_wrong_stands_in_the_headline(tunnel: Tunnel, browser: Browser) -> None:
    tunnel.hub.stop()
    wait_until(lambda: "no session at ws://127.0.0.1:" in text_of(browser.get("/")), "the headline")
    assert re.search(r"down no session at ws://\S+: \w+", text_of(browser.get("/")))


def test_the_page_renews_itself(tunnel: Tunnel, browser: Browser) -> None:
    found = re.search(r'data-events="([^"]+)"', browser.get("/").text)
    assert found
    parts: dict[str, str] = {}
    with browser.client.stream("GET", html.unescape(found[1]), timeout=20 * PATIENCE) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        for line in events.iter_lines():
            if line.startswith("data:"):
                parts |= json.loads(line.removeprefix("data:"))
            if "headline" in parts and "All hubs and upstreams are up" in parts["headline"] and tunnel.hub.running:
                tunnel.hub.stop()
            if "no session" in parts.get("headline", ""):
                break
    assert set(parts) == {"headline", "tiles", "sessions", "services", "failures"}


def test_an_operator_switches_a_service_off_and_on(tunnel: Tunnel, browser: Browser, operator: Operator) -> None:
    assert "/switch/visits/off" in browser.get("/").text
    assert browser.get("/switch/visits/off").headers["location"] == "/login?next=/switch/visits/off"
    browser.log_in(operator)
    assert "Switch visits off?" in text_of(browser.get("/switch/visits/off"))
    asked = browser.client.request(
        "HEAD", "/switch/visits/off", data={"reason": "x"}, headers=operator.bearer, timeout=10
    )
    assert asked.status_code == 200
    assert state(tunnel) == "up", "asking changes nothing"
    assert browser.confirm("/switch/visits/off", " ").status_code == 400
    assert state(tunnel) == "up", "nothing without a reason"
    assert browser.confirm("/switch/visits/off", "INC-7 the API is ill").headers["location"] == "/"
    told = text_of(browser.get("/"))
    assert f"switched off at the agent by the operator {operator.name}: INC-7 the API is ill" in told
    wait_until(lambda: tunnel.fetch("/ok").status == 503, "the hub to hear of it")
    wait_line(
        tunnel.agent,
        "service switched off",
        service="visits",
        operator=operator.name,
        reason="INC-7 the API is ill",
    )
    assert tunnel.agent.admin_status("/health") == 200, "what is switched off is not down"
    browser.confirm("/switch/visits/on", "mended")
    wait_until(lambda: tunnel.fetch("/ok").status == 200, "the service to be back")
    wait_line(tunnel.agent, "service switched on", service="visits", operator=operator.name, reason="mended")


def test_a_switch_holds_over_reloads_and_not_over_a_restart(tunnel: Tunnel, operator: Operator) -> None:
    def switch(turn: str) -> httpx.Response:
        return httpx.post(
            f"{tunnel.agent.admin_url}/switch/visits/{turn}",
            data={"reason": "a test"},
            headers=operator.bearer,
            trust_env=False,
        )

    service = tunnel.agent.config["services"]["visits"]
    assert switch("off").status_code == 303
    assert state(tunnel) == "switched off"
    for change in ({"max_connections": 7}, {"enabled": False}, {"enabled": True}):
        service.update(change)
        reload(tunnel.agent)
        assert state(tunnel) == "switched off", change
    service["enabled"] = False
    reload(tunnel.agent)
    assert switch("on").status_code == 303
    assert state(tunnel) == "switched off", "the file wants it so"
    wait_line(tunnel.agent, "switch taken back", operator=operator.name)
    service["enabled"] = True
    reload(tunnel.agent)
    assert state(tunnel) == "up"
    assert switch("off").status_code == 303
    tunnel.agent.stop()
    tunnel.agent.start()
    tunnel.agent.wait_ready()
    assert state(tunnel) == "up"


def test_nobody_else_switches(tunnel: Tunnel, browser: Browser, operator: Operator) -> None:
    path, fields = "/switch/visits/off", {"reason": "x"}
    assert browser.post(path, fields).status_code == 401
    assert browser.post(path, fields, **make_operator("mallory").bearer).status_code == 401
    browser.log_in(operator)
    assert browser.post(path, fields).status_code == 403, "without the page's token"
    fields["csrf"] = browser.token(path)
    foreign = {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"}
    assert browser.post(path, fields, **foreign).status_code == 403
    for asked in ("/", "/api/status", path):
        assert browser.get(asked, Host="evil.example:8083").status_code == 421, "DNS rebinding"
    assert browser.get("/switch/nothing/off").status_code == 404
    assert browser.get("/switch/visits/maybe").status_code == 404
    assert browser.client.request("HEAD", path, data={"reason": "x"}, headers=operator.bearer).status_code == 200
    assert state(tunnel) == "up"
    assert not [line for line in lines(tunnel.agent) if line["event"] == "service switched off"]


def test_without_operators_it_is_for_reading(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    page = tunnel.agent.admin("/")
    assert "/switch/" not in page.text
    assert "tunnel-agent api-key" in text_of(page)
    for name in ("content-security-policy", "x-content-type-options", "x-frame-options"):
        assert name in page.headers
    assert page.headers["cache-control"] == "no-store"
    assert tunnel.agent.admin_status("/switch/visits/off") == 403


def test_operators_change_by_reload(tunnel: Tunnel, browser: Browser, operator: Operator) -> None:
    browser.log_in(operator)
    assert f"Operator {operator.name}" in text_of(browser.get("/"))
    tunnel.agent.config["admin"]["operators"] = make_operator("day-shift").table["admin"]["operators"]
    mark = tunnel.agent.mark()
    reload(tunnel.agent)
    assert "only after a restart" not in tunnel.agent.log(mark)
    assert f"Operator {operator.name}" not in text_of(browser.get("/"))
    assert browser.post("/login", {"key": operator.key}).status_code == 401


def test_pages_that_are_open_are_bounded_and_keep_nobody_from_stopping(tunnel: Tunnel) -> None:
    assert tunnel.agent.admin_url is not None
    with httpx.Client(base_url=tunnel.agent.admin_url, trust_env=False, timeout=20 * PATIENCE) as client:
        opened = [client.send(client.build_request("GET", "/events"), stream=True) for _ in range(4)]
        readers = [events.iter_lines() for events in opened]
        for reader in readers:
            next(reader)
        with client.stream("GET", "/events") as full:
            assert full.status_code == 503
        assert tunnel.agent.admin_status("/health") == 200
        assert tunnel.agent.stop() == 0
        for events in opened:
            events.close()


def test_page_and_log_say_which_certificate_ends_soon(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(tls=True)
    assert tunnel.ca is not None
    [hub] = tunnel.agent.config["hubs"]
    more = tunnel.directory / "more.pem"
    more.write_bytes(tunnel.ca.ca_file.read_bytes() + tunnel.ca.issue(days=5.5).certificate.read_bytes())
    hub["ca_file"] = str(more)
    tunnel.agent.write_config()
    tunnel.start()
    assert "hubs[0].ca_file ends in 5 days" in text_of(tunnel.agent.admin("/"))
    tunnel.agent.wait_log("ends soon", "hubs[0].ca_file")
