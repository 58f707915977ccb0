"""Whether a caller may ask something of a service, as the running hub's gate would decide it."""

from __future__ import annotations

import os
from typing import NamedTuple

from protocol.http.allow import AllowList
from protocol.ops.model import nearest
from protocol.ops.values import quoted

from .config import HubConfig
from .routing import Router


class UnknownNameError(ValueError):
    """No caller or service has the name; the message names the nearest."""


class Verdict(NamedTuple):
    """What the hub says. `str()` is a line for people."""

    caller: str
    service: str
    allowed: bool
    rule: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.caller} at {self.service}: {'allowed' if self.allowed else 'refused'}. {self.reason}"


def explain(config: HubConfig, caller: str, method: str, path: str, service: str | None = None) -> Verdict:
    """The verdict; service: as in Tunnel-Service, else the one with the longest path prefix.

    Raises UnknownNameError.
    """
    named = config.callers.named
    if caller not in named:
        raise UnknownNameError(f"no caller is called {quoted(caller)}; {nearest(caller, named)}")
    target = os.fsencode(path)
    if service is None:
        service = Router(config.services).route(b"", target)
        if service is None:
            raise UnknownNameError(
                f"no service has this path; name one with --service: {', '.join(sorted(config.services))}"
            )
    elif service not in config.services:
        raise UnknownNameError(f"no service is called {quoted(service)}; {nearest(service, config.services)}")
    policy, table = named[caller], config.services[service]
    if not config.callers.required:
        return Verdict(caller, service, table.enabled, None, 'Nobody need authenticate: authentication = "none".')
    if not policy.enabled:
        return Verdict(caller, service, False, None, "The caller is switched off: enabled = false.")
    if not table.enabled:
        return Verdict(caller, service, False, None, "The service is switched off: enabled = false.")
    rules = AllowList.compile(policy.allow.get(service, ()), frozenset(table.allow_paths))
    decision = rules.decide(os.fsencode(method), target)
    reason = decision.reason
    if decision.allowed and policy.tokens:
        reason += " The path list of its client token must match as well."
    return Verdict(caller, service, decision.allowed, decision.rule, reason)
