"""OAuth2 client-credentials tokens: JWTs of one issuer for this gateway (RFC 9068, or just RFC 7519)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn, Protocol

import jwt

from tunnel_hub.gateway import claims
from tunnel_hub.gateway.bearer import Object, Parts, refuse, take_apart
from tunnel_hub.gateway.grant import Grant, Unauthenticated, Unverifiable, Verified
from tunnel_hub.gateway.keyprint import keyprint

ALGORITHMS: Final = ("RS256", "PS256", "ES256")
CALLER_CLAIMS: Final = ("client_id", "azp", "sub")
SKEW: Final = 10.0
KID_CHARS: Final = 256

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_JWS: Final = jwt.PyJWS()


class Keys(Protocol):
    """An issuer's keys (`jwks.KeySet`)."""

    @property
    def ready(self) -> bool:
        """Whether they were ever fetched."""

    def find(self, kid: str, algorithm: str) -> Any:
        """The public key, or None."""

    def may_come(self, kid: str) -> bool:
        """Whether a fetch may still bring that key; asks for one."""


class Issuer:
    """Verifies the tokens of one issuer."""

    def __init__(
        self,
        name: str,
        issuer: str,
        audience: str,
        keys: Keys,
        *,
        algorithms: Iterable[str] = ("RS256",),
        skew: float = SKEW,
        caller_claims: Sequence[str] = CALLER_CLAIMS,
    ) -> None:
        """name: in the configuration. issuer: the `iss` of its tokens. algorithms: some of ALGORITHMS.

        caller_claims: the first of them that a token has names the caller.
        """
        self.name = name
        self.issuer = issuer
        self._audience = audience
        self._keys = keys
        self._algorithms = frozenset(algorithms)
        assert self._algorithms <= set(ALGORITHMS)
        self._skew = skew
        self._caller_claims = tuple(caller_claims)

    def verify(self, token: bytes, now: float) -> Verified:
        """Whose token it is; now is time.time().

        Raises:
            Unauthenticated: it does not hold, or not now, or not here.
            Unverifiable: the key that it needs may still come.
        """
        return self.verify_parts(take_apart(token), now)

    def verify_parts(self, parts: Parts, now: float) -> Verified:
        """The same for a token that `take_apart` took apart already."""
        if parts.payload.get("iss") != self.issuer:
            refuse("the token is of another issuer")
        key = self._signer(parts)
        payload = parts.payload
        expires = self._check_times(payload, now)
        self._check_audience(payload)
        caller = self._caller(payload)
        credential = f"{self.name}/{caller}"
        return Verified(
            Grant(
                caller,
                "oauth",
                credential,
                issuer=self.name,
                expires=expires + self._skew,
                rests_on=(keyprint(key),),
            ),
            expires,
        )

    def _signer(self, parts: Parts) -> Any:
        """The issuer's key that signed it."""
        algorithm, kind, kid = (parts.header.get(member, "") for member in ("alg", "typ", "kid"))
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            refuse("the algorithm is not one that the issuer uses")
        if kind and (not isinstance(kind, str) or kind.lower() not in _TYPES):
            refuse("the typ is neither JWT nor at+jwt")
        if not isinstance(kid, str) or len(kid) > KID_CHARS:
            refuse("the kid is not a text of usual length")
        if not self._keys.ready:
            raise Unverifiable(
                "The gateway has not read the keys of the token's issuer yet; repeat a little later."
            )
        key = self._keys.find(kid, algorithm)
        if key is None:
            if self._keys.may_come(kid):
                raise Unverifiable("The gateway is asking the token's issuer for its newest keys; repeat.")
            refuse("the issuer has no key of that kid and algorithm")
        verifier = _JWS.get_algorithm_by_name(algorithm)
        if not verifier.verify(parts.signed, key, parts.signature):
            refuse("the signature is not the issuer's")
        return key

    def _check_times(self, payload: Object, now: float) -> float:
        """The exp."""
        times = {name: claims.seconds(payload[name]) for name in ("exp", "nbf", "iat") if name in payload}
        if None in times.values():
            self._refuse("The token's exp, nbf and iat must be numbers.")
        expires, begins, issued = times.get("exp"), times.get("nbf"), times.get("iat")
        if expires is None:
            self._refuse("The token has no exp, so it would hold for ever.")
        if now >= expires + self._skew:
            self._refuse("The token has expired; ask its issuer for a new one.")
        if begins is not None and begins > now + self._skew:
            self._refuse("The token does not hold yet (nbf); set the clock, or wait.")
        if issued is not None and issued > now + self._skew:
            self._refuse("The token's iat is in the future; set the issuer's clock.")
        return expires

    def _check_audience(self, payload: Object) -> None:
        audience = payload.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            self._refuse(
                "The token is for another audience (aud); ask its issuer for one that is for this gateway."
            )

    def _caller(self, payload: Object) -> str:
        claim = next((claim for claim in self._caller_claims if claim in payload), None)
        if claim is None:
            self._refuse(f"The token names no caller: it needs one of {', '.join(self._caller_claims)}.")
        caller = claims.name(payload[claim])
        if caller is None:
            self._refuse(f"The token's {claim} must be a name: {claims.NAME_RULE}.")
        return caller

    def _refuse(self, reason: str) -> NoReturn:
        raise Unauthenticated(reason, f"issuer {self.name}: {reason}")
