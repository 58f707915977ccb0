"""The visit story through real processes, over ws:// and wss://, directly and through a corporate proxy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import scripts, story
from tests.support.connect_proxy import ConnectProxy
from tests.support.programs import VisitsApi
from tests.support.tls import PrivateCA
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import reply
from tests.support.waiting import stays, wait_until

MakeTunnel = Callable[..., Tunnel]
MakeProxy = Callable[..., ConnectProxy]
PASSWORD = "pa:ss w/ö@rd"
UPGRADES = {"upgrades": ["websocket"]}


@pytest.mark.bug(20)
@pytest.mark.parametrize("through_proxy", [False, True], ids=["direct", "proxy"])
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_the_visit_story(
    make_tunnel: MakeTunnel, make_proxy: MakeProxy, visits_api: VisitsApi, tls: bool, through_proxy: bool
) -> None:
    proxy = make_proxy("user", PASSWORD) if through_proxy else None
    tunnel = make_tunnel(
        tls=tls,
        proxy=proxy,
        proxy_password=PASSWORD if through_proxy else None,
        upstream_url=visits_api.url,
        service=UPGRADES,
        agent_service=UPGRADES,
    ).start()
    story.tell(tunnel.client)
    story.echo(tunnel.socket(), HOST)
    posts = story.bookings(visits_api)
    assert [entry["client_unique_ref"] for entry in posts] == ["ref-1", "ref-1", "ref-1-x"]
    if proxy is not None:
        assert proxy.granted == 2, "each session goes through the proxy"
        assert proxy.bytes_carried > 10_000_000, "the story's bytes went through the proxy"
        assert {connect.authority for connect in proxy.connects} == {f"127.0.0.1:{tunnel.hub.agents_port}"}
        assert PASSWORD not in tunnel.agent.log() + tunnel.hub.log()


def test_the_visit_story_over_tls_from_callers_as_well(make_tunnel: MakeTunnel, visits_api: VisitsApi) -> None:
    tunnel = make_tunnel(tls=True, callers_tls=True, upstream_url=visits_api.url).start()
    story.tell(tunnel.client)


@pytest.mark.bug(20)
def test_a_proxy_from_the_environment(make_tunnel: MakeTunnel, make_proxy: MakeProxy) -> None:
    proxy = make_proxy()
    url = f"http://127.0.0.1:{proxy.port}"
    tunnel = make_tunnel(agent_env={"https_proxy": url, "http_proxy": url, "no_proxy": ""}, sessions=1).start()
    tunnel.upstream.on("/x", reply())
    assert tunnel.fetch("/x").status == 200
    assert proxy.granted == 1


@pytest.mark.bug(20)
def test_a_proxy_that_refuses_is_named_with_the_remedy(make_tunnel: MakeTunnel, make_proxy: MakeProxy) -> None:
    """Wrong or missing password: the agent says so, keeps trying, and is in once the password is right."""
    proxy = make_proxy("user", "right")
    tunnel = make_tunnel(proxy=proxy, proxy_password="wrong-password")
    tunnel.upstream.on("/x", reply())
    tunnel.hub.start()
    tunnel.agent.start()
    line = tunnel.agent.wait_log("407")
    assert "proxy" in line.lower()
    assert "password" in line.lower()
    wait_until(lambda: proxy.refused >= 3, "the agent to try again")
    assert "wrong-password" not in tunnel.agent.log()
    proxy.password = "wrong-password"
    tunnel.wait_served()
    assert tunnel.fetch("/x").status == 200


@pytest.mark.bug(20)
def test_a_proxy_that_dies_is_found_again(make_tunnel: MakeTunnel, make_proxy: MakeProxy) -> None:
    proxy = make_proxy()
    tunnel = make_tunnel(proxy=proxy).start()
    tunnel.upstream.on("/x", reply())
    proxy.cut()
    wait_until(lambda: proxy.granted >= 4, "the agent to connect anew")
    tunnel.wait_served()
    assert tunnel.fetch("/x").status == 200


def test_a_strangers_certificate_is_refused_with_the_remedy(make_tunnel: MakeTunnel, tmp_path: Path) -> None:
    """wss:// with a CA that the agent does not trust: named, retried, never connected."""
    stranger = PrivateCA(tmp_path / "stranger")
    tunnel = make_tunnel(tls=True, hub_entry={"ca_file": str(stranger.ca_file)})
    tunnel.hub.start()
    tunnel.agent.start()
    assert "ca_file" in tunnel.agent.wait_log("certificate")
    stays(lambda: tunnel.agent.running, "the agent goes on trying", 1.0)
    assert tunnel.agent.admin_status("/health/readiness") == 503


