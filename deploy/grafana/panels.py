"""What a dashboard is made of: panels of Grafana itself, in the form of Grafana 10, which later ones read too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

WIDTH: Final = 24
"""Columns of Grafana's grid."""

HEIGHTS: Final = {"stat": 4, "timeseries": 8, "table": 8}
SCHEMA: Final = 39
"""Of Grafana 10.4; older tens ignore what they do not know."""

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


class Query(NamedTuple):
    """PromQL, and how its series are called; `{{label}}` is a label's value."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """unit: one of Grafana's. width: columns of 24."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    help: str = ""
    bad_above: float | None = None
    """From here on a stat is red."""


class Row(NamedTuple):
    title: str
    panels: tuple[Panel, ...]


class Variable(NamedTuple):
    """Values of `label` in the samples of `metric`, which may have matchers of variables before it."""

    name: str
    metric: str
    label: str


def panel(title: str, *queries: tuple[str, str], **more: Any) -> Panel:
    return Panel(title, tuple(Query(*query) for query in queries), **more)


def stat(title: str, expr: str, **more: Any) -> Panel:
    return Panel(title, (Query(expr),), kind="stat", **{"width": 4, **more})


def quantiles(metric: str, matchers: str, label: str, *shares: float) -> tuple[tuple[str, str], ...]:
    """Queries for quantiles of a histogram by a label."""
    return tuple(
        (
            f"histogram_quantile({share}, sum by ({label}, le) "
            f"(rate({metric}_bucket{{{matchers}}}[$__rate_interval])))",
            f"{{{{{label}}}}} p{share * 100:g}",
        )
        for share in shares
    )


def dashboard(
    uid: str, title: str, job: str, variables: tuple[Variable, ...], rows: tuple[Row, ...]
) -> dict[str, Any]:
    return {
        "uid": uid,
        "title": title,
        "tags": ["tunnel"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [*_fixed(job), *map(_variable, variables)]},
        "panels": list(_grid(rows)),
    }


def text_of(made: dict[str, Any]) -> str:
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _fixed(job: str) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    yield {**_variable(Variable("job", "tunnel_build_info", "job")), "current": {"text": [job], "value": [job]}}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": f"label_values({variable.metric}, {variable.label})",
        "query": {"query": f"label_values({variable.metric}, {variable.label})", "refId": variable.name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }


def _grid(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    number = y = 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }
        y += 1
        x = height = 0
        for each in row.panels:
            if x + each.width > WIDTH:
                x, y, height = 0, y + height, 0
            number += 1
            height = max(height, HEIGHTS[each.kind])
            yield _panel(number, each, {"x": x, "y": y, "w": each.width, "h": HEIGHTS[each.kind]})
            x += each.width
        y += height


def _panel(number: int, each: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if each.bad_above is not None:
        steps.append({"color": "red", "value": each.bad_above})
    table = each.kind == "table"
    return {
        "id": number,
        "type": each.kind,
        "title": each.title,
        "description": each.help,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "instant": each.kind != "timeseries",
                "range": each.kind == "timeseries",
                "format": "table" if table else "time_series",
            }
            for at, query in enumerate(each.queries)
        ],
        "fieldConfig": {
            "defaults": {"unit": each.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        **(
            {"transformations": [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]}
            if table
            else {}
        ),
    }
