"""`tunnel-agent check` from outside: what stands between this machine and the hub, by name and with the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.connect_proxy import ConnectProxy
from tests.support.interceptor import Interceptor
from tests.support.leaksearch import named
from tests.support.tls import PrivateCA
from tests.support.tunnel import Tunnel

MakeTunnel = Callable[..., Tunnel]
PASSWORD = named("a proxy's password", "check-proxy-Zq81")


def found(tunnel: Tunnel) -> dict[str, Any]:
    """The last step of each name towards the hub."""
    done = tunnel.agent.check(as_json=True)
    whole = json.loads(done.stdout)
    assert done.returncode == (0 if whole["ok"] else 1)
    assert "Traceback" not in done.stdout + done.stderr
    return {step["step"]: step for step in whole["results"] if step["target"].startswith("hub ")}


def started(tunnel: Tunnel) -> Tunnel:
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    return tunnel


@pytest.fixture
def intercept(make_tunnel: MakeTunnel) -> Iterator[Callable[[PrivateCA | None], Tunnel]]:
    """A tunnel whose way leads through an interceptor with a certificate of this authority, else of the hub's."""
    made: list[Interceptor] = []

    def intercept(authority: PrivateCA | None) -> Tunnel:
        tunnel = started(make_tunnel(tls=True))
        assert tunnel.ca is not None
        shown = (authority or tunnel.ca).server_context()
        made.append(Interceptor(tunnel.hub.agents_port, shown, tunnel.ca.client_context()))
        tunnel.agent.config["hubs"][0]["url"] = tunnel.hub.tunnel_url(made[-1].port)
        tunnel.agent.write_config()
        return tunnel

    yield intercept
    for proxy in made:
        proxy.close()


def test_all_is_well(make_tunnel: MakeTunnel) -> None:
    tunnel = started(make_tunnel(tls=True))
    assert tunnel.ca is not None
    steps = found(tunnel)
    assert list(steps) == ["dns", "connect", "tls", "handshake", "clock"]
    assert f'issued by "{tunnel.ca.name}"' in steps["tls"]["detail"]
    assert steps["clock"]["detail"] == "this machine's clock agrees with the hub's"
    tunnel.hub.wait_log("session")
    assert "agent refused" not in tunnel.hub.log(), "a check raises no alarm at the hub"


def test_the_firewall_request(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(tls=True)
    tunnel.agent.config["hubs"][0]["url"] = "wss://tunnel.invalid/tunnel"
    tunnel.agent.config["services"]["visits"]["upstream"] = "https://nomis.invalid:8443"
    tunnel.agent.write_config()
    text = tunnel.agent.check().stdout
    whole = json.loads(tunnel.agent.check(as_json=True).stdout)
    request = text.partition("For the network team:\n")[2]
    assert request == whole["firewall_request"], "asked for even while nothing answers"
    for words in ("to        tunnel.invalid\n    port      443\n", "port      8443\n", "protocol  TCP\n", "why  "):
        assert words in request
    assert {(each["host"], each["port"]) for each in whole["connections"]} == {
        ("tunnel.invalid", 443),
        ("nomis.invalid", 8443),
    }


def test_an_interceptor_with_an_authority_of_its_own(intercept: Any, tmp_path: Path) -> None:
    company = PrivateCA(tmp_path / "company")
    tunnel = intercept(company)
    step = found(tunnel)["tls"]
    assert not step["ok"]
    assert f'is issued by "{company.name}"; expected was "{tunnel.ca.name}"' in step["detail"]
    assert "have 127.0.0.1 exempted from inspection" in step["remedy"]


def test_an_interceptor_that_this_machine_trusts(intercept: Any) -> None:
    """Only the hub can tell: by the hash of the certificate that the agent saw."""
    tunnel = intercept(None)
    steps = found(tunnel)
    assert steps["tls"]["ok"]
    assert not steps["handshake"]["ok"]
    assert "sees the TLS certificate sha256:" in steps["handshake"]["detail"]
    assert f'issued by "{tunnel.ca.name}"' in steps["handshake"]["detail"]
    assert "Exempt the hub's host" in steps["handshake"]["remedy"]


@pytest.mark.parametrize(
    ("password", "detail", "remedy"),
    [
        (PASSWORD, "", ""),
        ("wrong", "refuses the user or the password (407)", "proxy_password_file"),
        (None, "wants a user and a password (407)", "proxy_password_file"),
    ],
)
def test_a_proxy_with_a_password(make_tunnel: MakeTunnel, password: str | None, detail: str, remedy: str) -> None:
    proxy = ConnectProxy("leeds", PASSWORD)
    try:
        tunnel = started(make_tunnel(tls=True, proxy=proxy, proxy_password=password))
        if password is None:
            tunnel.agent.config["hubs"][0]["proxy"] = f"http://127.0.0.1:{proxy.port}"
            tunnel.agent.write_config()
        steps = found(tunnel)
    finally:
        proxy.close()
    assert detail in steps["proxy"]["detail"]
    assert remedy in steps["proxy"]["remedy"]
    assert list(steps) == ["dns", "connect", "proxy"] + (["tls", "handshake", "clock"] if not detail else [])
    assert PASSWORD not in json.dumps(steps)
