"""Where a request's time went: in Server-Timing for those who may ask, in both access logs and in the metrics."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.credentials import api_key
from tests.support.metrics import metric
from tests.support.process import Program
from tests.support.rawhttp import Answer
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import Gate, wait_until

MakeTunnel = Callable[..., Tunnel]
PATH = "/nomisapi/x"
ASK = "Tunnel-Server-Timing: 1"
SLOW = 0.15
"""Seconds an upstream takes in these tests: well above what the tunnel needs."""
JSON = {"log": {"format": "json"}}
ALL = {"log": {"format": "json", "access": "all"}}


def timing(answer: Answer) -> dict[str, float]:
    """The members of Server-Timing with a duration, in milliseconds, of all its fields."""
    text = b", ".join(answer.all("server-timing")).decode()
    return {name: float(value) for name, value in re.findall(r"([\w-]+);dur=([\d.]+)", text)}


def lines(program: Program, request_id: str) -> list[dict[str, Any]]:
    """The program's access-log lines of one request."""
    found = [json.loads(line) for line in program.log().splitlines() if line.startswith("{")]
    return [line for line in found if line.get("request_id") == request_id and "duration_ms" in line]


def line(program: Program, request_id: str) -> dict[str, Any]:
    (found,) = wait_until(lambda: lines(program, request_id), f"the access line of {request_id}")
    return found


async def slow(x: Exchange) -> None:
    await x.body()
    await asyncio.sleep(SLOW)
    await x.send(b"HTTP/1.1 200 OK\r\nServer-Timing: db;dur=1\r\nContent-Length: 2\r\n\r\nok")


def test_a_caller_that_may_ask_is_told_and_others_are_not(make_gateway: Callable[..., Tunnel]) -> None:
    booking, money = api_key(), api_key()
    allow = {"visits": ["* /**"]}
    tunnel = make_gateway(
        {
            "named": {
                "booking": {"api_keys": [booking.hash], "allow": allow, "server_timing": True},
                "money": {"api_keys": [money.hash], "allow": allow},
            }
        },
        agent_service={"allow": ["GET /nomisapi/x", "GET /nomisapi/own"]},
    ).start()
    tunnel.upstream.on(PATH, slow)
    tunnel.upstream.on("/nomisapi/own", reply(200, [("Tunnel-Phases", "1 2 3"), ("Server-Timing", "a, b;dur=2")]))

    asked = tunnel.fetch(PATH, booking.field, ASK)
    assert asked.all("server-timing")[0] == b"db;dur=1"
    told = timing(asked)
    assert list(told) == [
        name
        for name in ("db", "hub_queue", "tunnel", "agent_queue", "upstream_connect", "upstream_first_byte")
        if name in told
    ]
    assert told["upstream_first_byte"] >= SLOW * 1000 - 1
    assert {"hub_queue", "tunnel", "upstream_connect"} <= set(told)

    for answer in (tunnel.fetch(PATH, booking.field), tunnel.fetch(PATH, money.field, ASK)):
        assert timing(answer) == {"db": 1.0}
    assert tunnel.fetch(PATH, booking.field, "Tunnel-Server-Timing: 0").all("server-timing") == [b"db;dur=1"]
    for received in tunnel.upstream.requests(PATH):
        assert not received.has("tunnel-server-timing")

    own = tunnel.fetch("/nomisapi/own", booking.field, ASK)
    assert not own.has("tunnel-phases")
    assert own.all("server-timing")[0] == b"a, b;dur=2"
    assert timing(own)["upstream_first_byte"] < 1000  # the upstream's own word for it is dropped

    refused = tunnel.fetch("/nomisapi/no", booking.field, ASK)
    assert refused.status == 403
    assert set(timing(refused)) == {"hub_queue"}
    assert not tunnel.fetch(PATH, "X-Api-Key: tk_wrong", ASK).has("server-timing")


