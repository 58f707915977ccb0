"""Limits of one caller: rate, requests at once, body, deadline. Others notice nothing of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.credentials import ApiKey, api_key, bearer, tokens_table
from tests.support.metrics import metric, reached_agent
from tests.support.problems import assert_problem
from tests.support.tokens import Provisioner
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange
from tests.support.waiting import PATIENCE, Gate, wait_until

MakeGateway = Callable[..., Tunnel]
PATH = "/nomisapi/x"
ANY = {"visits": ["* /**"]}


@pytest.fixture
def keys_of_two() -> tuple[ApiKey, ApiKey]:
    return api_key(), api_key()


@pytest.fixture
def make(make_gateway: MakeGateway, keys_of_two: tuple[ApiKey, ApiKey]) -> Callable[..., Tunnel]:
    """`booking` with limits, `money` without."""

    def make(service: dict[str, object] | None = None, **limits: object) -> Tunnel:
        booking, money = keys_of_two
        return make_gateway(
            {
                "named": {
                    "booking": {"api_keys": [booking.hash], "allow": ANY, **limits},
                    "money": {"api_keys": [money.hash], "allow": ANY},
                }
            },
            service=service,
        ).start()

    return make


def test_rate(make: Callable[..., Tunnel], keys_of_two: tuple[ApiKey, ApiKey]) -> None:
    booking, money = keys_of_two
    tunnel = make(rate=1, burst=3)
    began = time.monotonic()
    with tunnel.raw() as caller:
        answers = [caller.get(PATH, booking.field) for _ in range(30)]
    took = time.monotonic() - began
    served = [answer for answer in answers if answer.status == 200]
    assert 3 <= len(served) <= 3 + took + 1
    assert [answer.status for answer in answers[:3]] == [200] * 3
    for answer in answers:
        if answer.status != 200:
            assert_problem(answer, 503, code="rate_exceeded", origin="hub")
    with tunnel.raw() as caller:
        assert {caller.get(PATH, money.field).status for _ in range(30)} == {200}
        assert_problem(caller.get("/nomisapi/../x", booking.field), 400)
    assert metric(tunnel.hub, "tunnel_hub_gate_refusals_total", code="rate_exceeded") == 30 - len(served)
    wait_until(lambda: tunnel.fetch(PATH, booking.field).status == 200, "the next second's turn", 5.0)


def test_what_is_refused_does_not_use_the_rate(
    make: Callable[..., Tunnel], keys_of_two: tuple[ApiKey, ApiKey]
) -> None:
    booking, _ = keys_of_two
    tunnel = make(rate=1, burst=1)
    with tunnel.raw() as caller:
        for _ in range(5):
            assert_problem(caller.get("/nomisapi/%2e%2e/x", booking.field), 400)
            assert_problem(caller.get(PATH, api_key().field), 401)
        assert caller.get(PATH, booking.field).status == 200


def test_requests_at_once(make: Callable[..., Tunnel], keys_of_two: tuple[ApiKey, ApiKey]) -> None:
    """By whatever connection and address a caller comes, its requests count together; another's do not."""
    booking, money = keys_of_two
    tunnel = make({"queue_timeout": "300ms"}, concurrency=2)
    gate = Gate()

    async def busy(x: Exchange) -> None:
        await gate.passed()
        await x.answer()

    tunnel.upstream.on("/busy", busy)
    with tunnel.raw() as first, tunnel.raw(source="127.0.0.2") as second:
        first.start("GET", "/busy", booking.field)
        second.start("GET", "/busy", booking.bearer)
        tunnel.upstream.wait_for("/busy", 2)
        assert_problem(tunnel.fetch(PATH, booking.field), 503, code="caller_overloaded")
        assert_problem(tunnel.fetch(PATH, booking.field, source="127.0.0.3"), 503, code="caller_overloaded")
        assert tunnel.fetch(PATH, money.field).status == 200
        gate.open()
        assert first.answer().status == second.answer().status == 200
    assert tunnel.fetch(PATH, booking.field).status == 200


def test_body(make: Callable[..., Tunnel], keys_of_two: tuple[ApiKey, ApiKey]) -> None:
    booking, money = keys_of_two
    tunnel = make({"max_body": "1KiB"}, max_body="10B")
    before = reached_agent(tunnel.agent)
    for size in (11, 2000):
        answer = tunnel.fetch(PATH, booking.field, method="POST", body=b"x" * size)
        assert_problem(answer, 413, code="content_too_large", origin="hub")
    with tunnel.raw() as caller:
        caller.start(
            "POST", PATH, booking.field, "Transfer-Encoding: chunked", body=b"b\r\n01234567890\r\n0\r\n\r\n"
        )
        assert_problem(caller.answer("POST"), 413, code="content_too_large")
    assert reached_agent(tunnel.agent) == before
    assert tunnel.fetch(PATH, booking.field, method="POST", body=b"x" * 10).status == 200
    assert tunnel.fetch(PATH, money.field, method="POST", body=b"x" * 1024).status == 200
    assert_problem(tunnel.fetch(PATH, money.field, method="POST", body=b"x" * 1025), 413)


def test_a_caller_cannot_have_more_body_than_the_service(
    make: Callable[..., Tunnel], keys_of_two: tuple[ApiKey, ApiKey]
) -> None:
    tunnel = make({"max_body": "10B"}, max_body="1MiB")
    assert_problem(tunnel.fetch(PATH, keys_of_two[0].field, method="POST", body=b"x" * 11), 413)


def test_deadline(make: Callable[..., Tunnel], keys_of_two: tuple[ApiKey, ApiKey]) -> None:
    """The least of the service's, the caller's and the request's own."""
    booking, money = keys_of_two
    tunnel = make({"deadline": "20s"}, deadline="400ms")

    async def slow(x: Exchange) -> None:
        await asyncio.sleep(1.2)
        await x.answer()

    tunnel.upstream.on("/slow", slow)
    for fields in ((), ("Tunnel-Deadline: 10s",), ("Tunnel-Deadline: 200ms",)):
        began = time.monotonic()
        answer = tunnel.fetch("/slow", booking.field, *fields)
        assert_problem(answer, 504, delivered="unknown")
        assert time.monotonic() - began < 1.2 * PATIENCE
    assert tunnel.fetch("/slow", money.field).status == 200


def test_a_client_without_a_table_has_the_general_limits(make_gateway: MakeGateway, tmp_path: Path) -> None:
    provisioner = Provisioner()
    table = tokens_table(tmp_path / "provisioning.pem", provisioner)
    tunnel = make_gateway({"tokens": table, "concurrency": 1}, service={"queue_timeout": "200ms"}).start()
    gate = Gate()

    async def busy(x: Exchange) -> None:
        await gate.passed()
        await x.answer()

    tunnel.upstream.on("/nomisapi/busy", busy)
    one, other = (bearer(provisioner.client(name).bearer()) for name in ("one", "other"))
    with tunnel.raw() as running:
        running.start("GET", "/nomisapi/busy", one)
        tunnel.upstream.wait_for("/nomisapi/busy")
        assert_problem(tunnel.fetch(PATH, one), 503, code="caller_overloaded")
        assert tunnel.fetch(PATH, other).status == 200
        gate.open()
        assert running.answer().status == 200
