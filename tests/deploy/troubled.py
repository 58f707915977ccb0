"""A tunnel that has met a bit of everything, so that every family of its metrics has samples."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.support.credentials import api_key, bearer, oauth_table, tokens_table, wait_keys
from tests.support.issuer import Issuer
from tests.support.keys import KeyRing
from tests.support.metrics import metric
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.programs import Agent
from tests.support.tokens import Provisioner
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

READ: Final = ["GET /nomisapi/**"]
TRACING: Final = {"endpoint": "http://127.0.0.1:1/v1/traces", "sample_ratio": 1.0}
"""Nobody takes the spans."""
BROKEN: Final = "broken.internal"
UNHEALTHY_AFTER: Final = 3


class Shown(NamedTuple):
    """One family as a program shows it; `labels` are those of its samples, None without any."""

    kind: str
    help: str
    labels: frozenset[str] | None


class Troubled:
    """Hub, agent, and a clone of the agent whose upstream is down. Call `close` at the end."""

    def __init__(self, folder: Path) -> None:
        self.issuer = Issuer()
        self.key = api_key()
        nowhere = f"http://127.0.0.1:{free_port()}"
        callers = {
            "authentication": "required",
            "tokens": tokens_table(folder / "provisioning.pem", Provisioner(), revocations=self.issuer.feed.url),
            "oauth": {"auth": oauth_table(self.issuer)},
            "named": {
                "booking": {"api_keys": [self.key.hash], "allow": {"visits": ["* /**"], "broken": ["* /**"]}}
            },
        }
        keys = KeyRing(folder)
        self.tunnel = tunnel = Tunnel(
            folder,
            keys,
            tls=True,
            hub_options={
                "tracing": TRACING,
                "callers": callers,
                "services": {"broken": {"hosts": [BROKEN]}},
                "agents": {"leeds-1": {"services": ["visits", "broken"]}},
            },
            agent_service={"allow": READ},
            agent_options={
                "tracing": TRACING,
                "services": {"broken": {"upstream": nowhere, "allow": READ}},
                "limits": {"reconnect_max": "500ms"},
            },
        )
        [hub] = tunnel.agent.config["hubs"]
        self.clone = Agent(
            folder / "clone",
            keys.agent("leeds-1"),
            hubs=[hub],
            services={"visits": {"upstream": nowhere, "allow": READ, "unhealthy_after": UNHEALTHY_AFTER}},
        )
        self.stranger = Agent(
            folder / "stranger",
            keys.agent("leeds-9"),
            name="leeds-9",
            hubs=[hub],
            services=self.clone.config["services"],
        )

    @property
    def programs(self) -> Mapping[str, Program]:
        return {"tunnel-hub": self.tunnel.hub, "tunnel-agent": self.tunnel.agent}

    def start(self) -> None:
        tunnel = self.tunnel
        tunnel.upstream.on("/nomisapi/x", reply())
        tunnel.agent.start()
        tunnel.agent.wait_log("no session")
        tunnel.start()
        tunnel.wait_sessions(2)
        self.stranger.start()
        self.clone.start()
        wait_keys(tunnel, self.issuer)
        tunnel.wait_sessions(4)
        self.stranger.wait_log("no session")
        self.stranger.close()
        tunnel.agent.config["hubs"][0]["sessions"] = 1
        tunnel.agent.write_config()
        tunnel.agent.signal(signal.SIGHUP)
        tunnel.wait_sessions(3)
        self.stir()
        wait_until(lambda: metric(tunnel.hub, "tunnel_hub_repeats_total"), "a request that was sent again")

    def stir(self) -> None:
        """One request of each kind."""
        tunnel, key = self.tunnel, self.key.field
        for _ in range(2 * UNHEALTHY_AFTER):
            assert tunnel.fetch("/nomisapi/x", key).status == 200
        assert tunnel.fetch("/nomisapi/x", key, host=BROKEN).status == 503
        assert tunnel.fetch("/nomisapi/x").status == 401
        assert tunnel.fetch("/nomisapi/x", bearer(self.issuer.token("stranger"))).status == 403
        assert tunnel.fetch("/not/allowed", key).status == 403
        with tunnel.raw() as caller:
            caller.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
            assert caller.answer("GET").status == 400

    def close(self) -> None:
        self.stranger.close()
        self.clone.close()
        self.tunnel.close()
        self.issuer.close()


def families_of(*programs: Program) -> dict[str, Shown]:
    """What the programs show together, by the names of queries (`_total` for counters)."""
    found: dict[str, Shown] = {}
    for program in programs:
        for family in text_string_to_metric_families(program.admin("/metrics").text):
            if family.name.endswith("_created"):
                continue
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = [frozenset(sample.labels) - {"le"} for sample in family.samples]
            before = found.get(name)
            if not labels and before is not None:
                continue
            assert len(set(labels)) <= 1, f"samples of {name} have different labels"
            found[name] = Shown(family.type, family.documentation, labels[0] if labels else None)
    return found


def labels_of(*programs: Program) -> dict[str, set[str]]:
    """The labels of each metric's samples, by the names that queries use, `_bucket` and such included."""
    found: dict[str, set[str]] = defaultdict(set)
    for program in programs:
        for family in text_string_to_metric_families(program.admin("/metrics").text):
            for sample in family.samples:
                found[sample.name] |= set(sample.labels)
    return found
