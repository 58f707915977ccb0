"""What `GET /api/status` serves, field by field; `snapshot.py` fills it in.

Times of day are seconds since the epoch, durations are seconds, sizes are bytes; ratios go from 0 to 1.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol.ops.console.switched import Switched

from ..failures import Failure

HubState = Literal["starting", "serving", "draining", "stopping"]
AgentState = Literal["up", "upstream down", "draining", "away", "stopped"]
ServiceState = Literal["up", "degraded", "down at every agent", "without agent", "switched off"]


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """Rates, ratio and percentiles over the last `seconds`."""

    seconds: float
    requests: int
    errors: int
    requests_per_second: float
    bytes_in_per_second: float
    bytes_out_per_second: float
    error_ratio: float
    p50: float | None
    p95: float | None
    p99: float | None


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One service. `requests`, `errors` and the bytes count from the hub's start."""

    name: str
    state: ServiceState
    switched: Switched | None
    """Set when it is switched off."""
    sessions: int
    agents: int
    """Instances that serve it."""
    agents_up: int
    """Those whose upstream answers and that take requests."""
    in_flight: int
    waiting: int
    holds: int
    repeats: int
    requests: int
    errors: int
    bytes_in: int
    bytes_out: int
    recent: Pacing


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One session."""

    id: str
    peer: str
    """The address it comes from."""
    age: float
    round_trip: float | None
    """0.0 when it is below the clock's steps of a millisecond, None before the first measurement."""
    silent_for: float
    """Since the last byte from the agent."""
    outstanding: int
    """Streams that are open."""
    window: int
    """What the hub's receive windows of its streams allow together."""
    unsent: int
    """Bytes that have not left the hub."""
    bytes_in: int
    bytes_out: int
    draining: bool
    """The agent takes nothing new on it, or was asked for another."""


class OfferStatus(msgspec.Struct, frozen=True, kw_only=True):
    """That an instance serves one service."""

    service: str
    upstream_up: bool
    withdrawn: bool
    registered: bool
    """Whether the hub's file lets it."""
    outstanding: int
    limit: int | None


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process of an agent."""

    id: str
    software: str
    outstanding: int
    limit: int | None
    draining: bool
    offers: list[OfferStatus]
    sessions: list[SessionStatus]


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One agent of the hub's file. It is up while an instance takes requests."""

    id: str
    state: AgentState
    switched: Switched | None
    """Set while an operator keeps requests from it."""
    services: list[str]
    """What it may serve."""
    ended: str = ""
    """Why its latest session ended, where none has come since: "silent", "shutdown" and such."""
    sessions: int
    outstanding: int
    bytes_in: int
    bytes_out: int
    round_trip: float | None
    """The longest of its sessions."""
    instances: list[InstanceStatus]
    """Empty where details were not asked for."""


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the failures that are kept are alike."""

    origin: str
    code: str
    status: int
    count: int
    last: float


class Concern(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: the agent, or what ends. `text`: a sentence that changes only when something does."""

    about: Literal["silence", "duplicate", "clock", "expiry"]
    name: str
    text: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole."""

    hub: str
    version: str
    revision: str | None
    now: float
    uptime: float
    state: HubState
    switched: Switched | None
    """Set while an operator drains the hub."""
    in_flight: int
    waiting: int
    sessions: int
    agents_up: int
    sessions_lost: int
    agents_refused: int
    unrouted: int
    window_memory: int
    services: list[ServiceStatus]
    agents: list[AgentStatus]
    failures: list[Failure]
    failure_counts: list[FailureCount]
    concerns: list[Concern] = []
    """What is up but not well, and why agents are silent."""
