"""The failure contract: who is told what when something goes wrong, and whether the upstream received it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import SHORT_DEADLINE
from tests.support import scripts
from tests.support.blocked import BlockedPort
from tests.support.keys import KeyRing
from tests.support.ports import free_port
from tests.support.problems import assert_problem
from tests.support.tls import PrivateCA
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, Upstream, reply
from tests.support.waiting import stays

# -- no such service, nobody there ------------------------------------------------------------------


def test_unknown_service(tunnel: Tunnel) -> None:
    assert_problem(
        tunnel.fetch("/x", host="unknown.internal"), 404, code="no_such_service", origin="hub", hidden=(HOST,)
    )
    assert_problem(tunnel.fetch("/x", "Tunnel-Service: other"), 404, code="no_such_service")


def test_services_are_found_by_header_host_and_path(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply(body=b"by header or host"))
    tunnel.upstream.on("/nomisapi/found", reply(body=b"by path"))
    assert tunnel.fetch(path, "Tunnel-Service: visits", host="any.example").body == b"by header or host"
    assert tunnel.fetch(path, host=f"{HOST}:8080").body == b"by header or host"
    assert tunnel.fetch(path, host=HOST.upper()).body == b"by header or host"
    assert tunnel.fetch("/nomisapi/found?x=1", host="any.example").body == b"by path"
    assert_problem(tunnel.fetch("/nomisapix", host="any.example"), 404)
    for received in tunnel.upstream.requests(path):
        assert not received.has("tunnel-service")


@pytest.mark.bug(15)
def test_no_agent_is_503_after_a_bounded_grace(make_tunnel: Callable[..., Tunnel]) -> None:
    tunnel = make_tunnel()
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    for method in ("GET", "POST"):
        began = time.monotonic()
        answer = tunnel.fetch("/x", method=method, body=b"")
        waited = time.monotonic() - began
        assert_problem(answer, 503, delivered="no", code="no_session", origin="hub")
        assert waited >= 1.9, f"not held: {waited:.2f} s"
    assert tunnel.hub.admin_status("/health") == 503
    assert tunnel.hub.admin_status("/health/liveness") == 200


def test_the_grace_never_outlasts_the_deadline(make_tunnel: Callable[..., Tunnel]) -> None:
    tunnel = make_tunnel(service={"deadline": "300ms"})
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    began = time.monotonic()
    answer = tunnel.fetch("/x")
    assert answer.status in (503, 504)
    assert_problem(answer, answer.status, delivered="no")
    assert time.monotonic() - began < 1.9


def test_a_service_switched_off(make_tunnel: Callable[..., Tunnel]) -> None:
    tunnel = make_tunnel(service={"enabled": False})
    tunnel.hub.start()
    tunnel.agent.start()
    tunnel.hub.wait_alive()
    assert_problem(tunnel.fetch("/x"), 503, code="switched_off", origin="hub")
    assert tunnel.upstream.ledger == []


# -- upstreams that cannot be reached ---------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Tunnel]:
    """A tunnel whose services are broken each in its own way; `visits` is sound."""
    directory: Path = tmp_path_factory.mktemp("broken")
    blocked = BlockedPort()
    ca = PrivateCA(directory / "stranger")
    distrusted = Upstream(tls=ca.server_context())
    names = ("down", "blocked", "distrusted", "impatient")
    tunnel = Tunnel(
        directory,
        keys,
        hub_options={
            "services": {name: {"hosts": [f"{name}.internal"]} for name in names},
            "agents": {"leeds-1": {"services": ["visits", *names]}},
        },
        agent_service={"allow": ["GET /**", "POST /**"]},
    )
    allow = {"allow": ["GET /**", "POST /**"]}
    tunnel.agent.config["services"] |= {
        "down": {"upstream": f"http://127.0.0.1:{free_port()}", **allow},
        "blocked": {"upstream": blocked.url, "connect_timeout": "1s", **allow},
        "distrusted": {"upstream": distrusted.url, **allow},
        "impatient": {"upstream": tunnel.upstream.url, "first_byte_timeout": "500ms", **allow},
    }
    tunnel.agent.write_config()
    tunnel.start()
    yield tunnel
    tunnel.close()
    distrusted.close()
    blocked.close()


def test_refused_connection(broken: Tunnel) -> None:
    for method in ("GET", "POST"):
        answer = broken.fetch("/x", host="down.internal", method=method, body=b"")
        assert_problem(answer, 503, delivered="no", code="connect_failed", origin="upstream")


@pytest.mark.bug(3)
def test_a_blocked_connection_stops_nobody_else(broken: Tunnel) -> None:
    broken.upstream.on("/sound", reply())
    answers = []
    callers = [
        threading.Thread(target=lambda: answers.append(broken.fetch("/x", host="blocked.internal", timeout=20)))
        for _ in range(10)
    ]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        assert broken.fetch("/sound", timeout=3).status == 200
    assert len(answers) == 10
    for answer in answers:
        assert_problem(answer, 503, delivered="no", code="connect_timeout", origin="upstream")


def test_an_upstream_with_a_strangers_certificate(broken: Tunnel) -> None:
    answer = broken.fetch("/x", host="distrusted.internal")
    assert_problem(answer, 503, delivered="no", code="upstream_tls", origin="upstream")


def test_first_byte_timeout(broken: Tunnel) -> None:
    broken.upstream.on("/hang", scripts.no_answer)
    answer = broken.fetch("/hang", host="impatient.internal")
    assert_problem(answer, 504, delivered="unknown", code="first_byte_timeout", origin="upstream")
    broken.upstream.only("/hang").gone.wait()


def test_an_upstream_with_a_private_certificate(make_tunnel: Callable[..., Tunnel], tmp_path: Path) -> None:
    """https upstream with its own CA that also asks for a client certificate."""
    ca = PrivateCA(tmp_path / "upstream-ca")
    shown = ca.issue("agent.internal")
    secure = Upstream(tls=ca.server_context(ask_client=True))
    secure.on("/x", reply(body=b"secure"))
    try:
        tunnel = make_tunnel(
            upstream=secure,
            agent_service={
                "ca_file": str(ca.ca_file),
                "client_certificate": str(shown.certificate),
                "client_key": str(shown.key),
            },
        ).start()
        for _ in range(3):
            assert tunnel.fetch("/x").body == b"secure"
    finally:
        secure.close()


# -- upstreams that answer badly --------------------------------------------------------------------


def test_an_answer_whose_head_never_ends(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, scripts.never_ending_head)
    assert_problem(tunnel.fetch(path), 502, delivered=None)
    tunnel.upstream.requests(path)[0].finished.wait()


# -- deadlines --------------------------------------------------------------------------------------


def test_the_deadline_is_504_and_cancels(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, scripts.no_answer)
    began = time.monotonic()
    answer = tunnel.fetch(path, host=SHORT_DEADLINE)
    taken = time.monotonic() - began
    assert_problem(answer, 504, delivered="unknown", code="deadline")
    assert taken >= 1.0
    received = tunnel.upstream.only(path)
    received.gone.wait(2)


@pytest.mark.bug(8)
def test_a_hanging_request_leaves_others_alone(tunnel: Tunnel, path: str) -> None:
    """A hangs to its deadline; B on the same connection gets B's answer, C beside it is served meanwhile."""
    tunnel.upstream.on(path + "/a", scripts.no_answer)
    tunnel.upstream.on(path + "/b", reply(body=b"B's"))
    tunnel.upstream.on(path + "/c", reply(body=b"C's"))
    with tunnel.raw() as caller:
        caller.start("GET", path + "/a", host=SHORT_DEADLINE)
        caller.start("GET", path + "/b", host=SHORT_DEADLINE)
        stays(lambda: tunnel.fetch(path + "/c", timeout=3).body == b"C's", "others are served", 0.5)
        assert_problem(caller.answer(), 504, delivered="unknown")
        assert caller.answer().body == b"B's"


