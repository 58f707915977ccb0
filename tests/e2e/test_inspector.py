"""The request inspector of a running hub: off it keeps nothing, on it keeps what was asked for, no secret ever."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from protocol.ops import apikeys
from protocol.ops.log import MASK
from tests.e2e.test_agent_changes import reload
from tests.e2e.test_audit import lines, wait_line
from tests.support.leaksearch import Patterns, named
from tests.support.seeded import SEEDED
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until
from tests.support.watcher import Watcher

MakeTunnel = Callable[..., Tunnel]

API = "/api/inspector"
VISITS = f"{API}/visits"
ALL = {"paths": "yes", "headers": "yes", "bodies": "yes"}


@pytest.fixture
def operator() -> Watcher:
    return Watcher()


@pytest.fixture
def inspected(make_tunnel: MakeTunnel, operator: Watcher) -> Tunnel:
    tunnel = make_tunnel(
        hub_options={**operator.options, "audit": {"file": "hub-audit.jsonl"}},
        agent_service={"allow": ["GET /**", "HEAD /**", "POST /**", "OPTIONS /**"]},
    )
    tunnel.upstream.on("/nomisapi/*", reply(200, [("Content-Type", "application/json")], body=b'{"fine": true}'))
    return tunnel.start()


def listed(operator: Watcher, tunnel: Tunnel, number: int) -> list[dict[str, Any]]:
    """The recorded exchanges, once there are `number` of them."""

    def found() -> list[dict[str, Any]]:
        exchanges: list[dict[str, Any]] = operator.get(tunnel.hub, VISITS).json()["exchanges"]
        return exchanges if len(exchanges) >= number else []

    return wait_until(found, f"{number} recorded exchanges")


def test_off_it_keeps_nothing(inspected: Tunnel, operator: Watcher) -> None:
    inspected.fetch("/nomisapi/offenders/A1234BC")
    assert operator.get(inspected.hub, API).json() == {"recordings": [], "bytes": 0, "bytes_max": 4 * 1024 * 1024}
    assert operator.get(inspected.hub, VISITS, 404).text == 'The inspector is not on for "visits".\n'


def test_only_for_operators(inspected: Tunnel, operator: Watcher) -> None:
    operator.post(inspected.hub, VISITS, status=201)
    inspected.fetch("/nomisapi/x")
    [seen] = listed(operator, inspected, 1)
    one = f"{VISITS}/{seen['number']}"
    with Watcher("mallory").client(inspected.hub) as mallory:
        for path in (API, VISITS, one, f"{one}/curl"):
            assert inspected.hub.admin(path).status_code == 401, path
            assert mallory.get(path).status_code in (401, 429), path
        for path in (VISITS, f"{VISITS}/off", f"{one}/replay"):
            assert mallory.post(path, data={"confirm": "yes"}).status_code in (401, 429), path
    assert len(inspected.upstream.requests("/nomisapi/x")) == 1


def test_on_it_keeps_shapes_sizes_and_times_and_nothing_else(inspected: Tunnel, operator: Watcher) -> None:
    begun = operator.post(inspected.hub, VISITS, {"for": "5m", "number": "2", "reason": "slow?"}, 201).json()
    assert (begun["operator"], begun["recording"], begun["number"]) == ("anna", True, 2)
    for number in range(3):
        inspected.fetch(
            f"/nomisapi/offenders/A123{number}BC?q=1", "X-Note: pers0nal", method="POST", body=b'{"a": "pers0nal"}'
        )
    assert len(inspected.upstream.requests("/nomisapi/*")) == 3
    wait_until(lambda: operator.get(inspected.hub, VISITS).json()["recorded"] == 3, "three recorded")
    exchanges = listed(operator, inspected, 2)
    assert [seen["number"] for seen in exchanges] == [2, 3], "the latest two"
    seen = operator.get(inspected.hub, f"{VISITS}/3").json()
    assert seen["path"] == "/nomisapi/offenders/*"
    assert (seen["method"], seen["status"], seen["bytes_in"], seen["bytes_out"]) == ("POST", 200, 17, 14)
    assert (seen["agent"], seen["peer"], seen["shape"], seen["queried"]) == ("leeds-1", "127.0.0.1", True, True)
    phases = seen["phases"]
    assert 0 < phases["upstream_first_byte"] < phases["head"] <= phases["total"]
    assert seen["request_id"] in inspected.hub.log()
    text = json.dumps(seen)
    assert "A1232BC" not in text
    assert "pers0nal" not in text
    assert not [name for name in seen if name.endswith(("_fields", "_body"))]
    for event in ("inspector on", "inspector read"):
        wait_line(inspected.hub, event, operator="anna", service="visits")
    assert wait_line(inspected.hub, "inspector on")["reason"] == "slow?"
    operator.post(inspected.hub, f"{VISITS}/off", status=204)
    wait_line(inspected.hub, "inspector off", operator="anna", why="switched off", recorded=3)
    operator.get(inspected.hub, VISITS, 404)
    assert operator.get(inspected.hub, API).json()["bytes"] == 0


def test_secrets_are_nowhere(inspected: Tunnel, operator: Watcher) -> None:
    """Everything on: seeded secrets are sought, in any spelling, in each answer of the API and of the pages."""
    secrets = [named(f"the inspector's secret {number}", f"s3cret-{number:02}-abcdefgh") for number in range(12)]
    bearer, cookie, key, answer_cookie, password, pin, form, inner, basic, xml, jwt_like, answer_token = secrets
    inspected.upstream.on(
        "/nomisapi/login",
        reply(
            200,
            [("Set-Cookie", f"id={answer_cookie}"), ("Content-Type", "application/json")],
            body=json.dumps({"access_token": answer_token, "expires": 3600}).encode(),
        ),
    )
    operator.post(inspected.hub, VISITS, ALL, 201)
    fields = [
        f"Authorization: Bearer {bearer}",
        f"Cookie: session={cookie}",
        f"X-Api-Key: {key}",
        f"Elite-Authorization: Basic {basic}",
        f"X-Note: Bearer {jwt_like}",
    ]
    bodies = {
        "application/json": json.dumps(
            {"user": "anna", "password": password, "a": {"pin": pin, "secrets": [inner]}}
        ),
        "application/x-www-form-urlencoded": f"user=anna&client_secret={form}",
        "text/xml": f"<login><name>anna</name><password>{xml}</password></login>",
    }
    for kind, body in bodies.items():
        inspected.fetch("/nomisapi/login", *fields, f"Content-Type: {kind}", method="POST", body=body.encode())
    for received in inspected.upstream.requests("/nomisapi/login"):
        assert received.all("authorization") == [f"Bearer {bearer}".encode()], "what travels is as it was"
    exchanges = listed(operator, inspected, 3)
    everything = [
        operator.get(inspected.hub, path).text for path in (API, VISITS, "/inspector", "/inspector/visits")
    ]
    for seen in exchanges:
        for path in (
            f"{VISITS}/{seen['number']}",
            f"{VISITS}/{seen['number']}/curl",
            f"/inspector/visits/{seen['number']}",
        ):
            everything.append(operator.get(inspected.hub, path).text)
    patterns = Patterns([*secrets, *SEEDED])
    for text in everything:
        assert not patterns.find(text.encode())
    first = operator.get(inspected.hub, f"{VISITS}/{exchanges[0]['number']}").json()
    assert ["Authorization", "Bearer [masked]"] in first["request_fields"]
    assert json.loads(first["request_body"]["text"])["user"] == "anna"
    assert first["response_body"]["text"] == '{"access_token": "[masked]", "expires": 3600}'


def test_bodies_are_cut_and_memory_is_bounded(inspected: Tunnel, operator: Watcher) -> None:
    """Also what is under way counts: many large answers at once."""
    large = b"x" * 300_000
    inspected.upstream.on("/nomisapi/large", reply(200, [("Content-Type", "text/plain")], body=large))
    operator.post(inspected.hub, VISITS, {"bodies": "yes", "number": "200"}, 201)
    before = inspected.hub.memory()
    for _ in range(150):
        answer = inspected.fetch("/nomisapi/large", method="POST", body=b"y" * 100_000)
        assert answer.body == large
    held = operator.get(inspected.hub, API).json()
    assert 0 < held["bytes"] <= held["bytes_max"]
    assert inspected.hub.memory() - before < 40 << 20
    texts = [
        operator.get(inspected.hub, f"{VISITS}/{seen['number']}").json()
        for seen in listed(operator, inspected, 1)[-8:]
    ]
    shown = [seen["response_body"] for seen in texts if seen.get("response_body", {}).get("text")]
    if shown:
        assert shown[0]["size"] == 300_000
        assert len(shown[0]["text"]) == 64 * 1024
        assert shown[0]["note"] == "cut at 64 KiB"
    operator.post(inspected.hub, f"{VISITS}/off", status=204)
    assert operator.get(inspected.hub, API).json()["bytes"] == 0


def test_it_ends_by_itself_and_what_it_kept_is_readable_for_a_while(inspected: Tunnel, operator: Watcher) -> None:
    operator.post(inspected.hub, VISITS, {"for": "1s"}, 201)
    inspected.fetch("/nomisapi/one")
    listed(operator, inspected, 1)
    wait_until(lambda: not operator.get(inspected.hub, VISITS).json()["recording"], "the recording to end")
    wait_line(inspected.hub, "inspector off", why="its time is over", recorded=1)
    inspected.fetch("/nomisapi/two")
    assert len(listed(operator, inspected, 1)) == 1


def test_only_what_is_wanted(inspected: Tunnel, operator: Watcher) -> None:
    operator.post(inspected.hub, VISITS, {"method": "POST", "path": "/nomisapi/a/**", "status": "2xx"}, 201)
    for path in ("/nomisapi/a/1", "/nomisapi/b/1"):
        inspected.fetch(path)
        inspected.fetch(path, method="POST", body=b"x")
    [seen] = listed(operator, inspected, 1)
    assert (seen["method"], seen["path"]) == ("POST", "/nomisapi/a/*")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"for": "2h"}, 409, 'It can be on for 1 s to "1h".'),
        ({"for": "soon"}, 400, "is not a duration"),
        ({"number": "201"}, 409, "It can keep 1 to 200 exchanges."),
        ({"number": "-1"}, 400, "is no number"),
        ({"status": "7xx"}, 400, "is no status"),
        ({"everything": "yes"}, 400, "is nothing that requests can be chosen by"),
    ],
)
def test_what_cannot_be_asked_for(
    inspected: Tunnel, operator: Watcher, fields: dict[str, str], status: int, words: str
) -> None:
    assert words in operator.post(inspected.hub, VISITS, fields, status).text
    assert operator.get(inspected.hub, API).json()["recordings"] == []


def test_one_at_a_time_and_known_services_only(inspected: Tunnel, operator: Watcher) -> None:
    operator.post(inspected.hub, VISITS, status=201)
    assert "by anna" in operator.post(inspected.hub, VISITS, status=409).text
    operator.post(inspected.hub, f"{API}/money", status=409)


def test_it_ends_when_its_operator_leaves_the_configuration(inspected: Tunnel, operator: Watcher) -> None:
    operator.post(inspected.hub, VISITS, status=201)
    inspected.fetch("/nomisapi/one")
    listed(operator, inspected, 1)
    reload(inspected.hub)
    assert operator.get(inspected.hub, VISITS).json()["recording"], "an unchanged file changes nothing"
    other = Watcher("berta")
    inspected.hub.config["admin"]["operators"] = other.options["admin"]["operators"]
    reload(inspected.hub)
    wait_line(inspected.hub, "inspector off", why="the operator has left the configuration")
    operator.get(inspected.hub, API, 401)
    assert other.get(inspected.hub, API).json()["recordings"] == []


def test_an_upgraded_connection_and_a_stop_do_not_disturb_it(inspected: Tunnel, operator: Watcher) -> None:
    operator.post(inspected.hub, VISITS, ALL, 201)
    inspected.fetch("/nomisapi/one")
    listed(operator, inspected, 1)
    assert inspected.hub.stop() == 0
    wait_line(inspected.hub, "inspector off", why="the hub stops")
    assert "Traceback" not in inspected.hub.log()


class TestCurl:
    def test_the_command_does_what_the_caller_did(self, inspected: Tunnel, operator: Watcher) -> None:
        """A real shell and the real curl, to the same hub; the credential comes from the one who runs it."""
        if subprocess.run(["curl", "--version"], capture_output=True, check=False).returncode:
            pytest.skip("curl is not installed")
        operator.post(inspected.hub, VISITS, ALL, 201)
        secret = named("the curl caller's bearer", "s3cret-curl-abcdefgh")
        body = b'{"it\'s": "$HOME `id` \\"quoted\\""}'
        inspected.fetch(
            "/nomisapi/a'b/$(id)&x?",
            f"Authorization: Bearer {secret}",
            "X-It's: 'a' \"b\" $c",
            method="POST",
            body=body,
        )
        [seen] = listed(operator, inspected, 1)
        text = operator.get(inspected.hub, f"{VISITS}/{seen['number']}/curl").text
        assert 'Bearer \'"$TOKEN"' in text
        there = f"--connect-to ::127.0.0.1:{inspected.hub.callers_port}"
        done = subprocess.run(
            ["/bin/sh", "-eu"],
            input=text.replace("--path-as-is", f"--path-as-is {there}"),
            env={"TOKEN": secret, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stdout.startswith("HTTP/1.1 200 OK")
        first, second = inspected.upstream.requests("/nomisapi/*")
        assert (second.method, bytes(second.body)) == (first.method, bytes(first.body))
        assert second.target == first.target.rstrip(b"?")
        for name in ("authorization", "x-it's", "host"):
            assert second.all(name) == first.all(name)


class TestReplay:
    def test_a_get_goes_the_whole_way_again(self, inspected: Tunnel, operator: Watcher) -> None:
        operator.post(inspected.hub, VISITS, ALL, 201)
        inspected.fetch(
            "/nomisapi/one",
            "Accept: application/json",
            f"Authorization: Bearer {named('a caller', 's3cret-again-abcdef')}",
        )
        [seen] = listed(operator, inspected, 1)
        url = f"{VISITS}/{seen['number']}/replay"
        assert "confirm=yes" in operator.post(inspected.hub, url, status=400).text
        assert len(inspected.upstream.requests("/nomisapi/one")) == 1
        replayed = operator.post(inspected.hub, url, {"confirm": "yes"}).json()
        assert (replayed["status"], replayed["complete"], replayed["body"]["text"]) == (
            200,
            True,
            '{"fine": true}',
        )
        first, second = inspected.upstream.requests("/nomisapi/one")
        assert second.all("accept") == first.all("accept")
        assert second.all("authorization") == [], "nothing of the caller is borrowed"
        assert second.all("x-request-id") == [replayed["request_id"].encode()]
        line = wait_line(inspected.hub, "replay", operator="anna", of=seen["request_id"], status=200)
        assert line["request_id"] == replayed["request_id"]
        assert replayed["request_id"] in inspected.hub.log(), "it has its access line as any other"

    def test_nothing_that_may_change_something(self, inspected: Tunnel, operator: Watcher) -> None:
        operator.post(inspected.hub, VISITS, {"paths": "yes"}, 201)
        inspected.fetch("/nomisapi/book", method="POST", body=b"x")
        inspected.fetch("/nomisapi/list?noms=A1234BC")
        seen, queried = listed(operator, inspected, 2)
        answer = operator.post(inspected.hub, f"{VISITS}/{seen['number']}/replay", {"confirm": "yes"}, 409)
        assert answer.text.startswith("It is not sent again: only GET, HEAD and OPTIONS are replayed")
        answer = operator.post(inspected.hub, f"{VISITS}/{queried['number']}/replay", {"confirm": "yes"}, 409)
        assert "its query was not recorded" in answer.text
        wait_line(inspected.hub, "replay refused", operator="anna", method="POST")
        assert len(inspected.upstream.requests("/nomisapi/*")) == 2

    def test_not_where_only_the_shape_is_known(self, inspected: Tunnel, operator: Watcher) -> None:
        operator.post(inspected.hub, VISITS, status=201)
        inspected.fetch("/nomisapi/one")
        [seen] = listed(operator, inspected, 1)
        answer = operator.post(inspected.hub, f"{VISITS}/{seen['number']}/replay", {"confirm": "yes"}, 409)
        assert "its path was not recorded" in answer.text

    def test_where_callers_prove_who_they_are_the_operator_must_as_well(
        self, make_gateway: MakeTunnel, operator: Watcher
    ) -> None:
        """The recorded caller's rights are not lent: what is shown at that moment counts, and its rules."""
        keys = {name: apikeys.make() for name in ("visits", "ops")}
        for name, (key, _) in keys.items():
            named(f"the API key of {name}", key)
        tunnel = make_gateway(
            {
                "named": {
                    "visits": {"api_keys": [keys["visits"][1]], "allow": {"visits": ["GET /**"]}},
                    "ops": {"api_keys": [keys["ops"][1]], "allow": {"visits": ["GET /nomisapi/health"]}},
                }
            },
            {**operator.options, "audit": {"file": "hub-audit.jsonl"}},
        ).start()
        operator.post(tunnel.hub, VISITS, ALL, 201)
        tunnel.fetch("/nomisapi/health", f"X-Api-Key: {keys['visits'][0]}")
        tunnel.fetch("/nomisapi/secret", f"X-Api-Key: {keys['visits'][0]}")
        health, secret = (f"{VISITS}/{seen['number']}/replay" for seen in listed(operator, tunnel, 2))
        ops = {"confirm": "yes", "api_key": keys["ops"][0]}
        assert operator.post(tunnel.hub, health, {"confirm": "yes"}).json()["status"] == 401
        replayed = operator.post(tunnel.hub, health, ops).json()
        assert (replayed["status"], replayed["caller"]) == (200, "ops")
        assert operator.post(tunnel.hub, secret, ops).json()["status"] == 403
        assert [each.all("x-client-name") for each in tunnel.upstream.requests("/nomisapi/*")] == [
            [b"visits"],
            [b"visits"],
            [b"ops"],
        ]
        wait_line(tunnel.hub, "replay", operator="anna", caller="ops")
        assert keys["ops"][0] not in json.dumps(lines(tunnel.hub))

    def test_what_is_a_credential_for_the_service_is_masked_in_the_answer_too(
        self, make_gateway: MakeTunnel, operator: Watcher
    ) -> None:
        key, line = apikeys.make()
        named("an API key", key)
        tunnel = make_gateway(
            {"named": {"visits": {"api_keys": [line], "allow": {"visits": ["GET /**"]}}}},
            {**operator.options, "services": {"visits": {"rename_headers": {"X-Partner": "Authorization"}}}},
        ).start()
        tunnel.upstream.on("/nomisapi/*", reply(200, [("X-Partner", "hunter2")], body=b"ok"))
        operator.post(tunnel.hub, VISITS, ALL, 201)
        tunnel.fetch("/nomisapi/one", f"X-Api-Key: {key}")
        [seen] = listed(operator, tunnel, 1)
        url = f"{VISITS}/{seen['number']}"
        replayed = operator.post(tunnel.hub, f"{url}/replay", {"confirm": "yes", "api_key": key}).json()
        for fields in (replayed["fields"], operator.get(tunnel.hub, url).json()["response_fields"]):
            assert ["X-Partner", MASK] in fields

    def test_a_large_answer_is_cut_off(self, inspected: Tunnel, operator: Watcher) -> None:
        inspected.upstream.on("/nomisapi/huge", reply(200, body=b"x" * 20_000_000))
        operator.post(inspected.hub, VISITS, {"paths": "yes"}, 201)
        inspected.fetch("/nomisapi/huge", timeout=60)
        [seen] = listed(operator, inspected, 1)
        replayed = operator.post(inspected.hub, f"{VISITS}/{seen['number']}/replay", {"confirm": "yes"}).json()
        assert (replayed["status"], replayed["complete"]) == (200, False)
        assert replayed["body"]["size"] < 20_000_000
        assert inspected.get("/nomisapi/one").status_code == 200


