"""Which verifier a bearer is for, by what it says of itself; that it says so proves nothing yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .bearer import take_apart

if TYPE_CHECKING:
    from .grant import Verified
    from .oauth import Issuer
    from .tokens import TwoLayerTokens


class Bearers:
    """All kinds of bearer that the configuration takes, API keys apart."""

    def __init__(self, tokens: TwoLayerTokens | None, issuers: Iterable[Issuer]) -> None:
        self._tokens = tokens
        self._issuers = {issuer.issuer: issuer for issuer in issuers}

    def verify(self, bearer: bytes, now: float) -> Verified | None:
        """Whose bearer it is; None: of no kind that the hub takes, so it may be meant for the upstream.

        Raises Unauthenticated, Unverifiable.
        """
        if bearer.count(b".") != 2 or (self._tokens is None and not self._issuers):
            return None
        parts = take_apart(bearer)
        if self._tokens is not None and "token" in parts.payload:
            return self._tokens.verify_parts(parts, now)
        named = parts.payload.get("iss")
        issuer = self._issuers.get(named) if isinstance(named, str) else None
        return None if issuer is None else issuer.verify_parts(parts, now)