def test_the_deadline_counts_from_the_head_even_while_the_body_trickles(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        await x.until_gone()

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("POST", path, "Content-Length: 1000", host=SHORT_DEADLINE, body=b"x")
        assert_problem(caller.answer(), 504, delivered=None)


# -- limits and refusals ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Tunnel]:
    """A tunnel whose service takes bodies of 1 KiB at most."""
    tunnel = Tunnel(tmp_path_factory.mktemp("small"), keys, service={"max_body": "1KiB"})
    tunnel.start()
    yield tunnel
    tunnel.close()


def test_a_body_with_a_length_above_the_limit(small: Tunnel, path: str) -> None:
    small.upstream.on(path, reply())
    assert small.fetch(path, method="POST", body=b"x" * 1024).status == 200
    assert_problem(small.fetch(path, method="POST", body=b"x" * 1025), 413, code="content_too_large")
    assert len(small.upstream.requests(path)) == 1


def test_a_chunked_body_above_the_limit_that_comes_with_its_head(small: Tunnel, path: str) -> None:
    small.upstream.on(path, reply())
    with small.raw() as caller:
        caller.start("POST", path, "Transfer-Encoding: chunked", body=b"401\r\n" + b"x" * 1025 + b"\r\n0\r\n\r\n")
        assert_problem(caller.answer(), 413, code="content_too_large")
    assert small.upstream.requests(path) == []


def test_a_chunked_body_that_grows_above_the_limit(small: Tunnel, path: str) -> None:
    """The beginning is at the upstream by then: cancelled there, and nobody is told that nothing arrived."""
    small.upstream.on(path, reply())
    with small.raw() as caller:
        caller.start("POST", path, "Transfer-Encoding: chunked", body=b"200\r\n" + b"x" * 512 + b"\r\n")
        received = small.upstream.wait_for(path)
        caller.send(b"201\r\n" + b"x" * 513 + b"\r\n")
        answer = caller.answer()
    assert answer.status == 413
    assert answer.get("tunnel-delivered") == "unknown"
    received.gone.wait()
    assert not received.complete


@pytest.mark.bug(18)
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("DELETE", "/nomisapi/x"),
        ("POST", "/nomisapi/x"),
        ("GET", "/heapdump"),
        ("GET", "/env"),
        ("GET", "/nomisapi"),
        ("GET", "/NOMISAPI/x"),
        ("PATCH", "/nomisapi/offenders/1/visits/booking"),
        ("POST", "/nomisapi/offenders/1/2/visits/booking"),
    ],
)
def test_what_the_boundary_refuses_never_reaches_the_upstream(bounded: Tunnel, method: str, target: str) -> None:
    before = len(bounded.upstream.ledger)
    mark = bounded.agent.mark()
    answer = bounded.fetch(target, method=method, body=b"{}" if method != "GET" else None)
    assert_problem(answer, 403, delivered="no", code="boundary_refused", origin="agent")
    assert len(bounded.upstream.ledger) == before
    assert bounded.agent.wait_log(method, target, since=mark)


