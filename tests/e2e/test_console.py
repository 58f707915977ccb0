"""The hub's status page and its JSON, from outside: what they say is so, and only operators change anything."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from protocol.ops.console.live import LISTENERS_MAX
from tests.e2e.test_agent_changes import reload
from tests.e2e.test_audit import lines, wait_line
from tests.support import scripts
from tests.support.metrics import metric
from tests.support.operators import Browser, Operator, make_operator
from tests.support.toml import merge
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import Gate, wait_until

MakeTunnel = Callable[..., Tunnel]
AUDIT = {"audit": {"file": "hub-audit.jsonl"}}


@pytest.fixture
def operator() -> Operator:
    return make_operator()


@pytest.fixture
def make_operated(make_tunnel: MakeTunnel, operator: Operator) -> MakeTunnel:
    """Tunnels whose hub has this operator and an audit."""

    def make(hub_options: Any = None, **options: Any) -> Tunnel:
        tables = merge(merge(operator.table, AUDIT), hub_options or {})
        tunnel = make_tunnel(hub_options=tables, **options).start()
        tunnel.upstream.on("/nomisapi/*", reply(200, body=b"{}"))
        return tunnel

    return make


@pytest.fixture
def browse() -> Iterator[Callable[[Tunnel], Browser]]:
    opened: list[Browser] = []

    def browser(tunnel: Tunnel) -> Browser:
        opened.append(Browser(tunnel.hub.admin_url))
        return opened[-1]

    yield browser
    for each in opened:
        each.close()


def status(tunnel: Tunnel) -> Any:
    answer = tunnel.hub.admin("/api/status")
    assert answer.status_code == 200, answer.text
    return answer.json()


def service(tunnel: Tunnel, name: str = "visits") -> Any:
    return next(each for each in status(tunnel)["services"] if each["name"] == name)


def agent(tunnel: Tunnel, name: str = "leeds-1") -> Any:
    return next(each for each in status(tunnel)["agents"] if each["id"] == name)


def metrics(tunnel: Tunnel) -> dict[str, float]:
    """Each sample's value by its name and labels, added up over the labels of requests."""
    values: Counter[str] = Counter()
    for family in text_string_to_metric_families(tunnel.hub.admin("/metrics").text):
        for sample in family.samples:
            labels = sample.labels.get("service") or sample.labels.get("agent") or ""
            values[f"{sample.name} {labels}".strip()] += sample.value
    return values


# -- What it says is so ---------------------------------------------------------------------------------


def test_what_it_says_is_what_metrics_and_upstream_say(make_operated: MakeTunnel) -> None:
    """Under load and faults: an upstream's own errors, a refusal, an answer cut off, requests without agent."""
    tunnel = make_operated(service={"hold": "100ms"}, sessions=2, agent_service={"allow": ["GET /**"]})

    async def broken(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxyz")
        x.reset()

    tunnel.upstream.on("/nomisapi/own", reply(500))
    tunnel.upstream.on("/nomisapi/broken", broken)
    targets = ["/nomisapi/version"] * 60 + ["/nomisapi/own"] * 5
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda target: tunnel.get(target).status_code, targets))
    assert statuses == {200: 60, 500: 5}
    with tunnel.raw() as caller:
        caller.start("GET", "/nomisapi/broken")
        caller.read_to_end()
    assert tunnel.fetch("/nomisapi/offenders/A1234BC/visits?noms_id=A1234BC", method="DELETE").status == 403
    reached = len(tunnel.upstream.ledger)
    assert reached == 66
    tunnel.agent.stop()
    tunnel.wait_sessions(0)
    assert tunnel.get("/nomisapi/version").status_code == 503

    said, counted, whole = service(tunnel), metrics(tunnel), status(tunnel)
    assert said["state"] == "without agent"
    assert said["requests"] == 68 == counted["tunnel_hub_requests_total visits"]
    assert said["requests"] == reached + 2  # the boundary's refusal, and the one without agent
    assert said["errors"] == 7  # 5 of its own, 1 cut off, 1 without agent
    assert said["recent"]["requests"] == 68
    assert said["recent"]["error_ratio"] == pytest.approx(7 / 68)
    assert 0 < said["recent"]["p50"] <= said["recent"]["p95"] <= said["recent"]["p99"]
    assert said["bytes_out"] == counted["tunnel_hub_sent_bytes_total visits"]
    assert (said["sessions"], whole["sessions"], agent(tunnel)["state"]) == (0, 0, "away")
    assert counted["tunnel_hub_sessions leeds-1"] == 0
    assert whole["sessions_lost"] == counted["tunnel_hub_sessions_ended_total leeds-1"] == 2

    kinds = Counter((each["origin"], each["code"], each["status"]) for each in whole["failures"])
    assert kinds == {
        ("upstream", "", 500): 5,
        ("upstream", "upstream_truncated", 200): 1,
        ("agent", "boundary_refused", 403): 1,
        ("hub", "no_session", 503): 1,
    }
    assert sum(each["count"] for each in whole["failure_counts"]) == 8
    refused = next(each for each in whole["failures"] if each["status"] == 403)
    assert refused["path"] == "/nomisapi/offenders/*/visits"
    assert refused["agent"] == "leeds-1"
    assert "A1234BC" not in json.dumps(whole)

    page = tunnel.hub.admin("/").text
    assert "visits is without agent" in page
    assert "7 of 68" in page
    found = tunnel.hub.admin(f"/failures?q={refused['request_id']}").text
    assert found.count("<code>") == 1
    assert refused["request_id"] in found
    for code in {each["code"] for each in whole["failures"]} - {""}:
        assert f'href="/codes#{code}"' in page
        assert f'id="{code}"' in tunnel.hub.admin("/codes").text
    assert "A1234BC" not in page + found


