"""deploy/grafana: what the files hold is what is written, and each query finds something in a real Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from deploy.grafana import agent, hub
from deploy.grafana.panels import DATASOURCE, WIDTH, text_of
from protocol.ops import metrics
from tests.deploy.alerts import ROOT, alerts
from tests.deploy.prometheus import NoPrometheusError, Prometheus
from tests.deploy.troubled import Troubled
from tests.support.waiting import wait_until
from tunnel_agent import families as agent_shows
from tunnel_hub import families as hub_shows

MADE: dict[str, dict[str, Any]] = {each["uid"]: each for each in (hub.DASHBOARD, agent.DASHBOARD)}
FOLDER = ROOT / "deploy" / "grafana"
PANELS = [
    pytest.param(uid, panel, id=f"{uid}: {panel['title']}")
    for uid, made in MADE.items()
    for panel in made["panels"]
    if panel["type"] != "row"
]
WINDOW = "20s"
SCRAPES = 6
ROUNDS = 3

ONLY_AFTER = {
    ("tunnel-hub", "Waiting for a session or their turn"): "a request that had to wait",
}
"""Panels that may be empty while nothing of the kind has happened."""


def queries(made: dict[str, Any]) -> Iterator[str]:
    for panel in made["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


@pytest.mark.parametrize("uid", MADE)
def test_the_files_are_what_is_written(uid: str) -> None:
    assert (FOLDER / f"{uid}.json").read_text() == text_of(MADE[uid]), "run: python -m deploy.grafana"
    assert {file.stem for file in FOLDER.glob("*.json")} == MADE.keys()
    assert json.loads((FOLDER / f"{uid}.json").read_text()) == MADE[uid]


@pytest.mark.parametrize("uid", MADE)
def test_grafana_can_lay_it_out(uid: str) -> None:
    made = MADE[uid]
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in panels]
    for panel in panels:
        assert panel["type"] in {"row", "stat", "timeseries", "table"}, "a panel of a plugin"
        assert panel["type"] == "row" or panel["datasource"] == DATASOURCE
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= WIDTH
        assert panel["type"] == "row" or titles.count(panel["title"]) == 1
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, "two panels lie on each other"


@pytest.mark.parametrize("uid", MADE)
def test_variables_are_used_and_known(uid: str) -> None:
    made = MADE[uid]
    names = {variable["name"] for variable in made["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", text_of(made)))
    assert names <= used
    assert used <= names | {"__rate_interval", "__all"}


@pytest.mark.parametrize(("uid", "own"), [("tunnel-hub", hub_shows), ("tunnel-agent", agent_shows)])
def test_every_metric_is_shown_and_every_one_that_is_shown_exists(uid: str, own: Any) -> None:
    text = " ".join(queries(MADE[uid]))
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\btunnel_\w+", text)}
    shown = {family.shown for family in own.FAMILIES} | {family.shown for family in metrics.FAMILIES}
    assert named <= shown
    left_out = {"tunnel_loop_lag_seconds", "tunnel_hub_feed_failures_total", "tunnel_hub_revoked_credentials"}
    left_out |= {"tunnel_agent_credit_stalls_total", "tunnel_agent_write_pauses_total"}
    left_out |= {"tunnel_hub_credit_stalls_total", "tunnel_hub_write_pauses_total"}
    assert shown - named <= left_out


@pytest.mark.parametrize("uid", MADE)
def test_the_alerts_that_it_names_exist(uid: str) -> None:
    known = {alert.name for alert in alerts()}
    named = {
        name for panel in MADE[uid]["panels"] for name in re.findall(r"Tunnel\w+", panel.get("description", ""))
    }
    assert named
    assert named <= known


@pytest.fixture(scope="module")
def prometheus(troubled: Troubled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen the troubled tunnel under load for some seconds."""
    try:
        prometheus = Prometheus(
            tmp_path_factory.mktemp("prometheus"), {job: [each] for job, each in troubled.programs.items()}
        )
    except NoPrometheusError as error:
        pytest.skip(str(error))
    try:
        prometheus.wait_scraped(1)
        for round_ in range(1, ROUNDS + 1):
            troubled.stir()
            prometheus.wait_scraped(1 + 2 * round_)
        yield prometheus
    finally:
        prometheus.close()


def asked(expr: str) -> str:
    """The query as Grafana sends it with all variables on "All"."""
    expr = expr.replace("$__rate_interval", WINDOW)
    return re.sub(r"\$\w+", ".*", expr)


@pytest.mark.xdist_group("prometheus")
@pytest.mark.parametrize(("uid", "panel"), PANELS)
def test_each_query_finds_something(uid: str, panel: dict[str, Any], prometheus: Prometheus) -> None:
    for target in panel["targets"]:
        expr = asked(target["expr"])
        assert "$" not in expr
        if (uid, panel["title"]) in ONLY_AFTER:
            prometheus.query(expr)
        else:
            wait_until(lambda expr=expr: prometheus.query(expr), f"data for {expr}", 15.0, every=0.3)  # type: ignore[misc]


@pytest.mark.xdist_group("prometheus")
@pytest.mark.parametrize("uid", MADE)
def test_each_variable_has_values(uid: str, prometheus: Prometheus) -> None:
    for variable in MADE[uid]["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
        if found:
            assert prometheus.query(f"count by ({found[2]}) ({asked(found[1])})"), variable["name"]
