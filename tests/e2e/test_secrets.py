"""Every kind of secret there is goes through hub and agent at debug level, in every way to end: none comes out."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import scripts
from tests.support.connect_proxy import ConnectProxy
from tests.support.leaksearch import FINDINGS, SHORTEST, named
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, raw_reply, reply

MakeTunnel = Callable[..., Tunnel]
DEBUG = {"log": {"level": "debug", "format": "json"}}


def fresh(name: str) -> str:
    """A secret of this run's own."""
    return named(name, f"{name.replace(' ', '-')}-{os.urandom(9).hex()}")


@pytest.fixture
def fields() -> list[str]:
    """Every field of a caller's that may carry a credential."""
    return [
        f"Authorization: Bearer {fresh('a bearer token')}",
        f"Elite-Authorization: Bearer {fresh('a client token')}",
        f"Cookie: session={fresh('a cookie')}; other={fresh('another cookie')}",
        f"Proxy-Authorization: Basic {fresh('proxy credentials')}",
        f"X-Api-Key: {fresh('an api key')}",
        f"X-Auth-Token: {fresh('a token in a field that nobody knows')}",
        f"Signature: sig=:{fresh('a signature')}:",
    ]


async def breaks_off(x: Exchange) -> None:
    await x.body()
    await x.send(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=%b\r\nContent-Length: 999\r\n\r\nhalf" % fresh("a set cookie").encode()
    )
    x.reset()


def test_no_secret_comes_out_of_hub_and_agent_at_debug_level(
    make_tunnel: MakeTunnel,
    make_proxy: Callable[..., ConnectProxy],
    tmp_path: Path,
    fields: list[str],
) -> None:
    """What the programs said is searched as each ends; the search has its own test, with a leaky program."""
    password, injected = fresh("the proxy password"), fresh("the injected secret")
    secret = tmp_path / "injected"
    secret.write_text(injected + "\n")
    secret.chmod(0o600)
    before = len(FINDINGS)
    tunnel = make_tunnel(
        proxy=make_proxy("user", password),
        proxy_password=password,
        hub_options=DEBUG,
        agent_options={**DEBUG, "limits": {"reconnect_max": "500ms"}},
        service={"hold": "100ms", "deadline": "2s"},
        agent_service={
            "allow": ["GET /**", "POST /ok"],
            "headers": {"X-Upstream-Key": {"file": str(secret)}},
            "upgrades": ["echo"],
        },
    ).start()
    answer_fields = [("Set-Cookie", f"id={fresh('an answers cookie')}"), ("X-Token", fresh("an answers token"))]
    tunnel.upstream.on("/ok", reply(200, answer_fields, fresh("an answers body").encode()))
    tunnel.upstream.on("/broken", breaks_off)
    tunnel.upstream.on("/nonsense", raw_reply(fresh("nonsense").encode() + b"\r\n\r\n", close=True))
    tunnel.upstream.on("/bad", raw_reply(b"HTTP/1.1 200 OK\r\nX-Bad Name: " + fresh("bad").encode() + b"\r\n\r\n"))
    tunnel.upstream.on("/hang", scripts.no_answer)
    query = f"?token={fresh('a token in the query')}&noms={fresh('personal data')}"
    body = fresh("a body").encode()

    assert tunnel.fetch(f"/ok{query}", *fields, method="POST", body=body).status == 200
    assert tunnel.upstream.only("/ok").all("x-upstream-key") == [injected.encode()]
    assert tunnel.fetch(f"/refused{query}", *fields, method="POST", body=body).status == 403
    assert tunnel.fetch(f"/a/../b{query}", *fields).status in (400, 403)
    assert tunnel.fetch(f"/nonsense{query}", *fields).status == 502
    assert tunnel.fetch(f"/bad{query}", *fields).status == 502
    assert tunnel.fetch(f"/hang{query}", *fields).status == 504
    assert tunnel.fetch(f"/ok{query}", *fields, host="unknown.example").status == 404
    assert tunnel.fetch(f"http://{HOST}/ok{query}", *fields).status == 200
    for target, broken in (
        (f"/broken{query}", []),
        (f"/ok{query}", [f"Bad Name: {fresh('a bad fields value')}"]),
        (f"/ok{query}", ["Content-Length: 1", f"Content-Length: {fresh('a bad length')}"]),
        (f"/ok{query} {fresh('a bad version')}", []),
        (f"/ok{query}#{fresh('a fragment')}", []),
        (f"http://user:{fresh('a password in the uri')}@{HOST}/ok", []),
    ):
        with tunnel.raw() as caller:
            caller.start("GET", target, *fields, *broken)
            caller.read_some()
    _speak_to_the_other_listeners(tunnel, fields, query)
    _trouble(tunnel, fields, query)
    for program in (tunnel.agent, tunnel.hub):
        assert program.stop() == 0
        assert program.mark() > SHORTEST
    assert FINDINGS[before:] == []


def _speak_to_the_other_listeners(tunnel: Tunnel, fields: list[str], query: str) -> None:
    """A caller who confuses the ports; half a websocket; nonsense at each listener."""
    head = "\r\n".join([f"GET /tunnel{query} HTTP/1.1", "Host: h", *fields]) + "\r\n"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    assert tunnel.hub.admin_url is not None
    ports = (tunnel.hub.agents_port, int(tunnel.hub.admin_url.rpartition(":")[2]), tunnel.hub.callers_port)
    for port in ports:
        for request in (
            head + "\r\n",
            head + upgrade + "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            head + upgrade + f"Sec-WebSocket-Key: {fresh('a websocket key')}\r\n\r\n",
            head + f"no field {fresh('a line that is no field')}\r\n\r\n",
            f"{fresh('a line that is no request')}\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), 5) as caller:
                caller.sendall(request.encode())
                caller.settimeout(2)
                caller.recv(65536)


def _trouble(tunnel: Tunnel, fields: list[str], query: str) -> None:
    """Reloads good and bad, a wrong proxy password, a key that is none, a hub that is gone."""
    agent, hub = tunnel.agent, tunnel.hub
    for program in (agent, hub):
        mark = program.mark()
        program.signal(signal.SIGHUP)
        program.wait_log("reload", since=mark)
    good = agent.config_file.read_text()
    mark = agent.mark()
    agent.config_file.write_text(good + f'\n[services.other]\npassword = "{fresh("a secret in the file")}"\n')
    agent.signal(signal.SIGHUP)
    agent.wait_log("reload", since=mark)
    assert agent.check().returncode == 2
    agent.write_config()
    assert tunnel.proxy is not None
    tunnel.proxy.password = "changed meanwhile"
    hub.stop()
    hub.start()
    hub.wait_alive()
    agent.wait_log("407", timeout=20)
    assert tunnel.fetch(f"/ok{query}", *fields).status == 503
    assert agent.check().returncode != 0
    key = Path(agent.config["agent"]["key_file"])
    broken = tunnel.directory / "broken.key"
    broken.write_text(key.read_text()[:-40])
    broken.chmod(0o600)
    agent.config["agent"]["key_file"] = str(broken)
    agent.write_config()
    assert agent.check().returncode != 0
    mark = agent.mark()
    agent.signal(signal.SIGHUP)
    agent.wait_log("reload", since=mark)