def test_agents_and_sessions(make_operated: MakeTunnel) -> None:
    tunnel = make_operated(sessions=3)
    gate = Gate()

    async def waits(x: Exchange) -> None:
        await gate.passed()
        await x.answer(200)

    tunnel.upstream.on("/nomisapi/waits", waits)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(tunnel.get, "/nomisapi/waits") for _ in range(2)]
        tunnel.upstream.wait_for("/nomisapi/waits", 2)
        said = agent(tunnel)
        gate.open()
        assert [each.result().status_code for each in running] == [200, 200]
    assert (said["state"], said["sessions"], said["outstanding"], said["services"]) == ("up", 3, 2, ["visits"])
    (instance,) = said["instances"]
    assert instance["software"].startswith("tunnel-agent")
    assert instance["outstanding"] == 2
    assert [offer["service"] for offer in instance["offers"]] == ["visits"]
    sessions = instance["sessions"]
    assert len({session["id"] for session in sessions}) == 3
    assert sum(session["outstanding"] for session in sessions) == 2
    for session in sessions:
        assert session["peer"] == "127.0.0.1"
        assert session["bytes_in"] > 0
        assert 0 < session["age"] < status(tunnel)["uptime"]
        assert not session["draining"]
    wait_until(lambda: agent(tunnel)["round_trip"] is not None, "a round trip")
    page = tunnel.hub.admin("/agents/leeds-1").text
    assert all(session["id"] in page for session in sessions)
    assert tunnel.hub.admin("/agents/nobody").status_code == 404
    assert "leeds-1" in tunnel.hub.admin("/agents?q=LEEDS").text
    assert "leeds-1</a>" not in tunnel.hub.admin("/agents?q=york").text


def test_it_renews_itself(make_operated: MakeTunnel) -> None:
    tunnel = make_operated()
    with httpx.stream(
        "GET", f"{tunnel.hub.admin_url}/events?view=overview", trust_env=False, timeout=20
    ) as stream:
        events = _events(stream)
        first = next(events)
        assert first.keys() == {"headline", "tiles", "services", "agents", "failures"}
        assert "All services and agents are up" in first["headline"]
        for _ in range(3):
            assert tunnel.get("/nomisapi/version").status_code == 200
        seen = ""
        while "0 of 3" not in seen:
            seen = next(events).get("services", "")
        tunnel.agent.stop()
        seen = ""
        while "visits is without agent" not in seen:
            seen = next(events).get("headline", "")


