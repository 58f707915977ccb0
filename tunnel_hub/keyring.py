"""Agents' keys by command: a token for a first boot, the list of all keys, and their revocation.

The commands change the state file while the hub runs, which notices within a second (`registrar.POLL`).
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from protocol.keys import PublicKey
from protocol.ops.model import nearest
from protocol.ops.values import quoted
from protocol.tokens import EnrolToken

from .config import HubConfig
from .state import NOTHING, Facts, State, exists

TTL_MAX: Final = 30 * 86400.0
"""Seconds that a token may be good for."""


class UnknownError(ValueError):
    """No such agent or key; the message names what is known."""


class Key(msgspec.Struct, frozen=True):
    """One key of an agent. sources: "file", "enrolled"; times in UTC, None where there is none."""

    fingerprint: str
    public_key: str
    sources: list[str]
    how: str | None
    """For an enrolled key: "token" or "rotation"."""
    enrolled: datetime | None
    revoked: datetime | None


class Ring(msgspec.Struct, frozen=True):
    """The keys of one agent. tokens: when each of those ends that could still be used."""

    agent: str
    in_file: bool
    keys: list[Key]
    tokens: list[datetime]


def make_token(config: HubConfig, path: Path, agent: str, ttl: float) -> EnrolToken:
    """A new one-time token in the state file `path`, good for `ttl` seconds. Raises UnknownError, StateError."""
    if agent not in config.agents:
        raise UnknownError(f"the hub's file has no agent {quoted(agent)}; {nearest(agent, config.agents)}")
    token = EnrolToken(os.urandom(48))
    state = State.create(path)
    try:
        state.add_token(token.id, agent, token.public, ttl)
    finally:
        state.close()
    return token


def rings(config: HubConfig, path: Path) -> list[Ring]:
    """Every agent that the file or the state knows, with its keys. Raises StateError."""
    facts = _facts(path)
    ids = dict.fromkeys((*config.agents, *sorted(facts.agents())))
    now = time.time()
    return [
        Ring(
            agent,
            agent in config.agents,
            [_describe(config, facts, agent, key) for key in _keys(config, facts, agent)],
            [
                _moment(token.expires)
                for token in facts.tokens.values()
                if token.agent == agent and token.used is None and token.expires > now
            ],
        )
        for agent in ids
    ]


def revoke(config: HubConfig, path: Path, agent: str, fingerprint: str | None) -> tuple[list[PublicKey], int]:
    """Refuse one key of the agent, or all of them and its open tokens, for good.

    Returns the keys that were not revoked before, and how many tokens were open. Raises UnknownError, StateError.
    """
    facts = _facts(path)
    known = facts.agents() | set(config.agents)
    if agent not in known:
        raise UnknownError(f"neither file nor state knows the agent {quoted(agent)}; {nearest(agent, known)}")
    keys = _keys(config, facts, agent)
    chosen = [key for key in keys if fingerprint in (None, key.fingerprint)]
    if fingerprint is not None and not chosen:
        fingerprints = [key.fingerprint for key in keys]
        raise UnknownError(f"{agent} has no key {quoted(fingerprint)}; {nearest(fingerprint, fingerprints)}")
    state = State.create(path)
    try:
        tokens = state.cancel_tokens(agent) if fingerprint is None else 0
        return state.revoke(agent, chosen), tokens
    finally:
        state.close()


def _facts(path: Path) -> Facts:
    if not exists(path):
        return NOTHING
    state = State(path)
    try:
        return state.facts()
    finally:
        state.close()


def _keys(config: HubConfig, facts: Facts, agent: str) -> list[PublicKey]:
    """All that are or were the agent's, those of the file first."""
    table = config.agents.get(agent)
    return list(
        dict.fromkeys(
            (
                *(table.public_keys if table is not None else ()),
                *(key for key, row in facts.keys.items() if row.agent == agent),
                *(key for key, row in facts.revoked.items() if row.agent == agent),
            )
        )
    )


def _describe(config: HubConfig, facts: Facts, agent: str, key: PublicKey) -> Key:
    table = config.agents.get(agent)
    enrolled = facts.keys.get(key)
    revoked = facts.revoked.get(key)
    sources = ["file"] if table is not None and key in table.public_keys else []
    return Key(
        key.fingerprint,
        key.line,
        sources + (["enrolled"] if enrolled is not None else []),
        None if enrolled is None else enrolled.how,
        None if enrolled is None else _moment(enrolled.at),
        None if revoked is None else _moment(revoked.at),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds), UTC)
