"""The metrics say what happened: each is driven from outside and looked at there."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from protocol.ops import clock
from tests.support import scripts
from tests.support.credentials import READ, api_key, bearer, tokens_table
from tests.support.hostile import HostileAgent
from tests.support.keys import KeyRing
from tests.support.metrics import metric
from tests.support.ports import free_port
from tests.support.tokens import Provisioner
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, Gone, reply
from tests.support.waiting import Gate, wait_until

MIB = 1 << 20
DAY = 86_400.0
MakeTunnel = Callable[..., Tunnel]


def wait_metric(program: Any, name: str, wanted: float, **labels: str) -> None:
    wait_until(lambda: metric(program, name, **labels) == wanted, f"{name} {labels} to be {wanted}")


def test_why_sessions_ended_and_what_was_tried_then(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(agent_options={"limits": {"reconnect_max": "500ms"}}).start()
    tunnel.wait_sessions(2)
    assert metric(tunnel.hub, "tunnel_hub_sessions_established_total") == 2
    tunnel.agent.stop()
    wait_metric(tunnel.hub, "tunnel_hub_sessions_ended_total", 2, agent="leeds-1", code="shutdown")
    tunnel.agent.start()
    tunnel.wait_sessions(2)
    tunnel.hub.kill()
    url = tunnel.hub.tunnel_url()
    wait_metric(tunnel.agent, "tunnel_agent_sessions_ended_total", 2, hub=url, code="internal")
    wait_until(
        lambda: metric(tunnel.agent, "tunnel_agent_reconnects_total", hub=url, cause="connect") >= 2, "attempts"
    )
    assert metric(tunnel.agent, "tunnel_agent_sessions_established_total", hub=url) == 2
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    tunnel.wait_sessions(2)
    wait_metric(tunnel.agent, "tunnel_agent_sessions_established_total", 4, hub=url)
    assert 'tunnel_hub_round_trip_seconds{agent="leeds-1"}' in tunnel.hub.admin("/metrics").text
    assert 0 < metric(tunnel.hub, "tunnel_hub_session_age_seconds", agent="leeds-1") < 60


def test_the_round_trip_is_that_of_the_way(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(relay=True)
    assert tunnel.relay is not None
    tunnel.relay.set(delay=0.05)
    tunnel.start()
    url = tunnel.hub.tunnel_url(tunnel.relay.port)
    wait_until(lambda: metric(tunnel.hub, "tunnel_hub_round_trip_seconds", agent="leeds-1") >= 0.09, "the hub's")
    wait_until(lambda: metric(tunnel.agent, "tunnel_agent_round_trip_seconds", hub=url) >= 0.09, "the agent's")


def test_why_an_agent_is_refused(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    tunnel = make_tunnel()
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    with HostileAgent(tunnel.hub.agents_port) as agent, pytest.raises(Exception):  # noqa: B017, PT011
        agent.shake(keys.agent("nobody"), tunnel.hub.key)
    wait_metric(tunnel.hub, "tunnel_hub_agents_refused_total", 1, code="not_registered")


@pytest.mark.parametrize("off", [0, 600, -7200])
def test_an_agents_clock(make_tunnel: MakeTunnel, keys: KeyRing, off: int) -> None:
    tunnel = make_tunnel()
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    with HostileAgent(tunnel.hub.agents_port, date=clock.date(time.time() + off)) as agent:
        agent.shake(keys.agent("leeds-1"), tunnel.hub.key)
        wait_metric(tunnel.hub, "tunnel_hub_sessions", 1, agent="leeds-1")
        assert metric(tunnel.hub, "tunnel_hub_clock_skew_seconds", agent="leeds-1") == pytest.approx(off, abs=30)


def test_both_ends_see_whether_their_clocks_agree(tunnel: Tunnel) -> None:
    for program, name in (
        (tunnel.hub, "tunnel_hub_clock_skew_seconds"),
        (tunnel.agent, "tunnel_agent_clock_skew_seconds"),
    ):
        assert abs(metric(program, name)) < 30
        assert f"{name}{{" in program.admin("/metrics").text


def test_a_request_that_waits_for_an_agent_is_timed(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(service={"hold": "30s"})
    tunnel.upstream.on("/ok", reply())
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    caller = threading.Thread(target=tunnel.fetch, args=("/ok",), kwargs={"timeout": 40})
    caller.start()
    wait_metric(tunnel.hub, "tunnel_hub_requests_held", 1, service="visits")
    time.sleep(0.2)
    tunnel.agent.start()
    caller.join(40)
    wait_metric(tunnel.hub, "tunnel_hub_queue_seconds_count", 1, service="visits")
    assert metric(tunnel.hub, "tunnel_hub_queue_seconds_sum", service="visits") >= 0.2


def test_who_gives_up_waiting_is_timed_as_well(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(service={"hold": "300ms"})
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    assert tunnel.fetch("/ok").status == 503
    wait_metric(tunnel.hub, "tunnel_hub_queue_seconds_count", 1, service="visits")
    assert metric(tunnel.hub, "tunnel_hub_queue_seconds_sum", service="visits") >= 0.2


def test_a_request_that_waits_for_a_connection_is_timed(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(agent_service={"max_connections": 1, "max_waiting": 4}).start()
    gate = Gate()

    async def slow(x: Exchange) -> None:
        await gate.passed()
        await x.answer(200, (), b"slow", "OK")

    tunnel.upstream.on("/slow", slow)
    callers = [threading.Thread(target=tunnel.fetch, args=("/slow",)) for _ in range(2)]
    for caller in callers:
        caller.start()
    agent = tunnel.agent
    wait_metric(agent, "tunnel_agent_upstream_waiting", 1, service="visits")
    assert metric(agent, "tunnel_agent_upstream_connections", service="visits", state="busy") == 1
    gate.open()
    for caller in callers:
        caller.join(20)
    wait_metric(agent, "tunnel_agent_queue_seconds_count", 2, service="visits")
    assert metric(agent, "tunnel_agent_upstream_connects_total", service="visits") == 1
    assert metric(agent, "tunnel_agent_upstream_reuses_total", service="visits") == 1
    wait_metric(agent, "tunnel_agent_answers_total", 2, service="visits", status="2xx")


def test_a_download_that_nobody_reads_is_a_stall_at_the_agent(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/big", scripts.bulk_download(256 * MIB))
    with tunnel.raw(receive_buffer=4096) as stalled:
        stalled.start("GET", "/big")
        stalled.head()
        wait_metric(tunnel.agent, "tunnel_agent_streams_stalled", 1)
        before = metric(tunnel.agent, "tunnel_agent_credit_stall_seconds_total")
        wait_until(
            lambda: metric(tunnel.agent, "tunnel_agent_credit_stall_seconds_total") > before + 0.2, "it to go on"
        )
        stalled.abort()
    wait_metric(tunnel.agent, "tunnel_agent_streams_stalled", 0)
    assert metric(tunnel.agent, "tunnel_agent_credit_stalls_total") >= 1
    assert metric(tunnel.hub, "tunnel_hub_credit_stalls_total") == 0


def test_an_upload_that_nobody_reads_is_a_stall_at_the_hub(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    gate = Gate()

    async def deaf(x: Exchange) -> None:
        x.keep_body = False
        await gate.passed()
        try:
            await x.body()
        except Gone:
            return

    tunnel.upstream.on("/deaf", deaf)

    def upload() -> None:
        try:
            while True:
                caller.send(b"x" * 65536)
        except OSError:
            return

    with tunnel.raw(timeout=1) as caller:
        caller.start("POST", "/deaf", f"Content-Length: {1 << 40}")
        uploader = threading.Thread(target=upload)
        uploader.start()
        wait_metric(tunnel.hub, "tunnel_hub_streams_stalled", 1)
        uploader.join(30)
        caller.abort()
    gate.open()
    wait_metric(tunnel.hub, "tunnel_hub_streams_stalled", 0)
    assert metric(tunnel.hub, "tunnel_hub_credit_stall_seconds_total") > 0


def test_what_the_boundary_refuses_and_what_fails(make_tunnel: MakeTunnel) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    tunnel = make_tunnel(upstream_url=nowhere, agent_service={"allow": ["GET /ok"]}).start()
    assert tunnel.fetch("/other").status == 403
    assert tunnel.fetch("/ok").status == 503
    agent = tunnel.agent
    wait_metric(agent, "tunnel_agent_refusals_total", 1, service="visits", code="boundary_refused")
    wait_metric(agent, "tunnel_agent_failures_total", 1, service="visits", code="connect_failed")
    assert (
        metric(agent, "tunnel_agent_upstream_connect_failures_total", service="visits", code="connect_failed") == 1
    )
    assert tunnel.fetch("/ok").status == 503  # the second in a row: it is asked after from now on
    wait_metric(agent, "tunnel_agent_upstream_up", 0, service="visits")
    wait_until(
        lambda: metric(agent, "tunnel_agent_health_checks_total", service="visits", result="failed") > 0, "a check"
    )


def test_callers_that_the_file_names_are_timed_apart(make_tunnel: MakeTunnel, tmp_path: Path) -> None:
    provisioner, key = Provisioner(), api_key()
    callers = {
        "authentication": "required",
        "tokens": tokens_table(tmp_path / "provisioning.pem", provisioner),
        "named": {"booking": {"api_keys": [key.hash], "allow": READ}},
    }
    tunnel = make_tunnel(hub_options={"callers": callers}).start()
    tunnel.upstream.on("/nomisapi/x", reply())
    client = provisioner.client("somebody", lifetime=5 * DAY)
    assert tunnel.fetch("/nomisapi/x", key.field).status == 200
    assert tunnel.fetch("/nomisapi/x", key.field).status == 200
    assert tunnel.fetch("/nomisapi/x", bearer(client.bearer())).status == 200
    wait_metric(tunnel.hub, "tunnel_hub_caller_seconds_count", 2, caller="booking")
    wait_metric(tunnel.hub, "tunnel_hub_caller_seconds_count", 1, caller="")
    assert metric(tunnel.hub, "tunnel_hub_caller_requests_total", caller="somebody", status="200") == 1
    ends = metric(tunnel.hub, "tunnel_expires_timestamp_seconds", what="token of somebody")
    assert ends == pytest.approx(time.time() + 5 * DAY, abs=300)


def test_when_certificates_end(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(tls=True)
    assert tunnel.ca is not None
    table = tunnel.hub.config["listen"]["agents_tls"]
    short, long = tunnel.ca.issue(days=5), tunnel.ca.issue(days=90)
    table.update({"certificate": str(short.certificate), "key": str(short.key)})
    tunnel.hub.write_config()
    tunnel.start()
    what = "listen.agents_tls.certificate"

    def ends() -> float:
        return metric(tunnel.hub, "tunnel_expires_timestamp_seconds", what=what)

    assert ends() == pytest.approx(time.time() + 5 * DAY, abs=300)
    assert metric(tunnel.agent, "tunnel_expires_timestamp_seconds", what="hubs[0].ca_file") > time.time()
    shutil.copy(long.certificate, short.certificate)
    shutil.copy(long.key, short.key)
    assert ends() < time.time() + 6 * DAY, "what is in use counts, not what the file holds"
    tunnel.hub.signal(signal.SIGHUP)
    wait_until(lambda: ends() > time.time() + 80 * DAY, "the new certificate")


def test_a_recorded_request_is_an_exemplar(make_tunnel: MakeTunnel) -> None:
    """Whoever sees a slow bucket finds a trace to look at; requests that are not recorded are not shown."""
    nobody = {"endpoint": f"http://127.0.0.1:{free_port()}/v1/traces", "sample_ratio": 0}
    tunnel = make_tunnel(hub_options={"tracing": nobody}).start()
    tunnel.upstream.on("/ok", reply())
    recorded, silent = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"
    for trace, flags in ((recorded, "01"), (silent, "00")):
        assert tunnel.fetch("/ok", f"traceparent: 00-{trace}-b7ad6b7169203331-{flags}").status == 200
    wait_metric(tunnel.hub, "tunnel_hub_request_seconds_count", 2, service="visits")
    answer = httpx.get(
        f"{tunnel.hub.admin_url}/metrics", headers={"Accept": "application/openmetrics-text"}, trust_env=False
    )
    exemplars = [
        sample.exemplar.labels
        for family in openmetrics.text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert exemplars == [{"trace_id": recorded}]
    assert silent not in answer.text
    assert recorded not in tunnel.hub.admin("/metrics").text


def test_a_scrape_under_load_is_whole(tunnel: Tunnel, path: str) -> None:
    """Other work runs between the families; what is shown is no less a proper exposition."""
    tunnel.upstream.on(path, reply())
    end = threading.Event()

    def ask() -> None:
        while not end.is_set():
            tunnel.fetch(path)

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(20):
            names = [family.name for family in text_string_to_metric_families(tunnel.hub.admin("/metrics").text)]
            assert len(names) == len(set(names)) > 40
    finally:
        end.set()
        for caller in callers:
            caller.join(20)
