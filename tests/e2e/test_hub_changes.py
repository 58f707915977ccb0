"""What changes at a running hub, as callers and agents see it: services, agents, keys, certificates."""

from __future__ import annotations

import shutil
import signal
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protocol import frames
from protocol.errors import SessionCode
from protocol.handshake import AgentHandshake
from protocol.keys import load_private_key, parse_public_line
from protocol.limits import Limits
from tests.e2e.test_agent_changes import reload
from tests.support.hostile import HostileAgent
from tests.support.keys import KeyRing
from tests.support.metrics import metric
from tests.support.problems import assert_problem
from tests.support.programs import ALLOW_ALL, Agent
from tests.support.rawhttp import RawClient
from tests.support.stream import Stream
from tests.support.tls import PrivateCA
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import PATIENCE, Gate, stays, wait_until

MakeTunnel = Callable[..., Tunnel]


def second_agent(tunnel: Tunnel, keys: KeyRing, key: str, name: str, *services: str) -> Agent:
    """Another agent process; its own log and file even if its id is that of the first."""
    made = Agent(
        tunnel.directory / f"second-{name}",
        keys.agent(key),
        name=name,
        hubs=[dict(tunnel.agent.config["hubs"][0])],
        services={service: {"upstream": tunnel.upstream.url, "allow": ALLOW_ALL} for service in services},
    )
    tunnel.agents.append(made)  # which the fixture closes
    return made


