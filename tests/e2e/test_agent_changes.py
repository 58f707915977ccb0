"""What changes at a running agent, as callers see it: services, keys, and its end over a slow link."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import scripts
from tests.support.effort import THOROUGH
from tests.support.keys import KeyRing
from tests.support.process import Program
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

MakeTunnel = Callable[..., Tunnel]


def reload(program: Program) -> None:
    mark = program.mark()
    program.write_config()  # type: ignore[attr-defined]
    program.signal(signal.SIGHUP)
    program.wait_log("configuration reloaded", since=mark)


def test_a_new_service_is_served_on_the_sessions_that_stand(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(
        relay=True,
        hub_options={
            "services": {"more": {"hosts": ["more.internal"], "hold": "5s"}},
            "agents": {"leeds-1": {"services": ["visits", "more"]}},
        },
    )
    tunnel.upstream.on("/x", reply())
    tunnel.hub.start()  # its health is red while nobody serves `more`
    tunnel.hub.wait_alive()
    tunnel.agent.start()
    tunnel.wait_sessions(2)
    assert tunnel.relay is not None
    links = len(tunnel.relay.links)
    tunnel.agent.config["services"]["more"] = {"upstream": tunnel.upstream.url, "allow": ["GET /x"]}
    reload(tunnel.agent)
    assert tunnel.fetch("/x", host="more.internal").status == 200
    del tunnel.agent.config["services"]["more"]
    reload(tunnel.agent)
    wait_until(lambda: tunnel.fetch("/x", host="more.internal", timeout=8).status == 503, "the service to be gone")
    assert tunnel.fetch("/x").status == 200
    assert len(tunnel.relay.links) == links


@pytest.mark.bug(22)
def test_the_agents_key_is_replaced_without_a_restart(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    """New key at the hub beside the old one, new key at the agent, old key away: nobody is refused."""
    tunnel = make_tunnel()
    file = tunnel.directory / "agent.key"
    shutil.copy(keys.agent().file, file)
    tunnel.agent.config["agent"]["key_file"] = str(file)
    tunnel.agent.write_config()
    tunnel.start()
    tunnel.upstream.on("/x", reply())
    registered = tunnel.hub.config["agents"]["leeds-1"]["public_keys"]
    registered.append(keys.agent("leeds-1-new").public)
    reload(tunnel.hub)
    file.unlink()
    shutil.copy(keys.agent("leeds-1-new").file, file)
    mark = tunnel.agent.mark()
    reload(tunnel.agent)
    wait_until(lambda: tunnel.agent.log(mark).count("session established") == 2, "sessions with the new key")
    del registered[0]
    reload(tunnel.hub)
    assert tunnel.fetch("/x").status == 200
    tunnel.wait_sessions(2)


def test_the_last_bytes_cross_a_slow_link_before_the_agent_ends(make_tunnel: MakeTunnel) -> None:
    size = 1_000_000
    tunnel = make_tunnel(relay=True, relay_buffer=16_384, sessions=1).start()
    tunnel.upstream.on("/bulk", scripts.bulk_download(size))
    assert tunnel.relay is not None
    tunnel.relay.set("up", rate=150_000)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(tunnel.fetch, "/bulk", timeout=30)
        tunnel.upstream.wait_for("/bulk")
        wait_until(lambda: tunnel.relay.count("up") > 100_000, "the answer to flow")  # type: ignore[union-attr]
        tunnel.agent.terminate()
        assert answer.result().status == 200
        assert len(answer.result().body) == size
    assert tunnel.agent.wait_exit() == 0


def test_service_returns_at_once_after_each_of_many_resets(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(relay=True, service={"hold": "10s"}).start()
    tunnel.upstream.on("/x", reply())
    assert tunnel.relay is not None
    for _ in range(20 if THOROUGH else 8):
        links = len(tunnel.relay.links)
        tunnel.relay.cut()
        assert tunnel.fetch("/x").status == 200
        wait_until(lambda: tunnel.relay.open_links == 2 and len(tunnel.relay.links) > links, "both sessions")  # type: ignore[union-attr]  # noqa: B023
        time.sleep(0.6)  # what ends sooner counts as a failure (slot.LASTED)
