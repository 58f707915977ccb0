"""What the hub shows at /metrics: docs/metrics.md is made from this.

Labels are names from the configuration. Families by agent are few on purpose: with a thousand agents each is a
thousand lines for every scrape.
"""

from __future__ import annotations

from typing import Final

from protocol.ops.metrics import Family, counter, gauge, histogram

# -- Requests ---------------------------------------------------------------------------------------------

REQUESTS: Final = counter(
    "tunnel_hub_requests",
    "Exchanges ended, by status and, where the tunnel itself answered, its code",
    *("service", "status", "code"),
)
UNROUTED: Final = counter("tunnel_hub_requests_unrouted", "Requests for no service")
REFUSED: Final = counter(
    "tunnel_hub_requests_refused",
    "Requests and connections that the callers' listener itself refused",
    *("status", "code"),
)
LATENCY: Final = histogram(
    "tunnel_hub_request_seconds", "From a request's head to the end of its answer", "service"
)
PHASES: Final = histogram(
    "tunnel_hub_phase_seconds",
    "Where the time up to an answer's head went, by phase",
    *("service", "phase"),
)
IN_FLIGHT: Final = gauge("tunnel_hub_requests_in_flight", "Exchanges that run now", "service")
HELD: Final = gauge("tunnel_hub_requests_held", "Requests that wait for a session or their turn now", "service")
HOLDS: Final = counter("tunnel_hub_holds", "Requests that had to wait for a session or their turn", "service")
QUEUE: Final = histogram(
    "tunnel_hub_queue_seconds", "How long they waited, whether they got their turn or not", "service"
)
REPEATS: Final = counter(
    "tunnel_hub_repeats", "Requests sent again because that was safe, by what had failed", "service", "reason"
)
EVICTIONS: Final = counter(
    "tunnel_hub_evictions", "Requests that gave their place in a full queue to another caller's", "service"
)
RECEIVED: Final = counter("tunnel_hub_received_bytes", "Request body bytes from callers", "service")
SENT: Final = counter("tunnel_hub_sent_bytes", "Answer body bytes to callers", "service")
CONNECTIONS: Final = gauge("tunnel_hub_connections", "Callers' connections that are open")
KEPT: Final = gauge("tunnel_hub_kept_bytes", "Memory for request bodies kept so that they can be sent again")

# -- Who serves -------------------------------------------------------------------------------------------

SERVICE_SESSIONS: Final = gauge("tunnel_hub_service_sessions", "Sessions that serve it now", "service")
SERVICE_AGENTS: Final = gauge(
    "tunnel_hub_service_agents",
    "Agents that serve it now, by whether their upstream answers",
    *("service", "upstream"),
)
SWITCHED_OFF: Final = gauge(
    "tunnel_hub_switched_off", "1 while the service is switched off, by the file or an operator", "service"
)
STOPPED: Final = gauge("tunnel_hub_agents_stopped", "Agents that get no requests because an operator stopped them")
DRAINED: Final = gauge("tunnel_hub_drained", "1 while an operator drains the hub")

# -- Callers, where they must authenticate ----------------------------------------------------------------

CALLER_REQUESTS: Final = counter("tunnel_hub_caller_requests", "Requests ended, by caller", "caller", "status")
CALLER_LATENCY: Final = histogram(
    "tunnel_hub_caller_seconds",
    'As tunnel_hub_request_seconds, by caller; "" for all clients without a table of their own',
    "caller",
)
VERIFIED: Final = counter(
    "tunnel_hub_credentials_verified",
    "Credentials verified, by means; remembered ones are not counted",
    "means",
)
GATE_REFUSALS: Final = counter("tunnel_hub_gate_refusals", "Requests that the gate refused, by code", "code")
REVOKED: Final = gauge("tunnel_hub_revoked_credentials", "Fingerprints in the revocation feed")
FEED_AGE: Final = gauge(
    "tunnel_hub_feed_age_seconds",
    "Since revocations or an issuer's keys were last fetched well; alarm when it rises",
    "feed",
)
FEED_FAILURES: Final = counter(
    "tunnel_hub_feed_failures", "Fetches of revocations or of an issuer's keys that failed", "feed"
)

# -- Agents -----------------------------------------------------------------------------------------------

SESSIONS: Final = gauge("tunnel_hub_sessions", "Sessions that are up, by agent", "agent")
STREAMS: Final = gauge("tunnel_hub_streams", "Streams that are open, by agent", "agent")
INSTANCES: Final = gauge("tunnel_hub_agent_instances", "Processes with this agent id", "agent")
ROUND_TRIP: Final = gauge(
    "tunnel_hub_round_trip_seconds", "Round trip to the agent, of its slowest session, to the millisecond", "agent"
)
SESSION_AGE: Final = gauge("tunnel_hub_session_age_seconds", "Since its oldest session was established", "agent")
SKEW: Final = gauge(
    "tunnel_hub_clock_skew_seconds",
    "By how much the agent's clock was ahead of the hub's when it connected last, give or take some seconds",
    "agent",
)
ESTABLISHED: Final = counter("tunnel_hub_sessions_established", "Sessions established")
ENDED: Final = counter(
    "tunnel_hub_sessions_ended", "Sessions that ended, by the code that says why", "agent", "code"
)
AGENTS_REFUSED: Final = counter(
    "tunnel_hub_agents_refused", "Handshakes that failed, by the code that says why", "code"
)
DUPLICATES: Final = counter("tunnel_hub_agent_duplicates", "Second processes with one agent id", "agent")

# -- What holds up, what is lost --------------------------------------------------------------------------

CREDIT_STALLS: Final = counter("tunnel_hub_credit_stalls", "Uploads that had to wait for an agent's credit")
CREDIT_STALL_SECONDS: Final = counter(
    "tunnel_hub_credit_stall_seconds", "How long they waited, together: at this rate so many waited at a time"
)
STALLED: Final = gauge("tunnel_hub_streams_stalled", "Uploads that wait for an agent's credit now")
WRITE_PAUSES: Final = counter("tunnel_hub_write_pauses", "Sessions' sockets that took nothing for a while")
WRITE_PAUSE_SECONDS: Final = counter("tunnel_hub_write_pause_seconds", "How long, together")
WINDOW_MEMORY: Final = gauge("tunnel_hub_window_memory_bytes", "Memory that grown windows hold now")
ACCESS_DROPPED: Final = counter(
    "tunnel_hub_access_lines_dropped", "Access-log lines lost because their reader is too slow"
)
ACCESS_FAILED: Final = counter("tunnel_hub_access_lines_failed", "Access-log lines that could not be written")
AUDIT_LOST: Final = counter("tunnel_hub_audit_lines_lost", "Audit lines that could not be written")

FAMILIES: Final[tuple[Family, ...]] = tuple(value for value in globals().values() if isinstance(value, Family))
"""All of them, in this order."""
