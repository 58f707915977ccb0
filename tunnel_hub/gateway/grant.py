"""What a verifier says of a credential: who proved to be who, or why not.

A verifier is pure but for what it keeps: bytes and the wall clock's reading in, a `Verified` out, or one of the
two exceptions. Nothing here, and no message, holds any part of a secret.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

Means = Literal["token", "oauth", "api_key", "certificate"]
"""The four ways to authenticate."""

NEVER: Final = math.inf


class Access(Protocol):
    """The paths that a credential itself is limited to (the path list of a legacy client token)."""

    @property
    def unanchored(self) -> tuple[str, ...]:
        """The patterns that may match in the middle of a path."""

    def allows(self, target: bytes) -> bool:
        """Whether the path of an origin-form target is on the list; the query plays no part."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A caller that proved who it is."""

    name: str
    """As the means names it: the token's `client`, the OAuth client id, the API key's or certificate's owner."""
    means: Means
    credential: str
    """SHA-256 in hex of what can be revoked: the client token's text, the API key, the certificate.
    For OAuth `issuer/client`."""
    twin: str = ""
    """For a client token, the fingerprint of its text with the other signature that holds: revoked as well."""
    issuer: str = ""
    """OAuth only: the issuer's name in the configuration."""
    expires: float = NEVER
    """time.time() from which the credential itself (not one bearer made with it) is void."""
    access: Access | None = None
    rests_on: tuple[str, ...] = field(default=(), compare=False)
    """What it was taken by: the key that vouches for the caller, or the certificate's hash and names. Once none of
    them counts any more, neither does the grant (`has` of the verifier or key set)."""


class Verified(NamedTuple):
    """A grant, and until when (time.time()) the same bytes may be taken for it again without verifying.

    until: 0 means that they must not be taken again at all.
    """

    grant: Grant
    until: float


class Unauthenticated(Exception):
    """401: the credential does not hold. `reason` is a sentence for the caller's developer.

    cause: more for the hub's own log, such as the caller's name where that was proven; no secrets.
    """

    def __init__(self, reason: str, cause: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause or reason


class Unverifiable(Exception):
    """503: the hub cannot tell now, whatever the credential: a key set is not there yet, a table is full."""

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
