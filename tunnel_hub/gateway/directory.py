"""Which caller a proven identity is: the tables of [callers.named], and clients that bring only their token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.ops.metrics import COARSE, Histogram

from .policy import Policy, compile_rules, make_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tunnel_hub.config import Service

    from .config import Callers
    from .grant import Grant

TOKEN_CLIENTS_MAX: Final = 1000
"""Clients without a table that are remembered, each with its counters."""


class Directory:
    """Immutable but for the token clients that it has met. Made anew when the configuration changes."""

    def __init__(self, callers: Callers, services: Mapping[str, Service], before: Directory | None = None) -> None:
        self._named = {name: make_policy(name, table, services) for name, table in callers.named.items()}
        self._tokens = {client: name for name, table in callers.named.items() for client in table.tokens}
        self._oauth = {client: name for name, table in callers.named.items() for client in table.oauth}
        self._for_tokens = compile_rules(callers.tokens.allow, services) if callers.tokens is not None else {}
        self._met: dict[str, Policy] = {}
        self._latency: Histogram = Histogram(COARSE) if before is None else before._latency
        if before is not None:
            for name, policy in self._named.items():
                if name in before._named:
                    policy.follow(before._named[name])

    def __iter__(self) -> Iterator[Policy]:
        """Everyone who has a table or was met."""
        yield from self._named.values()
        yield from self._met.values()

    def latencies(self) -> Iterator[tuple[str, Histogram]]:
        """By the names of the configuration; "" for all others together."""
        for name, policy in self._named.items():
            yield name, policy.latency
        yield "", self._latency

    def find(self, grant: Grant) -> Policy | None:
        """Who that is; None: the identity is proven, but nobody's."""
        if grant.means == "token":
            name = self._tokens.get(grant.name)
            return self._named[name] if name is not None else self._token_client(grant.name)
        if grant.means == "oauth":
            name = self._oauth.get(grant.credential)
            return None if name is None else self._named[name]
        return self._named.get(grant.name)

    def _token_client(self, client: str) -> Policy | None:
        if not self._for_tokens or client in self._named:  # a token must not pass for a caller with another proof
            return None
        policy = self._met.get(client)
        if policy is None:
            policy = Policy(client, self._for_tokens, latency=self._latency)
            if len(self._met) < TOKEN_CLIENTS_MAX:
                self._met[client] = policy
        return policy