@pytest.mark.bug(22)
def test_services_and_agents_come_and_go_beside_a_stream(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/x", reply())
    stream = Stream(tunnel)
    config = tunnel.hub.config
    config["services"]["more"] = {"hosts": ["more.internal"], "hold": "8s"}
    config["agents"]["leeds-2"] = {"public_keys": [keys.agent("leeds-2").public], "services": ["visits", "more"]}
    reload(tunnel.hub)
    assert tunnel.fetch("/x").status == 200
    newcomer = second_agent(tunnel, keys, "leeds-2", "leeds-2", "visits", "more")
    newcomer.start()
    assert tunnel.fetch("/x", host="more.internal").status == 200
    tunnel.wait_sessions(4)

    # the first one's stream is cut only when its time is over; new requests meet the second at once
    del config["agents"]["leeds-1"]
    mark = tunnel.hub.mark()
    reload(tunnel.hub)
    stream.finish()
    began = time.monotonic()
    for _ in range(5):
        assert tunnel.fetch("/x", method="POST", body=b"{}").status == 200
    wait_until(lambda: tunnel.hub.log(mark).count("session ended") >= 2, "the first agent's sessions to end")
    assert time.monotonic() - began < 5 * PATIENCE
    assert "NOT_REGISTERED" in tunnel.hub.wait_log("session ended", since=mark)
    assert metric(tunnel.hub, "tunnel_hub_sessions_ended_total", agent="leeds-1") == 2, "each counts once"

    config["agents"]["leeds-2"]["services"] = ["more"]
    config["services"]["visits"]["hold"] = "0s"
    reload(tunnel.hub)
    assert tunnel.fetch("/x").status == 503, "it may not serve that any more"
    assert tunnel.fetch("/x", host="more.internal").status == 200
    del config["services"]["more"]
    config["agents"]["leeds-2"]["services"] = []
    reload(tunnel.hub)
    assert tunnel.fetch("/x", host="more.internal").status == 404
    assert tunnel.hub.admin_status("/health/liveness") == 200


def test_the_kill_switch_sends_nothing_more_to_agents(make_tunnel: MakeTunnel) -> None:
    """What waits for its turn is answered as what comes later is; what runs is cut (test_kill_switch.py)."""
    tunnel = make_tunnel(agent_service={"max_connections": 1}, service={"queue_timeout": "20s"}).start()
    gate = Gate()

    async def slow(x: Exchange) -> None:
        await gate.passed()
        await x.answer()

    tunnel.upstream.on("/*", slow)
    table = tunnel.hub.config["services"]["visits"]
    table["concurrency"] = 1
    reload(tunnel.hub)
    with tunnel.raw() as running, ThreadPoolExecutor(2) as pool:
        running.start("GET", "/running")
        tunnel.upstream.wait_for("/running")
        waiting = [pool.submit(tunnel.fetch, "/waiting", source=f"127.0.0.{number}") for number in (1, 2)]
        wait_until(lambda: '"waiting":2' in tunnel.hub.admin("/health").text, "both to wait")
        table["enabled"] = False
        reload(tunnel.hub)
        for each in waiting:
            assert_problem(each.result(), 503, code="switched_off")
        gate.open()
        assert running.answer().status in (200, 502)
        assert_problem(tunnel.fetch("/x"), 503, code="switched_off")
    assert len(tunnel.upstream.ledger) == 1


def shown(port: int, trust: ssl.SSLContext) -> bytes:
    """The certificate that a listener shows on a new connection."""
    with RawClient(port, tls=trust) as caller:
        found = caller._sock.getpeercert(binary_form=True)  # type: ignore[attr-defined]
    assert found
    return bytes(found)


def replace(file: str, source: Path) -> None:
    Path(file).unlink()
    shutil.copy(source, file)


@pytest.mark.bug(22)
def test_keys_and_certificates_are_renewed_beside_a_stream(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    tunnel = make_tunnel(
        tls=True, callers_tls=True, hub_entry={"public_keys": [keys.hub().public, keys.hub("new").public]}
    )
    listen = tunnel.hub.config["listen"]
    key_file = tunnel.directory / "hub.key"
    shutil.copy(keys.hub().file, key_file)
    tunnel.hub.config["hub"]["key_file"] = str(key_file)
    tunnel.hub.write_config()
    tunnel.start()
    tunnel.wait_sessions(2)
    ca = tunnel.ca
    assert isinstance(ca, PrivateCA)
    trust = ca.client_context()
    ports = tunnel.hub.callers_port, tunnel.hub.agents_port
    before = [shown(port, trust) for port in ports]
    stream = Stream(tunnel, trust)

    broken = Path(listen["callers_tls"]["certificate"])
    kept = broken.read_bytes()
    broken.write_text("no certificate")
    mark = tunnel.hub.mark()
    tunnel.hub.signal(signal.SIGHUP)
    tunnel.hub.wait_log("the new configuration is not used", since=mark)
    assert [shown(port, trust) for port in ports] == before
    broken.write_bytes(kept)

    for table in (listen["callers_tls"], listen["agents_tls"]):
        issued = ca.issue()
        replace(table["certificate"], issued.certificate)
        replace(table["key"], issued.key)
    replace(str(key_file), keys.hub("new").file)
    reload(tunnel.hub)
    after = [shown(port, trust) for port in ports]
    assert not set(before) & set(after)
    tunnel.upstream.on("/x", reply())
    mark = tunnel.agent.mark()
    stream.finish()
    tunnel.agent.kill()
    tunnel.agent.start()
    tunnel.agent.wait_log("session established", since=mark)
    with tunnel.raw(tls=trust) as caller:
        assert caller.get("/x").status == 200
    mark = tunnel.agent.mark()
    tunnel.agent.config["hubs"][0]["public_keys"] = [keys.hub("new").public]
    reload(tunnel.agent)
    with tunnel.raw(tls=trust) as caller:
        assert caller.get("/x").status == 200


@pytest.mark.parametrize("step", ["connected", "challenged"])
def test_a_key_that_is_taken_away_inside_its_handshake(make_tunnel: MakeTunnel, keys: KeyRing, step: str) -> None:
    """Who had connected before the reload is judged by what holds when it comes to prove itself."""
    tunnel = make_tunnel()
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    handshake = AgentHandshake(
        agent_id="leeds-1",
        instance_id=b"i" * 16,
        key=load_private_key(keys.agent().file),
        hub_keys=[parse_public_line(keys.hub().public)],
        services=["visits"],
        limits=Limits(),
        nonce=b"n" * 32,
        certificate_hash=None,
        software="by hand",
    )
    with HostileAgent(tunnel.hub.agents_port) as agent:
        if step == "challenged":
            agent.send_bytes(handshake.start())
            proof = handshake.receive(agent.receive_message())
        tunnel.hub.config["agents"]["leeds-1"]["public_keys"] = [keys.agent("another").public]
        reload(tunnel.hub)
        if step == "connected":
            agent.send_bytes(handshake.start())
            proof = handshake.receive(agent.receive_message())
        agent.send_bytes(proof)
        agent.expect_end(SessionCode.NOT_REGISTERED, SessionCode.BAD_SIGNATURE)
    assert tunnel.sessions() == 0


# -- two processes with one id ----------------------------------------------------------------------


def test_duplicates_are_allowed_and_named(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    tunnel = make_tunnel().start()
    tunnel.wait_sessions(2)
    second = second_agent(tunnel, keys, "leeds-1", "leeds-1", "visits")
    second.start()
    tunnel.hub.wait_log("second instance", "leeds-1")
    tunnel.wait_sessions(4)


@pytest.mark.parametrize("end", ["frozen", "killed"])
def test_a_duplicate_is_refused_while_the_first_lives(make_tunnel: MakeTunnel, keys: KeyRing, end: str) -> None:
    tunnel = make_tunnel(hub_options={"agents": {"leeds-1": {"duplicates": "refuse"}}}).start()
    tunnel.upstream.on("/x", reply())
    tunnel.wait_sessions(2)
    first = tunnel.agent
    second = second_agent(tunnel, keys, "leeds-1", "leeds-1", "visits")
    second.start()
    tunnel.hub.wait_log("agent refused", "DUPLICATE")
    assert "another instance" in second.wait_log("another instance")
    stays(lambda: tunnel.sessions() == 2, "the first one's sessions stay", 0.5)
    mark = tunnel.hub.mark()
    assert tunnel.fetch("/x").status == 200  # it has been heard just now
    if end == "frozen":
        first.pause()
    else:
        first.kill()
    tunnel.hub.wait_log("session established", since=mark, timeout=9)  # an idle link is looked at later
    wait_until(lambda: tunnel.fetch("/x", timeout=20).status == 200, "service by the second one")


def test_a_duplicate_that_comes_without_services_is_refused_when_it_offers_one(
    make_tunnel: MakeTunnel, keys: KeyRing
) -> None:
    tunnel = make_tunnel(hub_options={"agents": {"leeds-1": {"duplicates": "refuse"}}}).start()
    tunnel.wait_sessions(2)
    with HostileAgent(tunnel.hub.agents_port) as second:
        second.shake(keys.agent("leeds-1"), keys.hub(), services=())
        tunnel.wait_sessions(3)
        assert "second instance" not in tunnel.hub.log(), "so does a check"
        second.send(frames.OFFER, "visits", 2, None)
        second.expect_end(SessionCode.DUPLICATE)
    tunnel.hub.wait_log("second instance", "leeds-1")
    tunnel.wait_sessions(2)