class TestPages:
    """What a browser sees and posts."""

    @pytest.fixture
    def browser(self, inspected: Tunnel, operator: Watcher) -> Iterator[httpx.Client]:
        url = str(inspected.hub.admin_url)
        with httpx.Client(base_url=url, trust_env=False, headers={"Origin": url}, timeout=20) as client:
            assert client.post("/login", data={"key": operator.key}).status_code == 303
            yield client

    @staticmethod
    def token(page: str) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
        assert found
        return found[1]

    def test_from_off_to_sent_again(self, browser: httpx.Client, inspected: Tunnel, operator: Watcher) -> None:
        assert "off" in browser.get("/inspector").text
        page = browser.get("/inspector/visits").text
        form = {
            "csrf": self.token(page),
            "for": "5m",
            "number": "10",
            "paths": "yes",
            "headers": "yes",
            "reason": "x",
        }
        wrong = browser.post("/inspector/visits", data=form | {"for": "9h"})
        assert wrong.status_code == 409
        assert "It can be on for 1 s to" in wrong.text
        bearer = {"Authorization": f"Bearer {operator.key}"}
        assert browser.request("HEAD", "/inspector/visits", data=form, headers=bearer).status_code == 200
        operator.get(inspected.hub, VISITS, 404)  # only POST begins it
        assert browser.post("/inspector/visits", data=form).headers["location"] == "/inspector/visits"
        inspected.fetch("/nomisapi/one&two", 'X-Html: <script>alert("1")</script>')
        [seen] = listed(operator, inspected, 1)
        page = browser.get("/inspector/visits").text
        assert "/nomisapi/one&amp;two" in page
        one = browser.get(f"/inspector/visits/{seen['number']}").text
        assert "<script>alert" not in one
        assert "curl --silent" in one
        ask = browser.get(f"/inspector/visits/{seen['number']}/replay").text
        done = browser.post(
            f"/inspector/visits/{seen['number']}/replay", data={"csrf": self.token(ask), "confirm": "yes"}
        )
        assert "Sent again" in done.text
        assert len(inspected.upstream.requests("/nomisapi/*")) == 2
        assert browser.post("/inspector/visits/off", data={"csrf": self.token(page)}).status_code == 303
        operator.get(inspected.hub, VISITS, 404)

    def test_no_other_page_can_do_it(self, browser: httpx.Client, inspected: Tunnel, operator: Watcher) -> None:
        operator.post(inspected.hub, VISITS, ALL, 201)
        inspected.fetch("/nomisapi/one")
        [seen] = listed(operator, inspected, 1)
        fields = {"confirm": "yes", "for": "5m"}
        token = self.token(browser.get("/inspector").text)
        for path in (
            "/inspector/visits",
            "/inspector/visits/off",
            f"/inspector/visits/{seen['number']}/replay",
            VISITS,
        ):
            assert browser.post(path, data=fields).status_code == 403, "without the page's token"
            elsewhere = browser.post(
                path, data=fields | {"csrf": token}, headers={"Origin": "https://evil.example"}
            )
            assert elsewhere.status_code == 403, "from another origin"
        assert len(inspected.upstream.requests("/nomisapi/one")) == 1

    def test_numbers_that_are_none(self, browser: httpx.Client, inspected: Tunnel) -> None:
        for path in ("/inspector/visits", VISITS):
            for number in ("0", "9" * 18, "9" * 5000, "-1", "x"):
                assert browser.get(f"{path}/{number}").status_code == 404
        assert "Traceback" not in inspected.hub.log()

    def test_strangers_log_in_first(self, inspected: Tunnel) -> None:
        for path in ("/inspector", "/inspector/visits"):
            answer = inspected.hub.admin(path)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")


def test_the_hub_goes_on_after_a_hangup_without_changes(inspected: Tunnel, operator: Watcher) -> None:
    """A reload keeps the recording of who is still an operator."""
    operator.post(inspected.hub, VISITS, status=201)
    mark = inspected.hub.mark()
    inspected.hub.signal(signal.SIGHUP)
    inspected.hub.wait_log("configuration reloaded", since=mark)
    inspected.fetch("/nomisapi/one")
    listed(operator, inspected, 1)
