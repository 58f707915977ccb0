"""The boundary as callers see it: which kind of rule refused is said, and nothing of it reaches the upstream."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.keys import KeyRing
from tests.support.problems import assert_problem
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply

ALLOW = ["GET /nomisapi/lookup?noms_id&date_of_birth", "GET /nomisapi/health?", "* /nomisapi/free/**"]
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
NO_RULE, KEYS = "no rule of the agent allows", "do not allow these query keys"
READ_ONLY = "is read-only at the agent"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Tunnel]:
    tunnel = Tunnel(
        tmp_path_factory.mktemp("guarded"),
        keys,
        agent_service={"allow": ALLOW},
        hub_options={
            "services": {"reading": {"hosts": ["reading.internal"]}},
            "agents": {"leeds-1": {"services": ["visits", "reading"]}},
        },
    )
    reading = {"upstream": tunnel.upstream.url, "allow": ["* /**"], "read_only": True}
    tunnel.agent.config["services"]["reading"] = reading
    tunnel.agent.write_config()
    tunnel.upstream.on("/nomisapi/*", reply())
    tunnel.start()
    yield tunnel
    tunnel.close()


@pytest.mark.parametrize(
    ("host", "method", "target"),
    [
        ("visits.internal", "GET", "/nomisapi/lookup"),
        ("visits.internal", "GET", "/nomisapi/lookup?noms_id=A1484AE"),
        ("visits.internal", "HEAD", "/nomisapi/lookup?date_of_birth=1979-04-23&noms_id=A%261484AE"),
        ("visits.internal", "GET", "/nomisapi/health"),
        ("visits.internal", "DELETE", "/nomisapi/free/x?any;%61=1&any=2"),
        *(("reading.internal", method, "/nomisapi/x?y") for method in ("GET", "HEAD", "OPTIONS")),
    ],
)
def test_let_in(guarded: Tunnel, host: str, method: str, target: str) -> None:
    answer = guarded.fetch(target, method=method, host=host)
    assert answer.status == 200
    assert guarded.upstream.ledger[-1].target == target.encode(), "as it was sent"


@pytest.mark.parametrize(
    ("host", "method", "target", "fields", "why"),
    [
        *(
            ("visits.internal", "GET", f"/nomisapi/lookup?{query}", (), KEYS)
            for query in (
                *(
                    "",
                    "x=1",
                    "noms_id=1&x=2",
                    "noms_id=1&noms_id=2",
                    "noms_id=1;x=2",
                    "noms%5fid=1",
                    "%6eoms_id=1",
                ),
                *("noms_id=1&", "&noms_id=1", "=1", "NOMS_ID=1", "noms_id+=1", "noms_id%00=1", "noms_id[]=1"),
            )
        ),
        ("visits.internal", "GET", "/nomisapi/health?x", (), KEYS),
        ("visits.internal", "GET", "/nomisapi/health?", (), KEYS),
        ("visits.internal", "POST", "/nomisapi/lookup?noms_id=1", (), NO_RULE),
        ("visits.internal", "GET", "/nomisapi/env", (), NO_RULE),
        *(
            ("reading.internal", method, "/nomisapi/x", (), READ_ONLY)
            for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND")
        ),
        ("reading.internal", "GET", "/nomisapi/x", UPGRADE, READ_ONLY),
    ],
)
def test_refused(guarded: Tunnel, host: str, method: str, target: str, fields: tuple[str, ...], why: str) -> None:
    before = len(guarded.upstream.ledger)
    answer = guarded.fetch(target, *fields, method=method, host=host)
    hidden = ("/nomisapi", "noms_id", "A1484AE")
    said = assert_problem(answer, 403, origin="agent", code="boundary_refused", delivered="no", hidden=hidden)
    assert why in said["detail"]
    assert len(guarded.upstream.ledger) == before
