"""What the agent shows at /metrics: docs/metrics.md is made from this.

Labels are names from the configuration.
"""

from __future__ import annotations

from typing import Final

from protocol.ops.metrics import Family, counter, gauge, histogram

# -- Requests ---------------------------------------------------------------------------------------------

REQUESTS: Final = counter("tunnel_agent_requests", "Requests let through the boundary", "service")
REFUSALS: Final = counter(
    "tunnel_agent_refusals",
    'Requests the boundary refused, by why; service "" is one that the file does not know',
    *("service", "code"),
)
FAILURES: Final = counter("tunnel_agent_failures", "Requests that failed at the upstream", "service", "code")
ANSWERS: Final = counter("tunnel_agent_answers", "The upstream's answers, by class of status", "service", "status")
STREAMS: Final = gauge("tunnel_agent_streams", "Streams that are open")

# -- Upstreams --------------------------------------------------------------------------------------------

UP: Final = gauge(
    "tunnel_agent_upstream_up", "1 while the service's upstream works, as far as is known", "service"
)
CHECKS: Final = counter(
    "tunnel_agent_health_checks",
    "Times that the agent itself asked whether the upstream works, by whether it did",
    *("service", "result"),
)
CONNECTIONS: Final = gauge(
    "tunnel_agent_upstream_connections", "Connections to the upstream, by what they do now", "service", "state"
)
CONNECTS: Final = counter("tunnel_agent_upstream_connects", "Connections to the upstream opened", "service")
CONNECT_FAILURES: Final = counter(
    "tunnel_agent_upstream_connect_failures", "Those that could not be opened, by why", "service", "code"
)
REUSES: Final = counter(
    "tunnel_agent_upstream_reuses", "Requests sent on a connection that had carried another before", "service"
)
WAITING: Final = gauge("tunnel_agent_upstream_waiting", "Requests that wait for a connection now", "service")
QUEUE: Final = histogram(
    "tunnel_agent_queue_seconds",
    "How long requests waited for a connection, of those that had to; opening it is part of it",
    "service",
)

# -- Hubs -------------------------------------------------------------------------------------------------

SESSIONS: Final = gauge("tunnel_agent_sessions", "Sessions that are up, by hub", "hub")
ESTABLISHED: Final = counter("tunnel_agent_sessions_established", "Sessions established, by hub", "hub")
ENDED: Final = counter(
    "tunnel_agent_sessions_ended", "Sessions that ended, by the code that says why", "hub", "code"
)
RECONNECTS: Final = counter(
    "tunnel_agent_reconnects",
    "Further attempts to reach the hub, by the stage or code at which the one before ended",
    *("hub", "cause"),
)
ROUND_TRIP: Final = gauge(
    "tunnel_agent_round_trip_seconds", "Round trip to the hub, of the slowest session, to the millisecond", "hub"
)
SESSION_AGE: Final = gauge("tunnel_agent_session_age_seconds", "Since the oldest session was established", "hub")
SKEW: Final = gauge(
    "tunnel_agent_clock_skew_seconds",
    "By how much this machine's clock was ahead of the hub's when it connected last, give or take a second",
    "hub",
)

# -- What holds up, what is lost --------------------------------------------------------------------------

CREDIT_STALLS: Final = counter("tunnel_agent_credit_stalls", "Answers that had to wait for a hub's credit")
CREDIT_STALL_SECONDS: Final = counter(
    "tunnel_agent_credit_stall_seconds", "How long they waited, together: at this rate so many waited at a time"
)
STALLED: Final = gauge("tunnel_agent_streams_stalled", "Answers that wait for a hub's credit now")
WRITE_PAUSES: Final = counter("tunnel_agent_write_pauses", "Sessions' sockets that took nothing for a while")
WRITE_PAUSE_SECONDS: Final = counter("tunnel_agent_write_pause_seconds", "How long, together")
WINDOW_MEMORY: Final = gauge("tunnel_agent_window_memory_bytes", "Memory that grown windows hold now")
ACCESS_DROPPED: Final = counter(
    "tunnel_agent_access_lines_dropped", "Access-log lines lost because their reader is too slow"
)
ACCESS_FAILED: Final = counter("tunnel_agent_access_lines_failed", "Access-log lines that could not be written")
AUDIT_LOST: Final = counter("tunnel_agent_audit_lines_lost", "Audit lines that could not be written")

FAMILIES: Final[tuple[Family, ...]] = tuple(value for value in globals().values() if isinstance(value, Family))
"""All of them, in this order."""
