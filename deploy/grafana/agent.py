"""The dashboard of agents that are scraped: boundary, upstreams, ways to the hubs."""

from __future__ import annotations

from deploy.grafana.common import AT, PROCESS, flow
from deploy.grafana.panels import Row, Variable, dashboard, panel, quantiles, stat

SERVICE = f'{AT}, service=~"$service"'
RATE = "[$__rate_interval]"

DASHBOARD = dashboard(
    "tunnel-agent",
    "Tunnel: agents",
    "tunnel-agent",
    (
        Variable("instance", 'tunnel_agent_streams{job=~"$job"}', "instance"),
        Variable("service", f"tunnel_agent_requests_total{{{AT}}}", "service"),
    ),
    (
        Row(
            "Now",
            (
                stat("Agents that answer", 'sum(up{job=~"$job", instance=~"$instance"})'),
                stat(
                    "Requests a second", f"sum(rate(tunnel_agent_requests_total{{{SERVICE}}}{RATE}))", unit="reqps"
                ),
                stat("Sessions now", f"sum(tunnel_agent_sessions{{{AT}}})"),
                stat(
                    "Upstreams down",
                    f"count(tunnel_agent_upstream_up{{{SERVICE}}} == 0) or vector(0)",
                    bad_above=1,
                    help="TunnelUpstreamDown",
                ),
                stat("Streams", f"sum(tunnel_agent_streams{{{AT}}})"),
                stat(
                    "Next end of a certificate",
                    f"min(tunnel_expires_timestamp_seconds{{{AT}}} - time())",
                    unit="s",
                    help="TunnelExpiresIn30Days",
                ),
            ),
        ),
        Row(
            "Requests",
            (
                panel(
                    "Let in, by service",
                    (f"sum by (service) (rate(tunnel_agent_requests_total{{{SERVICE}}}{RATE}))", ""),
                    unit="reqps",
                ),
                panel(
                    "The upstream's answers, by class",
                    (f"sum by (service, status) (rate(tunnel_agent_answers_total{{{SERVICE}}}{RATE}))", ""),
                    unit="reqps",
                ),
                panel(
                    "Failed at the upstream, by code",
                    (f"sum by (service, code) (rate(tunnel_agent_failures_total{{{SERVICE}}}{RATE}))", ""),
                    unit="reqps",
                ),
                panel(
                    "Refused by the boundary, by code",
                    (f"sum by (service, code) (rate(tunnel_agent_refusals_total{{{SERVICE}}}{RATE}))", ""),
                    unit="reqps",
                    help="TunnelBoundaryRefusing",
                ),
                panel(
                    "Waiting for a connection",
                    *quantiles("tunnel_agent_queue_seconds", SERVICE, "service", 0.5, 0.95),
                    unit="s",
                    help="Of those that had to wait",
                ),
                panel("Waiting now", (f"sum by (service) (tunnel_agent_upstream_waiting{{{SERVICE}}})", "")),
            ),
        ),
        Row(
            "Upstreams",
            (
                panel(
                    "Up",
                    (f"min by (service) (tunnel_agent_upstream_up{{{SERVICE}}})", ""),
                    help="TunnelUpstreamDown",
                ),
                panel(
                    "Connections",
                    (f"sum by (service, state) (tunnel_agent_upstream_connections{{{SERVICE}}})", ""),
                ),
                panel(
                    "Opened, and used again",
                    (
                        f"sum by (service) (rate(tunnel_agent_upstream_connects_total{{{SERVICE}}}{RATE}))",
                        "{{service}} opened",
                    ),
                    (
                        f"sum by (service) (rate(tunnel_agent_upstream_reuses_total{{{SERVICE}}}{RATE}))",
                        "{{service}} used again",
                    ),
                    unit="reqps",
                ),
                panel(
                    "Could not be opened, by why",
                    (
                        "sum by (service, code) "
                        f"(rate(tunnel_agent_upstream_connect_failures_total{{{SERVICE}}}{RATE}))",
                        "",
                    ),
                    unit="reqps",
                ),
                panel(
                    "Health checks",
                    (f"sum by (service, result) (rate(tunnel_agent_health_checks_total{{{SERVICE}}}{RATE}))", ""),
                    unit="reqps",
                ),
            ),
        ),
        Row(
            "Hubs",
            (
                panel(
                    "Sessions",
                    (f"tunnel_agent_sessions{{{AT}}}", "{{instance}} {{hub}}"),
                    help="TunnelAgentWithoutHub",
                ),
                panel(
                    "Round trip", (f"tunnel_agent_round_trip_seconds{{{AT}}}", "{{instance}} {{hub}}"), unit="s"
                ),
                panel(
                    "Age of the oldest session",
                    (f"tunnel_agent_session_age_seconds{{{AT}}}", "{{instance}} {{hub}}"),
                    unit="s",
                ),
                panel(
                    "Tried again, by what had failed",
                    (f"sum by (hub, cause) (increase(tunnel_agent_reconnects_total{{{AT}}}{RATE}))", ""),
                ),
                panel(
                    "Established, and ended by why",
                    (
                        f"sum by (hub) (increase(tunnel_agent_sessions_established_total{{{AT}}}{RATE}))",
                        "{{hub}} established",
                    ),
                    (
                        f"sum by (hub, code) (increase(tunnel_agent_sessions_ended_total{{{AT}}}{RATE}))",
                        "{{hub}} {{code}}",
                    ),
                ),
                panel(
                    "Clock ahead of the hub's",
                    (f"tunnel_agent_clock_skew_seconds{{{AT}}}", "{{instance}} {{hub}}"),
                    unit="s",
                ),
            ),
        ),
        Row(
            "What holds up, what is lost",
            (
                *flow("agent", "Answers"),
                panel(
                    "Access lines lost",
                    (
                        f"increase(tunnel_agent_access_lines_dropped_total{{{AT}}}{RATE})",
                        "{{instance}} reader too slow",
                    ),
                    (
                        f"increase(tunnel_agent_access_lines_failed_total{{{AT}}}{RATE})",
                        "{{instance}} not written",
                    ),
                ),
                panel(
                    "Audit lines lost",
                    (f"increase(tunnel_agent_audit_lines_lost_total{{{AT}}}{RATE})", "{{instance}}"),
                ),
            ),
        ),
        PROCESS,
    ),
)