@pytest.mark.bug(18)
@pytest.mark.parametrize(
    "target",
    [
        "/nomisapi/health/../../env",
        "/nomisapi/./x",
        "/nomisapi/%2e%2e/env",
        "/nomisapi/%2E%2E%2Fenv",
        "/nomisapi//x",
        "/nomisapi/x;y=1",
        "/nomisapi/a%2fb",
        "/nomisapi/a%5cb",
        "/nomisapi/a\\b",
        "/nomisapi/a%00b",
        "/nomisapi/a%252fb",
        "/nomisapi/%c0%af",
        "/nomisapi/%ff",
        "/nomisapi/..",
        "/nomisapi/%zz",
    ],
)
def test_ambiguous_paths_are_refused_before_the_upstream(bounded: Tunnel, target: str) -> None:
    before = len(bounded.upstream.ledger)
    answer = bounded.fetch(target)
    assert answer.status in (400, 403)
    assert_problem(answer, answer.status, delivered="no")
    assert len(bounded.upstream.ledger) == before


def test_what_the_boundary_allows_passes(bounded: Tunnel) -> None:
    bounded.upstream.on("/nomisapi/*", reply(body=b"in"))
    assert bounded.fetch("/nomisapi/any/thing?x=/../").body == b"in"
    answer = bounded.fetch("/nomisapi/offenders/7/visits/booking", method="POST", body=b"{}")
    assert answer.body == b"in"
    assert bounded.fetch("/nomisapi/any", method="HEAD").status == 200


def test_upgrades_that_the_service_does_not_allow(bounded: Tunnel) -> None:
    """With no `upgrades` the request travels as an ordinary one, or is refused; it never becomes a pipe."""
    bounded.upstream.on("/nomisapi/ws", scripts.websocket_echo)
    with bounded.raw() as caller:
        caller.start(
            "GET",
            "/nomisapi/ws",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        assert caller.head().status != 101


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Tunnel]:
    """A tunnel whose agent allows what the design's example allows."""
    tunnel = Tunnel(
        tmp_path_factory.mktemp("bounded"),
        keys,
        service={"upgrades": []},
        agent_service={"allow": ["GET /nomisapi/**", "POST /nomisapi/offenders/*/visits/booking"]},
    )
    tunnel.start()
    yield tunnel
    tunnel.close()
