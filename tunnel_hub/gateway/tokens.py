"""The two-layer tokens: a client token signed by a provisioning key, inside a bearer signed with the client's own.

    client token: ES256 {iat, exp, client, key: base64(DER public key), access: [path regex, ...]}
    bearer:       ES256 {iat, token: client token, jti?}

A client token is parsed and verified once and then known by its fingerprint, the SHA-256 of its text, so a fresh
bearer costs one signature. Nothing that a header carries but `alg` is used: no kid, jwk, x5c or jku.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from tunnel_hub.gateway import claims, es256
from tunnel_hub.gateway.access import AccessError, AccessList
from tunnel_hub.gateway.bearer import Object, Parts, refuse, take_apart
from tunnel_hub.gateway.grant import Grant, Unauthenticated, Verified
from tunnel_hub.gateway.keyprint import keyprint
from tunnel_hub.gateway.replay import Replay

CLIENTS: Final = 2000
"""Client tokens that are kept parsed; the least recently used goes first."""

SKEW: Final = 10.0
JTI_CHARS: Final = 128


@dataclass(frozen=True, slots=True)
class _Client:
    """A client token whose signature holds."""

    key: EllipticCurvePublicKey
    fingerprints: tuple[str, str]
    """Of its text, and of the text with the twin of its signature: revoking one must not leave the other."""
    replay_id: str
    """The same for both."""
    issued: float = 0.0
    grant: Grant | None = None
    problem: str = ""
    """Why there is no grant: told only to whoever has the client's key."""


class TwoLayerTokens:
    """Verifies bearers that carry a client token."""

    def __init__(
        self,
        keys: Iterable[EllipticCurvePublicKey],
        *,
        skew: float = SKEW,
        is_revoked: Callable[[str], bool],
        replay: Replay,
        clients: int = CLIENTS,
    ) -> None:
        """keys: the provisioning keys (`es256.public_key`). is_revoked: asked of a fingerprint at every bearer."""
        self._keys = {keyprint(key): key for key in keys}
        self._skew = skew
        self._is_revoked = is_revoked
        self._replay = replay
        self._limit = clients
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    @property
    def known(self) -> int:
        """How many client tokens are kept parsed."""
        return len(self._clients)

    def has(self, grant: Grant) -> bool:
        """Whether the provisioning key that vouched for the client is still one of the keys."""
        return any(key in self._keys for key in grant.rests_on)

    def verify(self, bearer: bytes, now: float) -> Verified:
        """Who made `bearer`; now is time.time().

        Raises:
            Unauthenticated: it does not hold, or not now.
            Unverifiable: it names an id and there is no room to remember it.
        """
        return self.verify_parts(take_apart(bearer), now)

    def verify_parts(self, parts: Parts, now: float) -> Verified:
        """The same for a bearer that `take_apart` took apart already."""
        _check_algorithm(parts)
        text = parts.payload.get("token")
        if not isinstance(text, str) or not text.isascii():
            refuse("the bearer carries no client token")
        client = self._client(text)
        if not es256.verify(client.key, parts.signed, parts.signature):
            refuse("the bearer is not signed with the client's key")
        if client.grant is None:
            raise Unauthenticated(client.problem)
        grant = client.grant
        self._check_client(client, grant, now)
        issued = self._issued(parts.payload, grant, now)
        until = min(issued + self._skew, grant.expires)
        if "jti" not in parts.payload:
            return Verified(grant, until)
        # A second more than the skew allows, so that no rounding lets an id go too early.
        self._use_once(parts.payload["jti"], client, grant, issued + self._skew + 1, now)
        return Verified(grant, 0.0)

    def grant_of(self, text: str, now: float) -> Grant:
        """What a client token by itself grants, without a bearer's proof. Raises Unauthenticated."""
        client = self._client(text)
        if client.grant is None:
            raise Unauthenticated(client.problem)
        self._check_client(client, client.grant, now)
        return client.grant

    # -- The client token ---------------------------------------------------------------------------------

    def _client(self, text: str) -> _Client:
        fingerprint = sha256(text.encode()).hexdigest()
        client = self._clients.get(fingerprint)
        if client is not None:
            self._clients.move_to_end(fingerprint)
            return client
        parts = take_apart(text.encode())
        _check_algorithm(parts)
        signers = (name for name, key in self._keys.items() if es256.verify(key, parts.signed, parts.signature))
        signer = next(signers, None)
        if signer is None:
            refuse("the client token is signed with none of the provisioning keys")
        client = self._clients[fingerprint] = _read(parts, fingerprint, signer)
        if len(self._clients) > self._limit:
            self._clients.popitem(last=False)
        return client

    def _check_client(self, client: _Client, grant: Grant, now: float) -> None:
        if any(map(self._is_revoked, client.fingerprints)):
            _refuse(grant, "The client token is revoked; ask the gateway's operator for a new one.")
        if now >= grant.expires:
            _refuse(grant, "The client token has expired; ask the gateway's operator for a new one.")
        if client.issued > now + self._skew:
            _refuse(grant, "The client token's iat is in the future; ask the gateway's operator for a new one.")

    # -- The bearer ---------------------------------------------------------------------------------------

    def _issued(self, payload: Object, grant: Grant, now: float) -> float:
        issued = claims.seconds(payload.get("iat"))
        if issued is None:
            _refuse(grant, "The bearer's iat must be a number: the seconds since 1970 when it was made.")
        off = issued - now
        if abs(off) > self._skew:
            side = "ahead of" if off > 0 else "behind"
            _refuse(
                grant,
                f"iat skew too large: the bearer's iat is {abs(off):.1f} s {side} the gateway's clock and "
                f"{self._skew:g} s are allowed; make a new bearer for each request and set the clock.",
            )
        return issued

    def _use_once(self, jti: object, client: _Client, grant: Grant, until: float, now: float) -> None:
        if not isinstance(jti, str) or not 0 < len(jti) <= JTI_CHARS:
            _refuse(grant, f"The bearer's jti must be text of 1 to {JTI_CHARS} characters.")
        if not self._replay.first_use(client.replay_id, jti, until, now):
            _refuse(grant, "The bearer was replayed: its jti was used already; make a new one for each request.")


