"""What authentication costs: one bearer for many requests, and one for each."""

from __future__ import annotations

from typing import ClassVar

from tests.bench.cases import Case, Measured
from tests.bench.chains import SMALL_PATH, Chain
from tests.bench.guarded import GUARDED, GuardedTunnel
from tests.bench.rows import TUNNEL, Row
from tests.bench.wrk import load

FRESH_RATE_MAX = 12_000
"""Bearers made for each second of the row in which none is used twice; no chain here is faster."""


class Guarded(Case):
    """1 KB answers for 64 callers, with one bearer that is used again and again, against no authentication."""

    rounds = 5
    chains: ClassVar = (GUARDED, TUNNEL)
    former = False
    rows = (Row("guarded-64", "64 callers with a token, by none", "req/s", "high", 0.9, TUNNEL, GUARDED),)

    def warm_up(self, chain: Chain) -> None:
        self._load(chain, 1)

    def measure(self, chain: Chain, round_number: int) -> Measured:
        return Measured({self.rows[0].name: self._load(chain, self.sizes.load_seconds)})

    def _load(self, chain: Chain, seconds: int) -> float:
        fields = [f"Authorization: Bearer {chain.bearer()}"] if isinstance(chain, GuardedTunnel) else []
        url = f"http://{chain.api}{SMALL_PATH}"
        return load(url, connections=64, seconds=seconds, folder=chain.folder, fields=fields).rate


class Fresh(Case):
    """The same with a bearer of its own for each request: every one of them is verified."""

    chains: ClassVar = (GUARDED,)
    former = False
    rows = (Row("fresh-64", "64 callers, each request a new token", "req/s", "high", 3000, None, GUARDED),)

    def warm_up(self, chain: Chain) -> None:
        self._load(chain, 1)

    def measure(self, chain: Chain, round_number: int) -> Measured:
        return Measured({self.rows[0].name: self._load(chain, self.sizes.load_seconds)})

    def _load(self, chain: Chain, seconds: int) -> float:
        assert isinstance(chain, GuardedTunnel)
        bearers = chain.bearers((seconds + 1) * FRESH_RATE_MAX)
        url = f"http://{chain.api}{SMALL_PATH}"
        return load(url, connections=64, seconds=seconds, folder=chain.folder, bearers=bearers).rate
