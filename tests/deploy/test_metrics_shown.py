"""docs/metrics.md names every metric that running programs show, with text and labels, and no other."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics import parser as openmetrics

from protocol.ops import metrics, metrics_table
from protocol.ops.metrics import Family
from tests.deploy.alerts import ROOT
from tests.deploy.troubled import Shown, Troubled, families_of
from tunnel_agent import families as agent
from tunnel_hub import families as hub

FILE = ROOT / "docs" / "metrics.md"
LIBRARY = {name for name in re.findall(r"`(\w+)`", FILE.read_text()) if name.startswith(("process_", "python_"))}
"""What the client library adds."""

BOTH = metrics.FAMILIES


@pytest.fixture(scope="module")
def shown(troubled: Troubled) -> dict[str, dict[str, Shown]]:
    return {
        "hub": families_of(troubled.tunnel.hub),
        "agent": families_of(troubled.tunnel.agent, troubled.clone),
    }


def test_the_table_is_made_from_the_families() -> None:
    text = FILE.read_text()
    assert metrics_table.rewrite(text) == text, f"run: python -m {metrics_table.__name__} docs/metrics.md"
    assert [f"tunnel_{each}" for each in ("hub", "agent")] == [
        name.partition(".")[0] for name in re.findall(r"<!-- metrics: (tunnel_[\w.]+)", text)
    ]


@pytest.mark.parametrize("families", [BOTH, hub.FAMILIES, agent.FAMILIES], ids=["both", "hub", "agent"])
def test_the_names_are_as_prometheus_wants_them(families: tuple[Family, ...]) -> None:
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"tunnel_[a-z_]+", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert family.kind != "histogram" or family.name.endswith("_seconds")
        assert "|" not in family.help
        assert not family.help.endswith(".")


@pytest.mark.parametrize(("program", "own"), [("hub", hub.FAMILIES), ("agent", agent.FAMILIES)])
def test_a_running_program_shows_what_is_documented(
    program: str, own: tuple[Family, ...], shown: dict[str, dict[str, Shown]]
) -> None:
    found = shown[program]
    assert found.keys() - LIBRARY == {family.shown for family in (*BOTH, *own)}
    assert found.keys() >= LIBRARY
    for family in (*BOTH, *own):
        kind, text, labels = found[family.shown]
        assert (kind, text) == (family.kind, family.help)
        assert labels == set(family.labels), f"{family.name}: other labels, or no sample"


@pytest.mark.parametrize("program", ["tunnel-hub", "tunnel-agent"])
def test_openmetrics_is_there_for_who_asks(program: str, troubled: Troubled) -> None:
    import httpx

    url = troubled.programs[program].admin_url
    answer = httpx.get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"}, trust_env=False)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert len(list(openmetrics.text_string_to_metric_families(answer.text))) > 30