def test_a_service_may_tell_everybody(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(service={"server_timing": True}).start()
    tunnel.upstream.on(PATH, slow)

    async def trailing(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n")
        await x.chunk(b"ok")
        await x.last_chunk([("X-End", "1")])

    tunnel.upstream.on("/nomisapi/trailing", trailing)
    assert timing(tunnel.fetch(PATH))["upstream_first_byte"] >= SLOW * 1000 - 1
    answer = tunnel.fetch("/nomisapi/trailing")
    assert answer.has("server-timing")
    assert answer.trailers == [(b"X-End", b"1")]


@pytest.mark.bug(23)
def test_both_logs_and_the_metrics_say_the_same(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(hub_options=JSON, agent_options=ALL, service={"server_timing": True}).start()
    tunnel.upstream.on(PATH, slow)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    fields = ("X-Request-Id: joined-1", f"traceparent: 00-{trace}-00f067aa0ba902b7-00")
    told = timing(tunnel.fetch(f"{PATH}?noms_id=A1475AE", *fields, method="POST", body=b"123"))
    at_hub, at_agent = line(tunnel.hub, "joined-1"), line(tunnel.agent, "joined-1")
    for entry in (at_hub, at_agent):
        assert (entry["method"], entry["path"], entry["service"]) == ("POST", PATH, "visits")
        assert (entry["status"], entry["origin"], entry["delivered"]) == (200, "-", "yes")
        assert (entry["bytes_in"], entry["bytes_out"]) == (3, 2)
        assert entry["trace_id"] == trace
        assert "query" not in entry
        assert entry["phases_us"]["upstream_first_byte"] == round(told["upstream_first_byte"] * 1000)
        assert entry["duration_ms"] * 1000 >= sum(entry["phases_us"].values()) - 10
    assert (at_hub["agent"], at_agent["hub"]) == ("leeds-1", "hub-1")
    assert "hub_queue" in at_hub["phases_us"]
    assert not {"hub_queue", "tunnel"} & set(at_agent["phases_us"])
    assert "A1475AE" not in tunnel.hub.log() + tunnel.agent.log()
    for phase in ("hub_queue", "tunnel", "agent_queue", "upstream_connect", "upstream_first_byte"):
        labels = {"service": "visits", "phase": phase}
        assert metric(tunnel.hub, "tunnel_hub_phase_seconds_count", **labels) == 1
        total = metric(tunnel.hub, "tunnel_hub_phase_seconds_sum", **labels)
        assert total == pytest.approx(told.get(phase, 0.0) / 1000, abs=1e-5)


def test_the_phase_that_is_slow_is_the_one_that_is_named(make_tunnel: MakeTunnel) -> None:
    """One connection to the upstream: the second request waits at the agent for the first one's."""
    tunnel = make_tunnel(
        service={"server_timing": True, "hold": "10s"},
        agent_service={"max_connections": 1},
        hub_options=JSON,
        agent_options=ALL,
    )
    tunnel.hub.start()
    answers: dict[str, Answer] = {}
    gate = Gate("the first request to have its answer")

    async def waits(x: Exchange) -> None:
        await x.body()
        await gate.passed()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def ask(path: str) -> threading.Thread:
        def run() -> None:
            answers[path] = tunnel.fetch(path, f"X-Request-Id: {path.rpartition('/')[2]}", host=HOST, timeout=30)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    tunnel.upstream.on("/nomisapi/held", reply())
    tunnel.hub.wait_alive()
    held = ask("/nomisapi/held")
    wait_until(lambda: metric(tunnel.hub, "tunnel_hub_requests_held") == 1, "the request to wait at the hub")
    tunnel.start()
    held.join(30)
    told = timing(answers["/nomisapi/held"])
    assert max(told, key=lambda name: told[name]) == "hub_queue"

    tunnel.upstream.on("/nomisapi/first", waits)
    tunnel.upstream.on("/nomisapi/second", reply())
    first = ask("/nomisapi/first")
    tunnel.upstream.wait_for("/nomisapi/first")
    second = ask("/nomisapi/second")
    wait_until(lambda: metric(tunnel.agent, "tunnel_agent_requests_total") == 3, "the second request at the agent")
    waits_since = time.monotonic()
    wait_until(lambda: time.monotonic() - waits_since > SLOW, "it to wait for longer than anything else takes")
    gate.open()
    for thread in (first, second):
        thread.join(30)
    told = timing(answers["/nomisapi/second"])
    assert told["agent_queue"] == max(value for name, value in told.items() if name != "hub_queue")


def test_a_failure_is_in_both_logs_with_its_cause(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(
        hub_options=JSON,
        agent_options=ALL,
        service={"deadline": "600ms"},
        agent_service={"allow": ["GET /nomisapi/**"]},
    ).start()

    async def hangs(x: Exchange) -> None:
        await x.body()
        await x.until_gone()

    async def broken(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        x.close()

    tunnel.upstream.on("/nomisapi/hangs", hangs)
    tunnel.upstream.on("/nomisapi/broken", broken)
    assert tunnel.fetch("/nomisapi/hangs", "X-Request-Id: hangs").status == 504
    with tunnel.raw() as caller:
        caller.start("GET", "/nomisapi/broken", "X-Request-Id: broken")
        caller.read_to_end()
    assert tunnel.fetch("/nomisapi/x", "X-Request-Id: refused", method="POST", body=b"x").status == 403

    hung = line(tunnel.agent, "hangs")
    assert (hung["code"], hung["status"], hung["delivered"]) == ("deadline", 0, "unknown")
    assert max(hung["phases_us"], key=lambda name: hung["phases_us"][name]) == "upstream_first_byte"
    assert line(tunnel.hub, "hangs")["code"] == "deadline"
    for program in (tunnel.hub, tunnel.agent):
        entry = line(program, "broken")
        assert (entry["status"], entry["code"], entry["origin"]) == (200, "upstream_truncated", "upstream")
        entry = line(program, "refused")
        assert (entry["code"], entry["origin"], entry["delivered"]) == ("boundary_refused", "agent", "no")


def test_which_lines_the_agent_writes_changes_while_it_runs(make_tunnel: MakeTunnel) -> None:
    """By default those of failures; a reload changes it, the level of its own log as well."""
    tunnel = make_tunnel(agent_options=JSON, hub_options=JSON).start()
    tunnel.upstream.on(PATH, reply())
    tunnel.upstream.on("/nomisapi/fails", reply(503))
    wrote = []
    for number, access in enumerate(["failures", "all", "none"]):
        if number:
            tunnel.agent.config["log"] = {"format": "json", "access": access, "level": "debug"}
            tunnel.agent.write_config()
            mark = tunnel.agent.mark()
            tunnel.agent.signal(signal.SIGHUP)
            wait_until(lambda mark=mark: "configuration reloaded" in tunnel.agent.log(mark), "the reload")
        tunnel.fetch(PATH, f"X-Request-Id: good-{access}")
        tunnel.fetch("/nomisapi/fails", f"X-Request-Id: bad-{access}")
        wrote += [f"good-{access}", f"bad-{access}"]
    line(tunnel.hub, "bad-none")
    tunnel.agent.stop()
    assert [each for each in wrote if lines(tunnel.agent, each)] == ["bad-failures", "good-all", "bad-all"]


def test_text_lines_have_phases_and_trace(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(
        agent_options={"log": {"format": "text", "access": "all"}}, hub_options={"log": {"format": "text"}}
    ).start()
    tunnel.upstream.on(PATH, slow)
    tunnel.fetch(PATH, "X-Request-Id: joined", "traceparent: 00-" + "a" * 32 + "-00f067aa0ba902b7-01")
    for program in (tunnel.hub, tunnel.agent):
        found = wait_until(
            lambda program=program: re.findall(r".* id=joined .*", program.log()), "the access line"
        )
        assert re.search(r" upstream_first_byte=\d+\.\dms", found[0])
        assert found[0].rstrip().endswith("trace=" + "a" * 32)
