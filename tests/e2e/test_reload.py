"""SIGHUP: the file is read again; a bad one leaves the old one in force; what runs is not cut."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.support.tunnel import Tunnel
from tests.support.upstream import reply

MakeTunnel = Callable[..., Tunnel]


def test_the_agents_boundary_changes(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(agent_service={"allow": ["GET /nomisapi/**"]}).start()
    tunnel.upstream.on("/nomisapi/x", reply())
    assert tunnel.get("/nomisapi/x").status_code == 200
    assert tunnel.client.post("/nomisapi/x", content=b"{}").status_code == 403
    mark = tunnel.agent.mark()
    tunnel.agent.config["services"]["visits"]["allow"] = ["POST /nomisapi/**"]
    tunnel.agent.write_config()
    tunnel.agent.signal(signal.SIGHUP)
    tunnel.agent.wait_log("configuration reloaded", since=mark)
    assert tunnel.client.post("/nomisapi/x", content=b"{}").status_code == 200
    assert tunnel.get("/nomisapi/x").status_code == 403


def test_the_hubs_services_change(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/other/x", reply())
    assert tunnel.fetch("/other/x", host="elsewhere.internal").status == 404
    mark = tunnel.hub.mark()
    tunnel.hub.config["services"]["visits"]["paths"] = ["/nomisapi/", "/other/"]
    tunnel.hub.write_config()
    tunnel.hub.signal(signal.SIGHUP)
    tunnel.hub.wait_log("configuration reloaded", since=mark)
    assert tunnel.fetch("/other/x", host="elsewhere.internal").status == 200


def test_a_bad_file_leaves_the_old_one_in_force(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/nomisapi/x", reply())
    for program in (tunnel.hub, tunnel.agent):
        mark = program.mark()
        program.config_file.write_text(program.config_file.read_text() + "\n[servcies.visits]\n")
        program.signal(signal.SIGHUP)
        line = program.wait_log("the new configuration is not used", since=mark)
        assert "services" in line
        assert tunnel.get("/nomisapi/x").status_code == 200
