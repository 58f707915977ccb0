"""`run --learn`: what it writes of the visit story is a list that serves the same story, without its names."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

from tests.support import story
from tests.support.process import run_once
from tests.support.programs import VisitsApi
from tests.support.tunnel import HOST, Tunnel

MakeTunnel = Callable[..., Tunnel]

UNKNOWN = ("A1475AE", "A1484AE", "1979", "1057307", "LEI", "2018", "15:36", "5905", "secret")


def test_what_the_visit_story_teaches(make_tunnel: MakeTunnel, visits_api: VisitsApi) -> None:
    allow = ["GET /**", "POST /nomisapi/**", "PATCH /**"]
    tunnel = make_tunnel(upstream_url=visits_api.url, agent_service={"allow": allow})
    agent = tunnel.agent
    file = tunnel.directory / "learned.toml"
    agent.arguments += ["--learn", str(file)]
    tunnel.start()
    story.tell(tunnel.client)
    with tunnel.socket() as connection:
        story.echo(connection, HOST)
    assert tunnel.fetch("/nomisapi/offenders/A1484AE/image", method="DELETE").status == 403
    agent.stop()
    text = file.read_text()
    for word in UNKNOWN:
        assert word not in text
    learned = tomllib.loads(text)["services"]["visits"]["allow"]
    assert "GET /nomisapi/lookup/active_offender?date_of_birth&noms_id" in learned
    assert "GET /nomisapi/offenders/*/image?" in learned
    assert "POST /nomisapi/offenders/*/visits/booking?" in learned
    assert '# refused: "DELETE /nomisapi/offenders/*/image?",' in text
    assert not any("**" in rule or rule.startswith("*") for rule in learned)

    agent.arguments = agent.arguments[:-2]
    agent.config["services"]["visits"]["allow"] = learned
    agent.write_config()
    tunnel.start()
    story.tell(tunnel.client, reference="ref-2")
    with tunnel.socket() as connection:
        story.echo(connection, HOST)
    for target in ("/nomisapi/version", "/nomisapi/offenders/A1484AE/image?size=1", "/ledger"):
        assert tunnel.fetch(target).status in (403, 404)
    assert agent.explain("GET", "/nomisapi/lookup/active_offender?noms_id=1").returncode == 0
    assert agent.explain("GET", "/nomisapi/lookup/active_offender?noms_id=1&noms_id=2").returncode == 1


def test_a_file_that_cannot_be_written(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    done = run_once(
        *("tunnel_agent.cli", "run", "--config", str(tunnel.agent.config_file)),
        *("--learn", str(tunnel.directory / "nowhere" / "x.toml")),
    )
    assert done.returncode == 1
    assert "--learn cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
