"""docs/operations.md: a runbook for each alert and no other; commands, files and places that are there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from protocol.ops.metrics import FAMILIES
from tests.deploy.alerts import ROOT, Alert, alerts
from tunnel_agent.cli import main as agent
from tunnel_agent.families import FAMILIES as agent_shows
from tunnel_hub.cli import main as hub
from tunnel_hub.families import FAMILIES as hub_shows

FILE = ROOT / "docs" / "operations.md"
PAGE = FILE.read_text()
ALERTS = alerts()
_RUNBOOK = re.compile(r"^### (Tunnel\w+)\n((?:(?!#).*\n)+)", re.MULTILINE)
_COMMAND = re.compile(r"\b(tunnel-(?:hub|agent)) ([a-z][a-z-]+)((?: (?:--?[a-z]+|[A-Z]+|[\w/.…-]+))*)")
_LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")


def anchors(file: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    assert [name for name, _ in _RUNBOOK.findall(PAGE)] == [alert.name for alert in ALERTS], "in the same order"
    assert PAGE.count("\n### ") == len(ALERTS)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_leads_to_its_runbook(alert: Alert) -> None:
    file, _, anchor = alert.runbook.partition("#")
    assert ROOT / file == FILE
    assert anchor == alert.name.lower()
    assert anchor in anchors(FILE)


@pytest.mark.parametrize(("name", "text"), _RUNBOOK.findall(PAGE))
def test_a_runbook_says_what_it_means_where_to_look_and_what_to_do(name: str, text: str) -> None:
    assert re.findall(r"^- (\w+):", text, re.MULTILINE) == ["Means", "Look", "Do"]
    others = set(re.findall(r"\bTunnel[A-Z]\w+", text)) - {name}
    assert others <= {alert.name for alert in ALERTS}


def test_the_commands_exist() -> None:
    found = _COMMAND.findall(re.sub(r"\n *", " ", PAGE))
    assert len(found) > 15
    context = click.Context(click.Command("x"))
    for program, name, rest in found:
        group: click.Group = hub if program == "tunnel-hub" else agent
        if name in ("and", "on"):
            continue  # prose
        command = group.get_command(context, name)
        assert command is not None, f"{program} {name}"
        if isinstance(command, click.Group):
            first = rest.split()[0]
            command = command.get_command(context, first)
            assert command is not None, f"{program} {name} {first}"
        known = {option for each in command.params for option in each.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= known, f"{program} {name}{rest}"


def test_the_links_lead_somewhere() -> None:
    for file, anchor in _LINK.findall(PAGE):
        target = FILE if not file else FILE.parent / file
        assert target.is_file(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


def test_the_metrics_that_it_names_are_those_of_the_alerts_or_of_the_programs() -> None:
    known = {family.shown for family in (*FAMILIES, *hub_shows, *agent_shows)}
    assert set(re.findall(r"\btunnel_[a-z_]+", PAGE)) <= known


def test_it_stays_short() -> None:
    assert len(PAGE.splitlines()) < 360
