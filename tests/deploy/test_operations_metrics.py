"""The alerts name only what hub and agent really show: each metric, each label, each code."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.alerts import PROMETHEUS, RULES, Alert, alerts
from tests.support.credentials import READ, api_key, bearer, oauth_table, tokens_table, wait_keys
from tests.support.issuer import Issuer
from tests.support.keys import KeyRing
from tests.support.process import Program
from tests.support.tokens import Provisioner
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until
from tunnel_hub.problems import HUB_PROBLEMS, STREAM_PROBLEMS

Shown = dict[str, set[str]]
ALERTS = alerts()
CODES = {*HUB_PROBLEMS, *(problem.code for problem in STREAM_PROBLEMS.values()), ""}


def shown_by(program: Program) -> Shown:
    """The labels of each metric's samples, by the names that queries use."""
    found: Shown = defaultdict(set)
    for family in text_string_to_metric_families(program.admin("/metrics").text):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """What both programs show after one request of each kind: some counters have labels only then."""
    folder = tmp_path_factory.mktemp("alerts")
    issuer = Issuer()
    key = api_key()
    callers = {
        "authentication": "required",
        "tokens": tokens_table(folder / "provisioning.pem", Provisioner(), revocations=issuer.feed.url),
        "oauth": {"auth": oauth_table(issuer)},
        "named": {"booking": {"api_keys": [key.hash], "allow": {"visits": ["* /**"]}}},
    }
    tunnel = Tunnel(
        folder,
        KeyRing(folder),
        hub_options={"callers": callers},
        agent_service={"allow": READ["visits"]},
    )
    try:
        tunnel.upstream.on("/nomisapi/x", reply())
        tunnel.start()
        wait_keys(tunnel, issuer)
        assert tunnel.fetch("/nomisapi/x", key.field).status == 200
        assert tunnel.fetch("/nomisapi/x").status == 401
        assert tunnel.fetch("/nomisapi/x", bearer(issuer.token("stranger"))).status == 403
        assert tunnel.fetch("/not/allowed", key.field).status == 403
        with tunnel.raw() as caller:
            caller.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
            assert caller.answer("GET").status == 400
        together: Shown = defaultdict(set)

        def look() -> bool:
            for program in (tunnel.hub, tunnel.agent):
                for name, labels in shown_by(program).items():
                    together[name] |= labels
            return "code" in together["tunnel_hub_requests_refused_total"]

        wait_until(look, "the counters")
        yield together
    finally:
        tunnel.close()
        issuer.close()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_metric_and_label_is_there(alert: Alert, shown: Shown) -> None:
    metrics = alert.metrics - {"up"}  # of Prometheus itself
    assert alert.metrics
    assert metrics <= set(shown)
    for metric, label, _ in alert.matchers:
        assert label in PROMETHEUS or label in shown[metric], f"{metric} has no label {label}"
    everywhere = set.intersection(*(shown[metric] for metric in metrics)) if metrics else set()
    somewhere = set.union(*(shown[metric] for metric in metrics)) if metrics else set()
    assert (alert.kept or set()) <= everywhere
    assert alert.dropped <= somewhere
    left = (everywhere | PROMETHEUS) - alert.dropped if alert.kept is None else alert.kept
    assert alert.shown <= left, "the summary shows what is not there"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_code_is_one_of_ours(alert: Alert) -> None:
    codes = {value for _, label, value in alert.matchers if label == "code"}
    assert codes <= CODES


def test_the_alerts_use_what_the_issue_names() -> None:
    """A name that the reader above passes over would hold nothing."""
    metrics = set.union(*(alert.metrics for alert in ALERTS))
    assert {"tunnel_hub_sessions", "tunnel_loop_lag_worst_seconds", "tunnel_unexpected_errors_total"} <= metrics
    assert {"tunnel_hub_evictions_total", "tunnel_hub_requests_total", "tunnel_hub_feed_age_seconds"} <= metrics
    assert all(name == "up" or name.startswith(("tunnel_", "process_")) for name in metrics)


def test_prometheus_can_read_the_file(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here: it is in Debian's package prometheus")
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout
