"""Dashboards for Grafana, as JSON to import: `python -m deploy.grafana` writes them from what stands here."""