def _refuse(grant: Grant, reason: str) -> NoReturn:
    raise Unauthenticated(reason, f"client {grant.name}: {reason}")


def _check_algorithm(parts: Parts) -> None:
    if parts.header.get("alg") != "ES256":
        refuse("the algorithm is not ES256")


def _read(parts: Parts, fingerprint: str, signer: str) -> _Client:
    """What a client token says, its signature having been verified. signer: the provisioning key's print."""
    key = _client_key(parts.payload.get("key"))
    # An ECDSA signature has a twin that anybody can make: the same token, but another text.
    other = parts.signed + b"." + base64.urlsafe_b64encode(es256.twin(parts.signature)).rstrip(b"=")
    both = (fingerprint, sha256(other).hexdigest())
    issued, expires = claims.seconds(parts.payload.get("iat")), claims.seconds(parts.payload.get("exp"))
    name, access = claims.name(parts.payload.get("client")), parts.payload.get("access")
    problem, paths = "", None
    if issued is None or expires is None:
        problem = "its iat and exp must be numbers"
    elif name is None:
        problem = f"its client must be a name: {claims.NAME_RULE}"
    elif not isinstance(access, list) or not all(isinstance(pattern, str) for pattern in access):
        problem = "its access must be a list of path patterns"
    else:
        try:
            paths = AccessList.compile(access)
        except AccessError as error:
            problem = f"its access: {error}"
    if issued is None or expires is None or name is None or problem:
        sentence = f"The client token cannot be used, ask the gateway's operator for a new one; {problem}"
        return _Client(key, both, min(both), problem=f"{sentence.rstrip('.')}.")
    grant = Grant(name, "token", fingerprint, twin=both[1], expires=expires, access=paths, rests_on=(signer,))
    return _Client(key, both, min(both), issued, grant)


def _client_key(value: object) -> EllipticCurvePublicKey:
    """The client's own key. Without it nobody can prove to be the client, so no more than INVALID is told."""
    try:
        return es256.public_key(binascii.a2b_base64(value, strict_mode=True) if isinstance(value, str) else b"")
    except ValueError:
        refuse("the key in the client token is not a P-256 public key, DER in base64")
