"""`python -m deploy.grafana`: write tunnel-hub.json and tunnel-agent.json beside this file."""

from __future__ import annotations

from pathlib import Path

from deploy.grafana import agent, hub
from deploy.grafana.panels import text_of

for dashboard in (hub.DASHBOARD, agent.DASHBOARD):
    Path(__file__).with_name(f"{dashboard['uid']}.json").write_text(text_of(dashboard))
