"""Two-layer tokens as existing clients have them (callers.md, scenarios 2 to 4), and bearers used twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.credentials import bearer, tokens_table
from tests.support.metrics import metric, reached_agent
from tests.support.problems import assert_problem
from tests.support.rawhttp import Answer
from tests.support.tokens import Client, Provisioner
from tests.support.tunnel import Tunnel
from tests.support.wrongclock import SAID, five_minutes_ahead

MakeGateway = Callable[..., Tunnel]
HEALTH = "/nomisapi/health"


@pytest.fixture(scope="module")
def provisioner() -> Provisioner:
    return Provisioner()


@pytest.fixture(scope="module")
def client(provisioner: Provisioner) -> Client:
    return provisioner.client("visits-public", ["^/nomisapi/health$"])


@pytest.fixture(scope="module")
def shared(
    make_shared_gateway: MakeGateway, provisioner: Provisioner, tmp_path_factory: pytest.TempPathFactory
) -> Tunnel:
    file = tmp_path_factory.mktemp("provisioning") / "provisioning.pem"
    return make_shared_gateway({"tokens": tokens_table(file, provisioner)}).start()


@pytest.fixture
def tunnel(shared: Tunnel) -> Tunnel:
    shared.upstream.ledger.clear()
    return shared


@contextmanager
def untouched(tunnel: Tunnel) -> Iterator[None]:
    """Neither agent nor upstream see anything of what happens inside."""
    before = reached_agent(tunnel.agent), len(tunnel.upstream.ledger)
    yield
    assert (reached_agent(tunnel.agent), len(tunnel.upstream.ledger)) == before


def in_time(ask: Callable[[], Answer]) -> Answer:
    """The answer to a request whose credential says when it was made: again if a second nearly went by."""
    for _ in range(10):
        began = time.monotonic()
        answer = ask()
        if time.monotonic() - began < 0.8:
            return answer
    raise AssertionError("the machine is too slow to tell 9 s from 11 s")


def test_scenario_2_no_authorization(tunnel: Tunnel) -> None:
    refused = metric(tunnel.hub, "tunnel_hub_gate_refusals_total", code="unauthenticated")
    with untouched(tunnel):
        answer = tunnel.fetch(HEALTH)
        document = assert_problem(answer, 401, code="unauthenticated", origin="hub", hidden=("visits",))
        assert "Authorization: Bearer" in document["detail"]
        assert answer.get("www-authenticate") == "Bearer"
        for value in ("", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer x", "Negotiate a.b.c", "Bearer tk_x"):
            assert_problem(tunnel.fetch(HEALTH, f"Authorization: {value}"), 401, code="unauthenticated")
    assert metric(tunnel.hub, "tunnel_hub_gate_refusals_total", code="unauthenticated") == refused + 8


@pytest.mark.parametrize("off", [-9, 9])
def test_scenario_3_a_clock_that_is_nine_seconds_off(tunnel: Tunnel, client: Client, off: int) -> None:
    answer = in_time(lambda: tunnel.fetch(HEALTH, bearer(client.bearer(time.time() + off))))
    assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize(("off", "side"), [(-11, "behind"), (11, "ahead of")])
def test_scenario_3_a_clock_that_is_eleven_seconds_off(
    tunnel: Tunnel, client: Client, off: int, side: str
) -> None:
    with untouched(tunnel):
        answer = in_time(lambda: tunnel.fetch(HEALTH, bearer(client.bearer(time.time() + off))))
    document = assert_problem(answer, 401, code="unauthenticated", origin="hub")
    assert document["detail"].startswith("iat skew too large")
    assert side in document["detail"]
    assert "10 s are allowed" in document["detail"]


def test_scenario_3_the_agents_clock_does_not_matter(
    make_gateway: MakeGateway, provisioner: Provisioner, client: Client, tmp_path: Path
) -> None:
    tunnel = make_gateway(
        {"tokens": tokens_table(tmp_path / "provisioning.pem", provisioner)},
        agent_env=five_minutes_ahead(tmp_path / "clock"),
    ).start()
    tunnel.agent.wait_log(SAID)
    assert tunnel.fetch(HEALTH, bearer(client.bearer())).status == 200
    answer = in_time(lambda: tunnel.fetch(HEALTH, bearer(client.bearer(time.time() + 300))))
    assert "iat skew too large" in assert_problem(answer, 401)["detail"]


def test_the_allowance_is_configurable(
    make_gateway: MakeGateway, provisioner: Provisioner, client: Client, tmp_path: Path
) -> None:
    table = tokens_table(tmp_path / "provisioning.pem", provisioner, skew="2m")
    tunnel = make_gateway({"tokens": table}).start()
    assert tunnel.fetch(HEALTH, bearer(client.bearer(time.time() - 100))).status == 200
    assert tunnel.fetch(HEALTH, bearer(client.bearer(time.time() + 100))).status == 200
    assert_problem(tunnel.fetch(HEALTH, bearer(client.bearer(time.time() - 140))), 401)


def test_an_old_bearer_ends_on_an_open_connection(
    make_gateway: MakeGateway, provisioner: Provisioner, client: Client, tmp_path: Path
) -> None:
    """A bearer that was verified, and so is remembered, is void once its iat is too old."""
    table = tokens_table(tmp_path / "provisioning.pem", provisioner, skew="1s")
    tunnel = make_gateway({"tokens": table}).start()
    made = time.time()
    field = bearer(client.bearer(made + 0.5))
    with tunnel.raw() as caller:
        statuses = []
        while time.time() < made + 3:
            before = time.time()
            answer = caller.get(HEALTH, field)
            statuses.append(answer.status)
            if before > made + 1.6:
                assert "iat skew too large" in assert_problem(answer, 401)["detail"]
            time.sleep(0.05)
    assert statuses == sorted(statuses)
    assert set(statuses) == {200, 401}


AMBIGUOUS = [
    "/nomisapi/health/../offenders/A1484AE",
    "/nomisapi/offenders/../health",
    "/nomisapi/health/%2e%2e/offenders/A1484AE",
    "/nomisapi/health/%2E./offenders/A1484AE",
    "/nomisapi/health/..;/offenders/A1484AE",
    "/nomisapi/./health",
    "/nomisapi//health",
    "//nomisapi/health",
    "/nomisapi/health//",
    "/nomisapi/health;x",
    "/nomisapi/health;x=/../offenders/A1484AE",
    "/nomisapi/health%3bx",
    "/nomisapi%2fhealth",
    "/nomisapi/health%2f..%2foffenders%2fA1484AE",
    "/nomisapi/health%252f..%252foffenders",
    "/nomisapi/health%5c..%5coffenders",
    "/nomisapi/health%00",
    "/nomisapi/health%0a",
    "/nomisapi/health#x",
]
OTHERS = [
    "/nomisapi/offenders/A1484AE",
    "/nomisapi/healt%68",
    "/nomisapi/Health",
    "/NOMISAPI/health",
    "/nomisapi/health/",
    "/nomisapi/health/x",
    "/nomisapi/healthx",
    "/x/nomisapi/health",
    "/nomisapi/x?/nomisapi/health",
    "/nomisapi",
    "/",
]


def test_scenario_4_only_what_the_token_allows(tunnel: Tunnel, client: Client) -> None:
    credential = bearer(client.bearer())
    with untouched(tunnel):
        for target in (*AMBIGUOUS, *OTHERS):
            document = assert_problem(tunnel.fetch(target, credential), 400 if target in AMBIGUOUS else 403)
            assert document["code"] == ("malformed_request" if target in AMBIGUOUS else "forbidden"), target
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = tunnel.fetch(HEALTH, credential, method=method, body=b"{}")
            document = assert_problem(answer, 403, code="forbidden", origin="hub")
            assert 'The caller "visits-public" may not ask this of the service "visits".' in document["detail"]
            assert "The path is allowed for GET, HEAD only." in document["detail"]
            assert "ask the hub's operators for a rule" in document["detail"]
        absolute = tunnel.fetch("http://visits.internal/nomisapi/offenders/A1484AE", credential)
        assert_problem(absolute, 403, code="forbidden")
    assert tunnel.fetch(HEALTH, credential).status == 200
    assert tunnel.fetch(HEALTH + "?x=/../", credential).status == 200
    seen = [request.target for request in tunnel.upstream.ledger]
    assert seen == [b"/nomisapi/health", b"/nomisapi/health?x=/../"]


def test_the_hubs_rules_and_the_tokens_list_must_both_match(tunnel: Tunnel, provisioner: Provisioner) -> None:
    everything = bearer(provisioner.client("any", [".*"]).bearer())
    assert tunnel.fetch("/nomisapi/anything", everything).status == 200
    document = assert_problem(tunnel.fetch("/heapdump", everything), 403)
    assert "No rule allows this path." in document["detail"]
    health = bearer(provisioner.client("narrow", ["^/nomisapi/health$"]).bearer())
    document = assert_problem(tunnel.fetch("/nomisapi/anything", health), 403)
    assert "No path pattern of its client token matches." in document["detail"]


def test_a_jti_is_good_for_one_request(tunnel: Tunnel, client: Client) -> None:
    once = bearer(client.bearer(jti="one"))
    with tunnel.raw() as caller:
        assert caller.get(HEALTH, once).status == 200
        document = assert_problem(caller.get(HEALTH, once), 401)
        assert "replayed" in document["detail"]
        assert caller.get(HEALTH, bearer(client.bearer(jti="two"))).status == 200
    assert_problem(tunnel.fetch(HEALTH, once), 401)
    assert_problem(tunnel.fetch(HEALTH, bearer(client.bearer(jti="two"))), 401)
    again = bearer(client.bearer())
    assert [tunnel.fetch(HEALTH, again).status for _ in range(3)] == [200] * 3, "without jti it may be repeated"
    assert len(tunnel.upstream.ledger) == 5


def test_a_jti_raced_is_good_for_one_request(tunnel: Tunnel, client: Client) -> None:
    once = bearer(client.bearer(jti="raced"))
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: tunnel.fetch(HEALTH, once).status, range(24)))
    assert sorted(statuses) == [200, *[401] * 23]
    assert len(tunnel.upstream.ledger) == 1


def test_forged_tokens(tunnel: Tunnel, provisioner: Provisioner, client: Client) -> None:
    """Whatever is wrong with a signature, the sentence is the same; what a proven client did wrong is named."""
    stranger = Provisioner().client("visits-public", ["^/nomisapi/health$"])
    forged = {
        "another provisioning key": stranger.bearer(),
        "another client's key": client.bearer(key=stranger.key),
        "unsigned": client.bearer(header={"alg": "none"}, algorithm="none"),
        "with a hash": client.bearer(header={"alg": "HS256"}, key=b"x" * 32, algorithm="HS256"),
    }
    with untouched(tunnel):
        details = {assert_problem(tunnel.fetch(HEALTH, bearer(token)), 401)["detail"] for token in forged.values()}
        assert details == {"The bearer token is not valid: its form or its signature does not hold."}
        assert_problem(tunnel.fetch(HEALTH, bearer(client.token)), 401)
        expired = provisioner.client("late", ["^/nomisapi/health$"], lifetime=-20)
        assert "expired" in assert_problem(tunnel.fetch(HEALTH, bearer(expired.bearer())), 401)["detail"]
