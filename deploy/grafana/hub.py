"""The dashboard of all hubs, and of what they see of callers and agents."""

from __future__ import annotations

from deploy.grafana.common import AT, PROCESS, flow
from deploy.grafana.panels import Row, Variable, dashboard, panel, quantiles, stat

SERVICE = f'{AT}, service=~"$service"'
AGENT = f'{AT}, agent=~"$agent"'
RATE = "[$__rate_interval]"
OURS = 'status=~"5..", code!=""'

DASHBOARD = dashboard(
    "tunnel-hub",
    "Tunnel: hubs",
    "tunnel-hub",
    (
        Variable("instance", 'tunnel_hub_connections{job=~"$job"}', "instance"),
        Variable("service", f"tunnel_hub_requests_in_flight{{{AT}}}", "service"),
        Variable("agent", f"tunnel_hub_sessions{{{AT}}}", "agent"),
    ),
    (
        Row(
            "Now",
            (
                stat("Hubs that answer", 'sum(up{job=~"$job", instance=~"$instance"})'),
                stat(
                    "Requests a second", f"sum(rate(tunnel_hub_requests_total{{{SERVICE}}}{RATE}))", unit="reqps"
                ),
                stat(
                    "Failed in the tunnel",
                    f"(sum(rate(tunnel_hub_requests_total{{{SERVICE}, {OURS}}}{RATE})) or vector(0))"
                    f" / sum(rate(tunnel_hub_requests_total{{{SERVICE}}}{RATE}))",
                    unit="percentunit",
                    bad_above=0.02,
                    help="TunnelErrorRatio",
                ),
                stat("Sessions now", f"sum(tunnel_hub_sessions{{{AGENT}}})"),
                stat(
                    "Services without agent",
                    f"count(tunnel_hub_service_sessions{{{SERVICE}}} == 0) or vector(0)",
                    bad_above=1,
                    help="TunnelServiceWithoutAgent",
                ),
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
                    "By service",
                    (f"sum by (service) (rate(tunnel_hub_requests_total{{{SERVICE}}}{RATE}))", ""),
                    unit="reqps",
                ),
                panel(
                    "By status",
                    (f"sum by (status) (rate(tunnel_hub_requests_total{{{SERVICE}}}{RATE}))", ""),
                    unit="reqps",
                ),
                panel(
                    "Answered by the tunnel itself, by code",
                    (f'sum by (service, code) (rate(tunnel_hub_requests_total{{{SERVICE}, code!=""}}{RATE}))', ""),
                    unit="reqps",
                    help="TunnelErrorRatio has what each code means",
                ),
                panel(
                    "How long they take",
                    *quantiles("tunnel_hub_request_seconds", SERVICE, "service", 0.5, 0.95, 0.99),
                    unit="s",
                ),
                panel(
                    "Where the time goes: p95 by phase",
                    *quantiles("tunnel_hub_phase_seconds", SERVICE, "phase", 0.95),
                    unit="s",
                    help="TunnelLatencyHigh",
                ),
                panel(
                    "Running, and waiting",
                    (f"sum by (service) (tunnel_hub_requests_in_flight{{{SERVICE}}})", "{{service}} running"),
                    (f"sum by (service) (tunnel_hub_requests_held{{{SERVICE}}})", "{{service}} waiting"),
                ),
                panel(
                    "Waiting for a session or their turn",
                    *quantiles("tunnel_hub_queue_seconds", SERVICE, "service", 0.5, 0.95),
                    unit="s",
                    help="Of those that had to wait",
                ),
                panel(
                    "Had to wait, gave way",
                    (f"sum by (service) (rate(tunnel_hub_holds_total{{{SERVICE}}}{RATE}))", "{{service}} waited"),
                    (
                        f"sum by (service) (rate(tunnel_hub_evictions_total{{{SERVICE}}}{RATE}))",
                        "{{service}} gave way",
                    ),
                    unit="reqps",
                    help="TunnelOverload",
                ),
                panel(
                    "Sent again, by what had failed",
                    (f"sum by (service, reason) (rate(tunnel_hub_repeats_total{{{SERVICE}}}{RATE}))", ""),
                    unit="reqps",
                ),
                panel(
                    "Bodies",
                    (
                        f"sum by (service) (rate(tunnel_hub_received_bytes_total{{{SERVICE}}}{RATE}))",
                        "{{service}} from callers",
                    ),
                    (
                        f"sum by (service) (rate(tunnel_hub_sent_bytes_total{{{SERVICE}}}{RATE}))",
                        "{{service}} to callers",
                    ),
                    unit="Bps",
                ),
            ),
        ),
        Row(
            "Callers",
            (
                panel(
                    "By caller",
                    (f"sum by (caller) (rate(tunnel_hub_caller_requests_total{{{AT}}}{RATE}))", ""),
                    unit="reqps",
                ),
                panel(
                    "How long they take: p95",
                    *quantiles("tunnel_hub_caller_seconds", AT, "caller", 0.95),
                    unit="s",
                ),
                panel(
                    "Refused by the gate, by code",
                    (f"sum by (code) (rate(tunnel_hub_gate_refusals_total{{{AT}}}{RATE}))", ""),
                    unit="reqps",
                    help="TunnelAuthenticationFailing",
                ),
                panel(
                    "Credentials verified, by means",
                    (f"sum by (means) (rate(tunnel_hub_credentials_verified_total{{{AT}}}{RATE}))", ""),
                    unit="reqps",
                ),
                panel(
                    "Age of feeds",
                    (f"tunnel_hub_feed_age_seconds{{{AT}}}", "{{instance}} {{feed}}"),
                    unit="s",
                    help="TunnelFeedStale",
                ),
                panel(
                    "Connections, and refused on them",
                    (f"tunnel_hub_connections{{{AT}}}", "{{instance}} open"),
                    (
                        f"sum by (code) (rate(tunnel_hub_requests_refused_total{{{AT}}}{RATE}))",
                        "{{code}} a second",
                    ),
                    (f"sum(rate(tunnel_hub_requests_unrouted_total{{{AT}}}{RATE}))", "for no service, a second"),
                ),
            ),
        ),
        Row(
            "Agents",
            (
                panel(
                    "Sessions", (f"sum by (agent) (tunnel_hub_sessions{{{AGENT}}})", ""), help="TunnelAgentGone"
                ),
                panel("Round trip", (f"max by (agent) (tunnel_hub_round_trip_seconds{{{AGENT}}})", ""), unit="s"),
                panel(
                    "Age of the oldest session",
                    (f"max by (agent) (tunnel_hub_session_age_seconds{{{AGENT}}})", ""),
                    unit="s",
                ),
                panel(
                    "Sessions ended, by why",
                    (f"sum by (agent, code) (increase(tunnel_hub_sessions_ended_total{{{AGENT}}}{RATE}))", ""),
                    help="TunnelSessionsFlapping, TunnelSessionsSilent",
                ),
                panel(
                    "Established, and refused by why",
                    (f"sum(increase(tunnel_hub_sessions_established_total{{{AT}}}{RATE}))", "established"),
                    (f"sum by (code) (increase(tunnel_hub_agents_refused_total{{{AT}}}{RATE}))", "{{code}}"),
                    help="TunnelAgentsRefused",
                ),
                panel(
                    "Upstream down, by service",
                    (f'sum by (service) (tunnel_hub_service_agents{{{SERVICE}, upstream="down"}})', ""),
                    help="TunnelUpstreamDown: agents that say so",
                ),
                panel(
                    "Switched off, stopped, drained",
                    (f"tunnel_hub_switched_off{{{SERVICE}}}", "{{service}} off at {{instance}}"),
                    (f"tunnel_hub_agents_stopped{{{AT}}}", "agents stopped at {{instance}}"),
                    (f"tunnel_hub_drained{{{AT}}}", "{{instance}} drained"),
                ),
                panel(
                    "Processes with one id",
                    (f"max by (agent) (tunnel_hub_agent_instances{{{AGENT}}})", ""),
                    (
                        f"sum by (agent) (increase(tunnel_hub_agent_duplicates_total{{{AGENT}}}{RATE}))",
                        "{{agent}} came",
                    ),
                    help="TunnelDuplicateAgent",
                ),
                panel(
                    "Clock ahead of the hub's",
                    (f"tunnel_hub_clock_skew_seconds{{{AGENT}}}", "{{agent}}"),
                    unit="s",
                    help="TunnelClockSkew",
                ),
                panel("Streams", (f"sum by (agent) (tunnel_hub_streams{{{AGENT}}})", "")),
            ),
        ),
        Row(
            "What holds up, what is lost",
            (
                *flow("hub", "Uploads"),
                panel(
                    "Memory of bodies that may be sent again",
                    (f"tunnel_hub_kept_bytes{{{AT}}}", "{{instance}}"),
                    unit="bytes",
                ),
                panel(
                    "Lines lost",
                    (
                        f"increase(tunnel_hub_access_lines_dropped_total{{{AT}}}{RATE})",
                        "{{instance}} access, reader too slow",
                    ),
                    (
                        f"increase(tunnel_hub_access_lines_failed_total{{{AT}}}{RATE})",
                        "{{instance}} access, not written",
                    ),
                    (f"increase(tunnel_hub_audit_lines_lost_total{{{AT}}}{RATE})", "{{instance}} audit"),
                    help="TunnelAuditLinesLost, TunnelAccessLinesDropped",
                ),
            ),
        ),
        PROCESS,
    ),
)