def test_scenario_1_lookups_on_persistent_connections(make_tunnel: MakeTunnel, visits_api: VisitsApi) -> None:
    """Lookup × 1000 on 5 persistent connections: all 200, bodies identical, Server-Timing kept."""
    tunnel = make_tunnel(upstream_url=visits_api.url).start()
    target = "/nomisapi/lookup/active_offender?noms_id=A1475AE&date_of_birth=1979-04-23"
    bodies: set[str] = set()
    callers = [tunnel.raw() for _ in range(5)]
    for _ in range(200):
        for caller in callers:
            caller.start("GET", target)
        for caller in callers:
            answer = caller.answer()
            assert answer.status == 200
            assert answer.has("server-timing")
            bodies.add(hashlib.sha256(answer.body).hexdigest())
    for caller in callers:
        caller.close()
    assert len(bodies) == 1
    assert visits_api.get("/ledger?limit=0").json()["count"] == 1000


def test_scenario_6_the_link_breaks_after_a_booking(make_tunnel: MakeTunnel, visits_api: VisitsApi) -> None:
    """502, unknown, in time; the caller repeats with the same ref and gets the upstream's 409; one booking."""
    tunnel = make_tunnel(relay=True, upstream_url=visits_api.url, service={"deadline": "5s"}).start()
    assert tunnel.relay is not None
    booking = (
        b'{"lead_contact":13429,"slot":"2018-04-05T10:00/11:30","client_unique_ref":"ref-6","other_contacts":[]}'
    )
    target = "/nomisapi/offenders/1057307/visits/booking"
    fields = ("Content-Type: application/json", f"Content-Length: {len(booking)}")
    with tunnel.raw() as caller:
        caller.start("POST", target, *fields, "X-Test-Latency-Ms: 3000", body=booking)
        wait_until(lambda: len(story.bookings(visits_api)) == 1, "the booking at the upstream")
        wait_until(lambda: story.bookings(visits_api)[0]["client_unique_ref"] == "ref-6", "the whole booking")
        tunnel.relay.cut()
        answer = caller.answer()
    assert (answer.status, answer.get("tunnel-delivered")) == (502, "unknown")
    tunnel.wait_served()
    again = tunnel.fetch(target, fields[0], method="POST", body=booking)
    assert (again.status, again.json()) == (409, {"error": {"message": "Duplicate post"}})
    assert len(story.bookings(visits_api)) == 2


def test_requests_go_where_the_fewest_are_outstanding(make_tunnel: MakeTunnel) -> None:
    """Eight requests wait at once, two agents keep two sessions each: each agent has four of them."""
    tunnel = make_tunnel(agent_ids=("leeds-1", "leeds-2"))
    tunnel.upstream.on("/x", scripts.no_answer)
    tunnel.start()
    tunnel.wait_sessions(4)
    callers = [tunnel.raw() for _ in range(8)]
    for number, caller in enumerate(callers, 1):
        caller.start("GET", "/x")
        tunnel.upstream.wait_for("/x", number)
    for agent in tunnel.agents:
        lines = agent.admin("/metrics").text.splitlines()
        assert "tunnel_agent_streams 4.0" in lines
    for caller in callers:
        caller.close()


def test_scenario_12_photographs_and_lookups_share_a_narrow_link(make_tunnel: MakeTunnel) -> None:
    """20 photographs at once over 10 Mbit/s and 40 ms: all arrive whole, and lookups are served meanwhile."""
    tunnel = make_tunnel(relay=True, relay_buffer=16384, sessions=1)
    photographs = {f"/photo/{number}": os.urandom(60_000) for number in range(20)}
    for path, picture in photographs.items():
        tunnel.upstream.on(path, reply(body=picture))
    tunnel.upstream.on("/lookup", reply())
    assert tunnel.relay is not None
    tunnel.relay.set(delay=0.02, rate=1.25e6)
    tunnel.start()
    meanwhile = 0
    with ThreadPoolExecutor(20) as pool:
        answers = {path: pool.submit(tunnel.fetch, path) for path in photographs}
        while not all(answer.done() for answer in answers.values()):
            if tunnel.fetch("/lookup").status == 200 and not all(answer.done() for answer in answers.values()):
                meanwhile += 1
    assert all(answers[path].result().body == picture for path, picture in photographs.items())
    assert meanwhile >= 1, "no lookup was served before the last photograph"
