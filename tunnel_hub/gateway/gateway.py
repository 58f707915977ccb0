"""The gate and what feeds it: revocations and key sets, fetched in the background; made anew on a reload."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.ops import log

from .apikeys import ApiKeys
from .bearers import Bearers
from .certificates import Certificates
from .directory import Directory
from .gate import Gate
from .jwks import KeySet
from .oauth import Issuer
from .provisioning import load_provisioning_key
from .replay import Replay
from .revocations import RevocationFeed
from .tokens import TwoLayerTokens

if TYPE_CHECKING:
    from tunnel_hub.config import HubConfig

    from .config import OAuth, Tokens
    from .grant import Grant

FIRST_FETCH: Final = 2.0
"""Seconds that a start waits for revocations and key sets: better late than without knowing who is revoked."""


LOOKED_AT_MAX: Final = 10_000

_log = log.get("gateway")


class Prepared(NamedTuple):
    """A new gate with its feeds, not started."""

    gate: Gate | None
    revocations: RevocationFeed | None
    key_sets: dict[str, KeySet]


class Gateway:
    """Holds the gate in force. `start` once, `stop` at the end; `prepare` and `take` for a reload."""

    def __init__(self, config: HubConfig) -> None:
        """Raises ProvisioningKeyError."""
        self._replay = Replay()
        self._looked_at: set[str] = set()
        self.config: HubConfig | None = None
        self.gate: Gate | None = None
        self.revocations: RevocationFeed | None = None
        self.key_sets: dict[str, KeySet] = {}
        self._first = self.prepare(config)

    def prepare(self, config: HubConfig) -> Prepared:
        """The gate that a configuration asks for; what need not change goes on. Raises ProvisioningKeyError."""
        callers = config.callers
        if not callers.required:
            return Prepared(None, None, {})
        revocations = self._revocations(callers.tokens)
        key_sets = {name: self._key_set(name, table) for name, table in callers.oauth.items()}
        owners = {
            way: {value: name for name, table in callers.named.items() for value in getattr(table, way)}
            for way in ("api_keys", "certificates")
        }
        tokens = None
        if callers.tokens is not None:
            tokens = TwoLayerTokens(
                [load_provisioning_key(file) for file in callers.tokens.provisioning_keys],
                skew=callers.tokens.skew,
                is_revoked=_nobody if revocations is None else revocations.is_revoked,
                replay=self._replay,
            )
        api_keys, certificates = ApiKeys(owners["api_keys"]), Certificates(owners["certificates"])

        def is_revoked(grant: Grant) -> bool:
            if grant.means == "api_key":
                return not api_keys.has(grant.credential)
            if grant.means == "certificate":
                return not certificates.has(grant)
            if grant.means == "oauth":
                return grant.issuer not in key_sets or not key_sets[grant.issuer].has(grant)
            if tokens is None or not tokens.has(grant):
                return True
            return revocations is not None and any(map(revocations.is_revoked, (grant.credential, grant.twin)))

        gate = Gate(
            Directory(callers, config.services, None if self.gate is None else self.gate.directory),
            bearers=Bearers(
                tokens,
                [
                    Issuer(
                        name,
                        table.issuer,
                        table.audience,
                        key_sets[name],
                        algorithms=table.algorithms,
                        skew=table.skew,
                        caller_claims=table.caller_claims,
                    )
                    for name, table in callers.oauth.items()
                ],
            ),
            api_keys=api_keys if owners["api_keys"] else None,
            certificates=certificates if owners["certificates"] else None,
            is_revoked=is_revoked,
            notice=self._look_at,
        )
        if self.gate is not None:
            gate.follow(self.gate)
        return Prepared(gate, revocations, key_sets)

    async def start(self, config: HubConfig) -> None:
        """Put the first gate in force, once its feeds have answered or FIRST_FETCH seconds have passed."""
        self._take(self._first, config)
        feeds = self._feeds()
        end = asyncio.get_running_loop().time() + FIRST_FETCH
        while not all(feed.ready for feed in feeds) and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def take(self, prepared: Prepared, config: HubConfig) -> list[RevocationFeed | KeySet]:
        """Put a new gate in force; returns the feeds that are needed no more, to be stopped."""
        before = self._feeds()
        self._take(prepared, config)
        kept = self._feeds()
        return [feed for feed in before if feed not in kept]

    async def stop(self) -> None:
        await asyncio.gather(*(feed.stop() for feed in self._feeds()))

    def _take(self, prepared: Prepared, config: HubConfig) -> None:
        running = self._feeds()
        self.config = config
        self.gate, self.revocations, self.key_sets = prepared
        for feed in self._feeds():
            if feed not in running:
                feed.start()

    def _feeds(self) -> list[RevocationFeed | KeySet]:
        first = [] if self.revocations is None else [self.revocations]
        return [*first, *self.key_sets.values()]

    def _revocations(self, table: Tokens | None) -> RevocationFeed | None:
        if table is None or table.revocations is None:
            return None
        before = self.config.callers.tokens if self.config is not None else None
        if self.revocations is not None and before is not None:
            same = (before.revocations, before.revocations_interval) == (
                table.revocations,
                table.revocations_interval,
            )
            if same:
                return self.revocations
        feed = RevocationFeed(table.revocations, interval=table.revocations_interval)
        if self.revocations is not None:
            feed.follow(self.revocations)
        feed.on_revoked(lambda _fingerprints: self._forget_revoked())
        return feed

    def _key_set(self, name: str, table: OAuth) -> KeySet:
        keys = KeySet(table.jwks, name=name, interval=table.jwks_interval)
        keys.on_withdrawn(self._forget_revoked)
        running = self.key_sets.get(name)
        if self.config is not None and running is not None:
            before = self.config.callers.oauth[name]
            if (before.jwks, before.jwks_interval) == (table.jwks, table.jwks_interval):
                return running
            if before.jwks == table.jwks:
                keys.follow(running)
        return keys

    def _look_at(self, grant: Grant) -> None:
        """Say once of each client token that its patterns match more than they seem to."""
        if grant.access is None or grant.credential in self._looked_at:
            return
        if len(self._looked_at) >= LOOKED_AT_MAX:
            self._looked_at.clear()
        self._looked_at.add(grant.credential)
        if grant.access.unanchored:
            _log.warning(
                "path patterns of a client token are not anchored: they match anywhere in a path",
                caller=grant.name,
                patterns=list(grant.access.unanchored),
                fingerprint=grant.credential,
            )

    def _forget_revoked(self) -> None:
        if self.gate is not None:
            self.gate.forget_revoked()


def _nobody(_fingerprint: str) -> bool:
    return False
