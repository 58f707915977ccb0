"""Wrong keys, unknown names, intercepted TLS: refused on both sides in words to act on, retried with backoff."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.interceptor import Interceptor
from tests.support.keys import KeyRing
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import PATIENCE, stays, wait_until

MakeTunnel = Callable[..., Tunnel]


def start_refused(tunnel: Tunnel) -> None:
    tunnel.upstream.on("/x", reply())
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    tunnel.agent.start()
    tunnel.agent.wait_alive()


def assert_keeps_trying(tunnel: Tunnel, word: str) -> None:
    """The agent neither ends nor hammers: some attempts, with growing pauses, each with the reason."""

    def attempts() -> int:
        return sum("refused" in line for line in tunnel.hub.log().splitlines())

    wait_until(lambda: attempts() >= 3, "the agent to try again", 20)
    before = attempts()
    stays(lambda: tunnel.agent.running, "the agent goes on", 2.0 * PATIENCE)
    assert attempts() - before < 40, "no backoff"
    assert tunnel.agent.admin_status("/health/readiness") == 503
    assert tunnel.agent.admin_status("/health") == 503
    assert tunnel.agent.admin_status("/health/liveness") == 200
    assert tunnel.hub.admin_status("/health") == 503
    assert word in tunnel.agent.log()
    assert "Traceback" not in tunnel.agent.log() + tunnel.hub.log()


def test_an_unknown_agent(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    tunnel = make_tunnel(
        hub_options={"agents": {"leeds-1": None, "other": {"public_keys": [keys.agent("other").public]}}}
    )
    start_refused(tunnel)
    assert "no registered key" in tunnel.hub.wait_log("refused", "leeds-1")
    line = tunnel.agent.wait_log("public_keys", "[agents.leeds-1]")
    assert keys.agent().public in line, "the line to add at the hub"
    assert_keeps_trying(tunnel, "leeds-1")
    # the operator adds the key: nothing else is needed
    tunnel.hub.stop()
    tunnel.hub.config["agents"]["leeds-1"] = {"public_keys": [keys.agent().public], "services": ["visits"]}
    tunnel.hub.write_config()
    tunnel.hub.start()
    tunnel.wait_served()
    assert tunnel.fetch("/x").status == 200


def test_a_wrong_agent_key(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    tunnel = make_tunnel(agent_options={"agent": {"key_file": str(keys.agent("stranger").file)}})
    start_refused(tunnel)
    assert "registered keys" in tunnel.hub.wait_log("refused", "leeds-1")
    assert "public_keys" in tunnel.agent.wait_log("does not know the agent")
    assert_keeps_trying(tunnel, "leeds-1")


def test_a_wrong_hub_key(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    """The agent refuses the hub, the hub hears why; with the right hub on the address the agent is in."""
    tunnel = make_tunnel(hub_entry={"public_keys": [keys.hub("hub-2").public]})
    start_refused(tunnel)
    assert "public_keys" in tunnel.agent.wait_log("proved none of the keys")
    assert "hub" in tunnel.hub.wait_log("refused", "WRONG_HUB_KEY").lower()
    assert_keeps_trying(tunnel, "hub-1")
    tunnel.hub.stop()
    tunnel.hub.config["hub"]["key_file"] = str(keys.hub("hub-2").file)
    tunnel.hub.write_config()
    tunnel.hub.start()
    tunnel.wait_served()
    assert tunnel.fetch("/x").status == 200


def test_two_keys_at_once_on_both_sides(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    """While keys are replaced, the old and the new one are both accepted."""
    old, new = keys.agent("old"), keys.agent()
    tunnel = make_tunnel(
        hub_entry={"public_keys": [keys.hub("hub-2").public, keys.hub().public]},
        hub_options={"agents": {"leeds-1": {"public_keys": [old.public, new.public]}}},
    ).start()
    tunnel.upstream.on("/x", reply())
    assert tunnel.fetch("/x").status == 200
    tunnel.agent.stop()
    tunnel.agent.config["agent"]["key_file"] = str(old.file)
    tunnel.agent.write_config()
    tunnel.start()
    assert tunnel.fetch("/x").status == 200


@pytest.fixture
def intercepted(make_tunnel: MakeTunnel) -> Tunnel:
    """A wss:// tunnel whose way leads through a proxy that intercepts TLS with a certificate the agent trusts."""
    return make_tunnel(tls=True, sessions=1)


def test_an_intercepting_proxy_is_noticed(intercepted: Tunnel) -> None:
    tunnel = intercepted
    assert tunnel.ca is not None
    proxy = Interceptor(tunnel.hub.agents_port, tunnel.ca.server_context(), tunnel.ca.client_context())
    try:
        tunnel.agent.config["hubs"][0]["url"] = tunnel.hub.tunnel_url(proxy.port)
        tunnel.agent.write_config()
        start_refused(tunnel)
        assert "intercepts TLS" in tunnel.agent.wait_log("certificate")
        assert "CHANNEL_BINDING" in tunnel.hub.wait_log("refused", "leeds-1")
        assert_keeps_trying(tunnel, "intercept")
        assert tunnel.upstream.ledger == []
    finally:
        proxy.close()


@pytest.mark.parametrize("behind", ["plain", "tls"])
def test_a_load_balancer_that_is_declared_may_terminate_tls(make_tunnel: MakeTunnel, behind: str) -> None:
    """`agents_certificates = "any"`, said in the log; in front of a hub with or without TLS of its own."""
    tunnel = make_tunnel(tls=True, sessions=1, hub_options={"listen": {"agents_certificates": "any"}})
    assert tunnel.ca is not None
    if behind == "plain":
        del tunnel.hub.config["listen"]["agents_tls"]
        tunnel.hub.write_config()
    client = tunnel.ca.client_context() if behind == "tls" else None
    balancer = Interceptor(tunnel.hub.agents_port, tunnel.ca.server_context(), client)
    try:
        tunnel.agent.config["hubs"][0]["url"] = tunnel.hub.tunnel_url(balancer.port)
        tunnel.agent.write_config()
        tunnel.start()
        tunnel.upstream.on("/x", reply())
        assert tunnel.fetch("/x").status == 200
        assert tunnel.hub.wait_log("warning", "any TLS certificate")
    finally:
        balancer.close()


def test_no_tls_where_the_hub_expects_it(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(tls=True)
    entry = tunnel.agent.config["hubs"][0]
    entry["url"] = entry["url"].replace("wss://", "ws://")
    entry.pop("ca_file")
    tunnel.agent.write_config()
    tunnel.hub.start()
    tunnel.agent.start()
    tunnel.agent.wait_alive()
    tunnel.agent.wait_log("no session", "wss://")
    stays(lambda: tunnel.agent.running, "the agent goes on", 1.0)
    assert tunnel.agent.admin_status("/health/readiness") == 503
