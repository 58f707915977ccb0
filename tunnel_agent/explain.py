"""Why a request is let in or not, as the running agent would decide it."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

import msgspec

from protocol.http.allow import AllowList
from protocol.ops.model import nearest
from protocol.ops.values import quoted
from tunnel_agent.config import AgentConfig, Service
from tunnel_agent.exchange import READING

_READING: Final = sorted(method.decode() for method in READING)


class Verdict(NamedTuple):
    """What one service says. `str()` is a line for people."""

    service: str
    allowed: bool
    rule: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.service}: {'allowed' if self.allowed else 'refused'}. {self.reason}"


class UnknownServiceError(ValueError):
    """No service has the name; the message names the nearest."""


def explain(config: AgentConfig, method: str, path: str, service: str | None = None) -> list[Verdict]:
    """The verdict of each service, or of the one named. Raises UnknownServiceError."""
    services = config.services
    if service is not None:
        if service not in services:
            raise UnknownServiceError(f"no service is called {quoted(service)}; {nearest(service, services)}")
        services = {service: services[service]}
    return [_verdict(name, entry, os.fsencode(method), os.fsencode(path)) for name, entry in services.items()]


def _verdict(name: str, service: Service, method: bytes, path: bytes) -> Verdict:
    if not service.enabled:
        return Verdict(name, False, None, "The service is switched off: enabled = false.")
    if service.read_only and method not in READING:
        return Verdict(name, False, None, f"The service lets in {', '.join(_READING)} alone: read_only = true.")
    decision = AllowList.compile(service.allow, frozenset(service.allow_paths)).decide(method, path)
    return Verdict(name, decision.allowed, decision.rule, decision.reason)


def as_json(verdicts: list[Verdict]) -> str:
    """One object, for programs: `allowed` when a service allows it, and what each says."""
    services = [verdict._asdict() for verdict in verdicts]
    return msgspec.json.encode({"allowed": any(v.allowed for v in verdicts), "services": services}).decode()
