"""Rows that both dashboards have."""

from __future__ import annotations

from deploy.grafana.panels import Panel, Row, panel

AT = 'job=~"$job", instance=~"$instance"'


def flow(program: str, what: str) -> tuple[Panel, ...]:
    """Who waits for credit or for a socket. what: the bodies that do."""
    return (
        panel(
            f"{what} that wait for credit",
            (f"tunnel_{program}_streams_stalled{{{AT}}}", "{{instance}}"),
            help="TunnelStreamsStalled",
        ),
        panel(
            "Time lost, seconds a second",
            (
                f"rate(tunnel_{program}_credit_stall_seconds_total{{{AT}}}[$__rate_interval])",
                "{{instance}} credit",
            ),
            (f"rate(tunnel_{program}_write_pause_seconds_total{{{AT}}}[$__rate_interval])", "{{instance}} socket"),
            help="So many streams, or sessions' sockets, waited at a time",
        ),
        panel(
            "Memory of grown windows",
            (f"tunnel_{program}_window_memory_bytes{{{AT}}}", "{{instance}}"),
            unit="bytes",
        ),
    )


PROCESS = Row(
    "Processes",
    (
        panel(
            "Processor",
            (f"rate(process_cpu_seconds_total{{{AT}}}[$__rate_interval])", "{{instance}}"),
            unit="percentunit",
        ),
        panel("Memory", (f"process_resident_memory_bytes{{{AT}}}", "{{instance}}"), unit="bytes"),
        panel(
            "Event loop: worst lag",
            (f"tunnel_loop_lag_worst_seconds{{{AT}}}", "{{instance}}"),
            unit="s",
            help="TunnelLoopLag",
        ),
        panel(
            "File descriptors used",
            (f"process_open_fds{{{AT}}} / process_max_fds{{{AT}}}", "{{instance}}"),
            unit="percentunit",
            help="TunnelFilesRunningOut",
        ),
        panel(
            "Unexpected errors",
            (f"increase(tunnel_unexpected_errors_total{{{AT}}}[$__rate_interval])", "{{instance}}"),
        ),
        panel(
            "Spans, by what became of them",
            (f"sum by (outcome) (rate(tunnel_trace_spans_total{{{AT}}}[$__rate_interval]))", ""),
            (f"sum(rate(tunnel_trace_requests_skipped_total{{{AT}}}[$__rate_interval]))", "requests not recorded"),
            help="TunnelSpansLost",
        ),
        panel("Tasks", (f"tunnel_asyncio_tasks{{{AT}}}", "{{instance}}")),
        panel("Builds", (f"tunnel_build_info{{{AT}}}", ""), kind="table", width=12),
        panel(
            "What ends",
            (f"sort(tunnel_expires_timestamp_seconds{{{AT}}} - time())", ""),
            kind="table",
            width=12,
            unit="s",
            help="TunnelExpiresIn30Days",
        ),
    ),
)
