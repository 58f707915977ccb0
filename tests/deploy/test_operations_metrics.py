"""The alerts name only what hub and agent really show: each metric, each label, each code."""

from __future__ import annotations

import pytest

from protocol.errors import SessionCode
from tests.deploy.alerts import PROMETHEUS, Alert, alerts
from tests.deploy.troubled import Troubled, labels_of
from tunnel_hub.problems import HUB_PROBLEMS, STREAM_PROBLEMS

Shown = dict[str, set[str]]
ALERTS = alerts()
CODES = {
    *HUB_PROBLEMS,
    *(problem.code for problem in STREAM_PROBLEMS.values()),
    *(code.name.lower() for code in SessionCode),
    "",
}


@pytest.fixture(scope="module")
def shown(troubled: Troubled) -> Shown:
    """What both programs show after one request of each kind: some counters have labels only then."""
    return labels_of(*troubled.programs.values(), troubled.clone)


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