def _events(stream: httpx.Response) -> Iterator[dict[str, str]]:
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_only_so_many_may_look(make_operated: MakeTunnel) -> None:
    tunnel = make_operated()
    url = f"{tunnel.hub.admin_url}/events?view=overview"
    opened = []
    with ExitStack() as stack:
        for _ in range(LISTENERS_MAX):
            stream = stack.enter_context(httpx.stream("GET", url, trust_env=False, timeout=20))
            assert stream.status_code == 200
            opened.append(_events(stream))  # let go of, it would close its stream
            assert next(opened[-1])
        assert httpx.get(url, trust_env=False).status_code == 503
        assert tunnel.hub.admin("/").status_code == 200
        assert tunnel.hub.admin("/health/readiness").status_code == 200
    wait_until(lambda: _answers(url) == 200, "room for another one")
    assert tunnel.hub.admin("/events?view=nothing").status_code == 404
    assert tunnel.hub.admin("/events?view=agent/nobody").status_code == 404


def _answers(url: str) -> int:
    with httpx.stream("GET", url, trust_env=False, timeout=5) as stream:
        return stream.status_code


def test_the_hub_stops_while_somebody_looks(make_operated: MakeTunnel) -> None:
    tunnel = make_operated()
    with httpx.stream(
        "GET", f"{tunnel.hub.admin_url}/events?view=overview", trust_env=False, timeout=20
    ) as stream:
        events = _events(stream)
        next(events)
        tunnel.agent.stop()
        assert tunnel.hub.stop() == 0
        list(events)
    assert "Traceback" not in tunnel.hub.log()


# -- Who may ----------------------------------------------------------------------------------------------


def test_without_operators_it_is_for_reading(tunnel: Tunnel, browse: Callable[[Tunnel], Browser]) -> None:
    browser = browse(tunnel)
    page = browser.get("/").text
    assert "[admin.operators.NAME]" in page
    assert "/switch/" not in page
    for path in ("/switch/service/off/visits", "/switch/hub/drain/hub-1", "/switch/agent/stop/leeds-1"):
        assert browser.get(path).status_code == 403
        assert browser.post(path, {"reason": "x"}).status_code == 403
    assert browser.post("/login", {"key": make_operator().key}).status_code == 401
    assert service(tunnel)["state"] == "up"


def test_only_operators_switch(
    make_operated: MakeTunnel, operator: Operator, browse: Callable[[Tunnel], Browser]
) -> None:
    tunnel = make_operated()
    path = "/switch/service/off/visits"
    stranger = browse(tunnel)
    asked = stranger.get(path)
    assert (asked.status_code, asked.headers["location"]) == (303, f"/login?next={path}")
    assert stranger.post(path, {"reason": "x"}).status_code == 401
    assert stranger.client.post(path, data={"reason": "x"}, headers=make_operator().bearer).status_code == 401

    browser = browse(tunnel)
    browser.log_in(operator)
    assert operator.name in browser.get("/").text
    token = browser.token(path)
    good = {"csrf": token, "reason": "test"}
    foreign = {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"}
    assert browser.post(path, good, **foreign).status_code == 403
    assert browser.post(path, good, Sec_Fetch_Site="same-site").status_code == 403
    assert browser.post(path, good, Origin="null").status_code == 403
    assert browser.post(path, {"reason": "test"}).status_code == 403
    assert browser.post(path, {**good, "csrf": "0" * 64}).status_code == 403
    other = browse(tunnel)
    other.log_in(operator)
    assert other.post(path, good).status_code == 403, "another browser's token"
    assert browser.post(path, {**good, "reason": " "}).status_code == 400
    assert browser.post(path, {**good, "reason": "x" * 201}).status_code == 400
    assert browser.post(path, {**good, "reason": "x" * 20_000}).status_code == 413
    assert browser.client.post(path, json=good).status_code == 415
    assert browser.client.put(path).status_code == 405
    assert browser.client.request("HEAD", path, data=good, headers=operator.bearer).status_code == 200
    assert browser.get("/switch/service/off/nobody").status_code == 404
    assert browser.get("/switch/service/explode/visits").status_code == 404
    assert service(tunnel)["state"] == "up"

    assert browser.post(path, good).status_code == 303
    assert service(tunnel)["state"] == "switched off"

    assert browser.post("/logout", {"csrf": token}).status_code == 303
    assert browser.post("/switch/service/on/visits", good).status_code == 401
    assert operator.key not in tunnel.hub.log() + json.dumps(lines(tunnel.hub))


def test_the_cookie(make_operated: MakeTunnel, operator: Operator, browse: Callable[[Tunnel], Browser]) -> None:
    tunnel = make_operated()
    browser = browse(tunnel)
    plain = browser.post("/login?next=//evil.example/", {"key": operator.key})
    assert plain.headers["location"] == "/"
    cookie = plain.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/", "max-age=28800"))
    assert "secure" not in cookie
    assert (
        "secure"
        in browser.post("/login", {"key": operator.key}, X_Forwarded_Proto="https").headers["set-cookie"].lower()
    )
    assert browser.post("/login", {"key": operator.key}, Origin="http://evil.example").status_code == 403
    tunnel.hub.config["admin"]["operators"] = make_operator("day-shift").table["admin"]["operators"]
    reload(tunnel.hub)
    assert browser.client.get("/switch/service/off/visits").status_code == 303, (
        "the key is not configured any more"
    )


def test_wrong_keys_are_audited_and_slowed_down(
    make_operated: MakeTunnel, operator: Operator, browse: Callable[[Tunnel], Browser]
) -> None:
    tunnel = make_operated()
    browser = browse(tunnel)
    wrong = make_operator().key
    answers = [browser.post("/login", {"key": wrong}).status_code for _ in range(12)]
    assert answers[0] == 401
    assert answers[-1] == 429
    browser.log_in(operator)
    line = wait_line(tunnel.hub, "operator refused", reason="wrong key", way="form")
    assert line["peer"] == "127.0.0.1"
    wait_line(tunnel.hub, "operator logged in", operator=operator.name)


@pytest.mark.parametrize("path", ["/", "/api/status", "/events?view=overview", "/login", "/console.css"])
def test_only_by_names_of_its_own(tunnel: Tunnel, path: str) -> None:
    def ask(host: str) -> int:
        with httpx.stream("GET", tunnel.hub.admin_url + path, headers={"Host": host}, trust_env=False) as answer:
            return answer.status_code

    assert ask("evil.example") == 421
    assert ask("localhost.evil.example:8082") == 421
    assert ask("localhost:8082") == 200
    assert ask("[::1]:8082") == 200
    assert ask("10.1.2.3") == 200


def test_names_may_be_added(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(hub_options={"admin": {"hosts": ["hub-1.internal"]}}).start()
    url = tunnel.hub.admin_url
    assert httpx.get(url, headers={"Host": "HUB-1.internal:80"}, trust_env=False).status_code == 200
    assert httpx.get(url, headers={"Host": "hub-2.internal"}, trust_env=False).status_code == 421


@pytest.mark.parametrize(
    "path", ["/", "/agents", "/agents/leeds-1", "/failures", "/codes", "/login", "/api/status", "/agents/none"]
)
def test_every_answer_forbids_frames_scripts_and_caches(tunnel: Tunnel, path: str) -> None:
    answer = tunnel.hub.admin(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert " style=" not in answer.text
    assert "<script>" not in answer.text


def test_what_callers_send_is_text_on_the_page(tunnel: Tunnel) -> None:
    evil = "/<script>alert(1)</script>"
    with tunnel.raw() as caller:
        caller.start("GET", evil, host="<b>nobody</b>")
        caller.read_to_end()
    tunnel.fetch("/%3Cscript%3Ealert(1)%3C/script%3E", host="nobody.internal")
    for path in ("/", "/failures", "/failures?q=<script>alert(1)</script>", "/agents?q=<script>alert(1)</script>"):
        text = tunnel.hub.admin(path).text
        assert "<script>alert" not in text
        assert "<b>nobody" not in text


# -- What operators do --------------------------------------------------------------------------------------


def test_a_service_is_switched_off_until_it_is_taken_back(
    make_operated: MakeTunnel, operator: Operator, browse: Callable[[Tunnel], Browser]
) -> None:
    tunnel = make_operated()
    browser = browse(tunnel)
    browser.log_in(operator)
    assert browser.confirm("/switch/service/off/visits", "wrong data, ticket 17").status_code == 303
    refused = tunnel.get("/nomisapi/version")
    assert (refused.status_code, refused.json()["code"]) == (503, "switched_off")
    said = service(tunnel)
    assert said["state"] == "switched off"
    assert metric(tunnel.hub, "tunnel_hub_switched_off", service="visits") == 1
    assert (said["switched"]["by"], said["switched"]["reason"]) == (
        f"operator {operator.name}",
        "wrong data, ticket 17",
    )
    line = wait_line(tunnel.hub, "service switched off", service="visits", operator=operator.name)
    assert line["reason"] == "wrong data, ticket 17"
    page = browser.get("/").text
    assert "wrong data, ticket 17" in page

    reload(tunnel.hub)
    assert tunnel.get("/nomisapi/version").status_code == 503, "a reload does not take it back"

    tunnel.hub.config["services"]["visits"]["enabled"] = False
    reload(tunnel.hub)
    assert browser.confirm("/switch/service/on/visits", "data mended").status_code == 303
    assert service(tunnel)["switched"]["by"] == "file"
    assert tunnel.get("/nomisapi/version").status_code == 503, "the file has it off"
    tunnel.hub.config["services"]["visits"]["enabled"] = True
    reload(tunnel.hub)
    assert tunnel.get("/nomisapi/version").status_code == 200
    assert service(tunnel)["switched"] is None
    assert metric(tunnel.hub, "tunnel_hub_switched_off", service="visits") == 0


def test_a_program_switches_with_its_key(make_operated: MakeTunnel, operator: Operator) -> None:
    tunnel = make_operated()
    url = tunnel.hub.admin_url

    def post(path: str) -> int:
        return httpx.post(
            url + path, data={"reason": "drill"}, headers=operator.bearer, trust_env=False
        ).status_code

    assert post("/switch/service/off/visits") == 303
    assert tunnel.get("/nomisapi/version").status_code == 503
    assert post("/switch/service/off/visits") == 303
    assert post("/switch/service/on/visits") == 303
    assert tunnel.get("/nomisapi/version").status_code == 200
    events = [line["event"] for line in lines(tunnel.hub)]
    wait_line(tunnel.hub, "service switched on", operator=operator.name, reason="drill")
    assert events.count("service switched off") <= 1


def test_an_agent_gets_nothing_more(
    make_operated: MakeTunnel, operator: Operator, browse: Callable[[Tunnel], Browser]
) -> None:
    tunnel = make_operated(agent_ids=("leeds-1", "leeds-2"))
    tunnel.wait_sessions(4)
    gate = Gate()

    async def waits(x: Exchange) -> None:
        await gate.passed()
        await x.answer(200)

    tunnel.upstream.on("/nomisapi/waits", waits)
    browser = browse(tunnel)
    browser.log_in(operator)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(tunnel.get, "/nomisapi/waits") for _ in range(4)]
        tunnel.upstream.wait_for("/nomisapi/waits", 4)
        done = browser.confirm("/switch/agent/stop/leeds-1", "disk is full")
        assert done.headers["location"] == "/agents/leeds-1"
        before = agent(tunnel)
        assert before["state"] == "stopped"
        assert before["outstanding"] > 0
        for _ in range(10):
            assert tunnel.get("/nomisapi/version").status_code == 200
        assert agent(tunnel)["outstanding"] == before["outstanding"]
        gate.open()
        assert [each.result().status_code for each in running] == [200] * 4, "what it had went on"
    idle = agent(tunnel)["bytes_out"]
    for _ in range(10):
        tunnel.get("/nomisapi/version")
    assert agent(tunnel)["bytes_out"] - idle < 100, "pings at most"
    assert service(tunnel)["state"] == "degraded"
    tunnel.agent.stop()
    tunnel.agent.start()
    tunnel.wait_sessions(4)
    assert agent(tunnel)["state"] == "stopped", "a new process of the agent is stopped, too"
    assert metric(tunnel.hub, "tunnel_hub_agents_stopped") == 1
    wait_line(tunnel.hub, "agent stopped", agent="leeds-1", operator=operator.name, reason="disk is full")
    browser.confirm("/switch/agent/resume/leeds-1", "made room")
    wait_until(lambda: agent(tunnel)["state"] == "up", "leeds-1 to be up")
    wait_line(tunnel.hub, "agent resumed", agent="leeds-1", reason="made room")
    assert metric(tunnel.hub, "tunnel_hub_agents_stopped") == 0


def test_a_hub_that_stops_is_not_taken_back(make_operated: MakeTunnel, operator: Operator) -> None:
    gates = [Gate(), Gate()]
    tunnel = make_operated({"limits": {"drain_timeout": "60s"}})
    tunnel.upstream.on("/slow", scripts.slow_drip(2, gates))

    def post(turn: str) -> httpx.Response:
        return httpx.post(
            f"{tunnel.hub.admin_url}/switch/hub/{turn}/hub-1",
            data={"reason": "a test"},
            headers=operator.bearer,
            trust_env=False,
        )

    with tunnel.raw() as caller:
        caller.start("GET", "/slow")
        gates[0].open()
        assert caller.head().status == 200
        assert post("drain").status_code == 303
        tunnel.hub.terminate()
        wait_until(lambda: status(tunnel)["state"] == "stopping", "the hub to stop")
        for turn in ("resume", "drain"):
            answer = post(turn)
            assert (answer.status_code, "The hub is stopping" in answer.text) == (409, True)
        assert status(tunnel)["switched"] is not None
        gates[1].open()
        assert caller.chunk() == b"piece-0\n"
    assert tunnel.hub.wait_exit() == 0


def test_the_hub_is_drained_and_comes_back(
    make_operated: MakeTunnel, operator: Operator, browse: Callable[[Tunnel], Browser]
) -> None:
    tunnel = make_operated(agent_options={"limits": {"reconnect_max": "500ms"}}, sessions=2)
    browser = browse(tunnel)
    browser.log_in(operator)
    browser.confirm("/switch/hub/drain/hub-1", "new kernel")
    assert tunnel.hub.admin_status("/health/readiness") == 503
    assert tunnel.hub.admin_status("/health/liveness") == 200
    said = status(tunnel)
    assert (said["state"], said["switched"]["reason"]) == ("draining", "new kernel")
    assert metric(tunnel.hub, "tunnel_hub_drained") == 1
    answer = tunnel.get("/nomisapi/version")
    assert (answer.status_code, answer.headers["connection"]) == (200, "close"), "what still comes is served"
    wait_until(
        lambda: all(each["draining"] for i in agent(tunnel)["instances"] for each in i["sessions"]), "agents told"
    )
    old = {each["id"] for i in agent(tunnel)["instances"] for each in i["sessions"]}
    wait_line(tunnel.hub, "hub drained", operator=operator.name, reason="new kernel")

    browser.confirm("/switch/hub/resume/hub-1", "done")
    assert tunnel.hub.admin_status("/health/readiness") == 200
    assert metric(tunnel.hub, "tunnel_hub_drained") == 0

    def renewed() -> bool:
        sessions = [each for i in agent(tunnel)["instances"] for each in i["sessions"]]
        return len(sessions) == 2 and not old & {each["id"] for each in sessions}

    wait_until(renewed, "two new sessions in the place of the old ones", 20)
    wait_until(lambda: status(tunnel)["sessions"] == 2, "the old sessions to end")
    answer = tunnel.get("/nomisapi/version")
    assert (answer.status_code, answer.headers.get("connection")) == (200, None)
    wait_line(tunnel.hub, "hub resumed", operator=operator.name, reason="done")


def test_a_slow_reader_of_events_costs_no_memory(make_operated: MakeTunnel) -> None:
    """Whoever does not read is sent nothing more; the page of others goes on."""
    tunnel = make_operated()
    host, _, port = tunnel.hub.admin_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as lazy:
        lazy.sendall(b"GET /events?view=overview HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with httpx.stream(
            "GET", f"{tunnel.hub.admin_url}/events?view=overview", trust_env=False, timeout=20
        ) as stream:
            events = _events(stream)
            for _ in range(3):
                assert next(events)
