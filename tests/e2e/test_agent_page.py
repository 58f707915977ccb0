"""The agent's own page and its switch: a browser's way without a browser, real processes at both ends."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from protocol.ops import apikeys
from tests.e2e.test_agent_changes import reload
from tests.e2e.test_audit import lines, wait_line
from tests.support.seeded import seed
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import PATIENCE, wait_until

MakeTunnel = Callable[..., Tunnel]
KEY, HASH = apikeys.make()
seed(KEY)

OPERATED = {"admin": {"operators": {"alice": {"keys": [HASH]}}}, "audit": {"file": "agent-audit.jsonl"}}


@pytest.fixture
def tunnel(make_tunnel: MakeTunnel) -> Tunnel:
    tunnel = make_tunnel(
        agent_options=OPERATED, agent_service={"allow": ["GET /**"]}, service={"hold": "0s"}
    ).start()
    tunnel.upstream.on("/ok", reply())
    return tunnel


@pytest.fixture
def browser(tunnel: Tunnel) -> Iterator[httpx.Client]:
    """Keeps cookies, says where a form comes from, follows to the next page."""
    assert tunnel.agent.admin_url is not None
    url = tunnel.agent.admin_url
    headers = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, follow_redirects=True) as client:
        yield client


def text_of(answer: httpx.Response) -> str:
    """What a reader sees."""
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", answer.text)))


def token(answer: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
    assert found
    return found[1]


def log_in(browser: httpx.Client) -> httpx.Response:
    return browser.post("/login", data={"key": KEY})


def state(tunnel: Tunnel) -> Any:
    return tunnel.agent.admin("/api/status").json()["services"][0]["state"]


def test_the_page_says_what_the_snapshot_says(tunnel: Tunnel, browser: httpx.Client) -> None:
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


def test_what_is_wrong_stands_in_the_headline(tunnel: Tunnel, browser: httpx.Client) -> None:
    tunnel.hub.stop()
    wait_until(lambda: "no session at ws://127.0.0.1:" in text_of(browser.get("/")), "the headline")
    assert re.search(r"down no session at ws://\S+: \w+", text_of(browser.get("/")))


def test_the_page_renews_itself(tunnel: Tunnel, browser: httpx.Client) -> None:
    found = re.search(r'data-events="([^"]+)"', browser.get("/").text)
    assert found
    parts: dict[str, str] = {}
    with browser.stream("GET", html.unescape(found[1]), timeout=20 * PATIENCE) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        for line in events.iter_lines():
            if line.startswith("data:"):
                parts |= json.loads(line.removeprefix("data:"))
            if "headline" in parts and "All hubs and upstreams are up" in parts["headline"] and tunnel.hub.running:
                tunnel.hub.stop()
            if "no session" in parts.get("headline", ""):
                break
    assert set(parts) == {"headline", "tiles", "sessions", "services", "failures"}


def test_an_operator_switches_a_service_off_and_on(tunnel: Tunnel, browser: httpx.Client) -> None:
    assert "/switch/visits/off" in browser.get("/").text
    login = browser.get("/switch/visits/off")
    assert login.url.path == "/login"
    assert log_in(browser).url.path == "/"
    confirm = browser.get("/switch/visits/off")
    assert "Switch visits off?" in text_of(confirm)
    assert state(tunnel) == "up", "asking changes nothing"
    without_reason = browser.post("/switch/visits/off", data={"csrf": token(confirm), "reason": " "})
    assert without_reason.status_code == 400
    assert state(tunnel) == "up"
    page = browser.post("/switch/visits/off", data={"csrf": token(confirm), "reason": "INC-7 the API is ill"})
    assert page.url.path == "/"
    assert "switched off at the agent by the operator alice: INC-7 the API is ill" in text_of(page)
    wait_until(lambda: tunnel.fetch("/ok").status == 503, "the hub to hear of it")
    audited = wait_line(tunnel.agent, "service switched off", service="visits")
    assert (audited["operator"], audited["reason"]) == ("alice", "INC-7 the API is ill")
    assert tunnel.agent.admin_status("/health") == 200, "what is switched off is not down"
    confirm = browser.get("/switch/visits/on")
    browser.post("/switch/visits/on", data={"csrf": token(confirm), "reason": "mended"})
    wait_until(lambda: tunnel.fetch("/ok").status == 200, "the service to be back")
    wait_line(tunnel.agent, "service switched on", service="visits", operator="alice", reason="mended")
    assert KEY not in tunnel.agent.log()


def test_a_switch_holds_over_reloads_and_not_over_a_restart(tunnel: Tunnel) -> None:
    def switch(turn: str) -> httpx.Response:
        return httpx.post(
            f"{tunnel.agent.admin_url}/switch/visits/{turn}",
            data={"reason": "a test"},
            headers={"Authorization": f"Bearer {KEY}"},
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
    wait_line(tunnel.agent, "switch taken back", operator="alice")
    service["enabled"] = True
    reload(tunnel.agent)
    assert state(tunnel) == "up"
    assert switch("off").status_code == 303
    tunnel.agent.stop()
    tunnel.agent.start()
    tunnel.agent.wait_ready()
    assert state(tunnel) == "up"


def test_nobody_else_switches(tunnel: Tunnel, browser: httpx.Client) -> None:
    def tried(**options: Any) -> int:
        return browser.post(
            "/switch/visits/off", data={"reason": "x"}, follow_redirects=False, **options
        ).status_code

    assert tried() == 401
    assert tried(headers={"Authorization": f"Bearer {apikeys.make()[0]}"}) == 401
    log_in(browser)
    assert tried() == 403, "without the page's token"
    confirm = browser.get("/switch/visits/off")
    fields = {"reason": "x", "csrf": token(confirm)}
    foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert browser.post("/switch/visits/off", data=fields, headers=foreign).status_code == 403
    assert browser.get("/", headers={"Host": "evil.example:8083"}).status_code == 421, "DNS rebinding"
    assert browser.get("/api/status", headers={"Host": "evil.example"}).status_code == 421
    assert browser.get("/switch/nothing/off").status_code == 404
    assert browser.get("/switch/visits/maybe").status_code == 404
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


def test_operators_change_by_reload(tunnel: Tunnel, browser: httpx.Client) -> None:
    assert log_in(browser).status_code == 200
    assert "Operator alice" in text_of(browser.get("/"))
    tunnel.agent.config["admin"]["operators"] = {"bob": {"keys": [apikeys.make()[1]]}}
    mark = tunnel.agent.mark()
    reload(tunnel.agent)
    assert "only after a restart" not in tunnel.agent.log(mark)
    assert "Operator alice" not in text_of(browser.get("/"))
    assert log_in(browser).status_code == 401


def test_pages_that_are_open_are_bounded_and_keep_nobody_from_stopping(tunnel: Tunnel) -> None:
    assert tunnel.agent.admin_url is not None
    with httpx.Client(base_url=tunnel.agent.admin_url, trust_env=False, timeout=20 * PATIENCE) as client:
        opened = [client.send(client.build_request("GET", "/events"), stream=True) for _ in range(4)]
        for events in opened:
            next(events.iter_lines())
        full = client.get("/events")
        assert full.status_code == 503
        assert tunnel.agent.admin_status("/health") == 200
        assert tunnel.agent.stop() == 0
        for events in opened:
            events.close()
