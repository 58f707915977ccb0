"""`enabled = false` and SIGHUP, at either end: within a second nothing of the service runs, visibly."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.test_agent_changes import reload
from tests.support import scripts
from tests.support.problems import assert_problem
from tests.support.programs import Agent, Hub
from tests.support.rawhttp import RawClient
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import PATIENCE, Gate, stays, wait_until

MakeTunnel = Callable[..., Tunnel]
BOTH = pytest.mark.parametrize("which", ["hub", "agent"])

BULK = 100_000_000
"""More than all windows and buffers hold."""

UPGRADE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def switch(tunnel: Tunnel, which: str, *, on: bool) -> None:
    program: Hub | Agent = getattr(tunnel, which)
    program.config["services"]["visits"]["enabled"] = on
    reload(program)


def audited(program: Hub | Agent) -> list[dict[str, Any]]:
    """The lines on disk so far."""
    file = program.config_file.parent / program.config["audit"]["file"]
    return [json.loads(line) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]


@BOTH
def test_what_runs_is_cut_and_what_comes_is_refused(make_tunnel: MakeTunnel, which: str) -> None:
    table = {"audit": {"file": f"{which}-audit.jsonl"}}
    tunnel = make_tunnel(**{f"{which}_options": table}).start()
    program: Hub | Agent = getattr(tunnel, which)
    tunnel.upstream.on("/x", reply())
    tunnel.upstream.on("/stream", scripts.slow_drip(2, [gate := Gate(), Gate()]))
    tunnel.upstream.on("/post", scripts.no_answer)
    tunnel.upstream.on("/ws", scripts.websocket_echo)
    tunnel.upstream.on("/bulk", scripts.bulk_download(BULK))
    download, stream, websocket, post = (tunnel.raw() for _ in range(4))
    with download, stream, websocket, post:
        download.start("GET", "/bulk")
        assert download.head().status == 200  # and then reads no further: all windows fill
        stream.start("GET", "/stream")
        gate.open()
        assert stream.head().status == 200
        assert stream.chunk() == b"piece-0\n"
        websocket.start("GET", "/ws", *UPGRADE)
        assert websocket.head().status == 101
        post.start("POST", "/post", "Content-Length: 2", body=b"{}")
        received = tunnel.upstream.wait_for("/post")
        assert tunnel.upstream.wait_for("/ws")

        switch(tunnel, which, on=False)
        refused = assert_problem(tunnel.fetch("/x"), 503)
        expected = ("switched_off", "hub") if which == "hub" else ("not_dispatched", "agent")
        assert (refused["code"], refused["origin"]) == expected
        assert "switched off" in refused["title"] + refused["detail"]

        answer = post.answer("POST")
        code = "cut_off" if which == "hub" else "cancelled"
        said = assert_problem(answer, 502, code=code, delivered="unknown")
        assert "switched off" in said["title"] + said["detail"]
        assert not ended_well(stream)
        assert not ended_well(download)
        assert websocket.read_to_end()[0] == b"", "no close frame: it did not end well"
        received.gone.wait(5)
        wait_until(lambda: quiet(tunnel), "nothing to run any more")
    assert [received.path for received in tunnel.upstream.ledger].count("/x") == 0

    switch(tunnel, which, on=True)
    assert tunnel.fetch("/x").status == 200
    wait_until(lambda: "service switched on" in [line["event"] for line in audited(program)], "the audit")
    found = [line for line in audited(program) if line.get("service") == "visits"]
    events = [line["event"] for line in found if line["event"] != "boundary refused"]
    assert events == ["service switched off", "exchanges cut", "service switched on"]
    off, cut = (next(line for line in found if line["event"] == event) for event in events[:2])
    assert cut["count"] == 4
    assert 0.7 < at(cut) - at(off) < 1.0 * PATIENCE, "within the second"


def ended_well(caller: RawClient) -> bool:
    """Whether the rest of a chunked or counted body is complete."""
    data, _ = caller.read_to_end()
    return data.endswith(b"0\r\n\r\n") or len(data) >= BULK


def at(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def quiet(tunnel: Tunnel) -> bool:
    """Nothing runs at either end."""
    hub, agent = tunnel.hub.admin("/health").text, tunnel.agent.admin("/metrics").text
    return '"in_flight":0' in hub and "tunnel_agent_streams 0.0" in agent


@BOTH
def test_what_ends_in_time_or_after_it_is_on_again_is_not_cut(make_tunnel: MakeTunnel, which: str) -> None:
    tunnel = make_tunnel().start()
    program: Hub | Agent = getattr(tunnel, which)
    for number in range(5):  # on a machine that is too busy it may be cut before it is on again
        gate = Gate()

        async def slow(x: Exchange, gate: Gate = gate) -> None:
            await gate.passed()
            await x.answer()

        tunnel.upstream.on(f"/slow-{number}", slow)
        with tunnel.raw() as caller:
            caller.start("POST", f"/slow-{number}", "Content-Length: 2", body=b"{}")
            tunnel.upstream.wait_for(f"/slow-{number}")
            mark = program.mark()
            switch(tunnel, which, on=False)
            switch(tunnel, which, on=True)
            if "exchanges cut" in program.log(mark):
                gate.open()
                continue
            stays(lambda: not caller.readable(0), "it runs", 1.0)
            gate.open()
            assert caller.answer("POST").status == 200
            return
    raise AssertionError("it was cut each time")


@BOTH
def test_other_services_go_on(make_tunnel: MakeTunnel, which: str) -> None:
    tunnel = make_tunnel(
        hub_options={
            "services": {"more": {"hosts": ["more.internal"]}},
            "agents": {"leeds-1": {"services": ["visits", "more"]}},
        }
    )
    more = {"upstream": tunnel.upstream.url, "allow": ["GET /**"]}
    tunnel.agent.config["services"]["more"] = more
    tunnel.agent.write_config()
    tunnel.start()
    tunnel.upstream.on("/x", reply())
    tunnel.upstream.on("/stream", scripts.slow_drip(2, gates := [Gate(), Gate()]))
    with tunnel.raw() as caller:
        caller.start("GET", "/stream", host="more.internal")
        gates[0].open()
        assert caller.head().status == 200
        assert caller.chunk() == b"piece-0\n"
        program: Hub | Agent = getattr(tunnel, which)
        with tunnel.raw() as victim:
            tunnel.upstream.on("/slow", scripts.no_answer)
            victim.start("GET", "/slow")
            tunnel.upstream.wait_for("/slow")
            mark = program.mark()
            switch(tunnel, which, on=False)
            assert victim.answer().status == 502
        program.wait_log("exchanges cut", since=mark)
        gates[1].open()
        assert caller.chunk() == b"piece-1\n"
        assert caller.chunk() == b""
    assert tunnel.fetch("/x", host="more.internal").status == 200
    assert tunnel.fetch("/x").status == 503


def test_what_waits_at_the_agent_is_given_back_at_once(make_tunnel: MakeTunnel) -> None:
    """Not sent to the upstream yet: refused as not delivered, before what runs is cut."""
    tunnel = make_tunnel(agent_service={"max_connections": 1, "wait_timeout": "60s"}).start()
    tunnel.upstream.on("/running", scripts.no_answer)
    with tunnel.raw() as running, ThreadPoolExecutor(1) as pool:
        running.start("POST", "/running", "Content-Length: 2", body=b"{}")
        tunnel.upstream.wait_for("/running")
        waiting = pool.submit(tunnel.fetch, "/waiting", method="POST", body=b"{}")
        wait_until(lambda: "tunnel_agent_streams 2.0" in tunnel.agent.admin("/metrics").text, "both at the agent")
        switch(tunnel, "agent", on=False)
        said = assert_problem(waiting.result(), 503, code="not_dispatched", origin="agent")
        assert "switched off" in said["detail"]
        assert_problem(running.answer("POST"), 502, code="cancelled", origin="agent", delivered="unknown")
    assert [received.path for received in tunnel.upstream.ledger] == ["/running"]
