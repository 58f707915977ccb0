"""The gate: from a request's credential to the caller, and from the caller's rules to yes or no.

No I/O: verifiers are handed in, and the clocks' readings with each call. A credential that was verified is
remembered by its very bytes, so that the next request with it costs one look-up.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from protocol.http.names import KINDS, Kind
from protocol.http.target import BadTarget, check_target
from tunnel_hub.problems import HUB_PROBLEMS, Problem

from .grant import NEVER, Grant, Unauthenticated, Unverifiable, Verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel_hub.ingress.request import Request

    from .directory import Directory
    from .policy import Policy

CACHE_MAX: Final = 4096
"""Credentials that are remembered."""

CACHED_BYTES: Final = 8 * 1024 + 256
"""The longest of them: a bearer and its scheme. With more blanks between the two it has many spellings."""

API_KEY: Final = b"tk_"

LASTING: Final = frozenset({"token", "certificate"})
"""Means whose credentials people replace before they end; OAuth tokens are made anew by themselves."""

NOTHING_SHOWN: Final = (
    "The request shows no credentials that this hub takes: send an API key in X-Api-Key, a token in "
    "Authorization: Bearer, or a TLS client certificate, as agreed with the hub's operators."
)

TWO_SHOWN: Final = (
    "The request shows two credentials of this hub, in X-Api-Key and in Authorization; send one of them only."
)


class Denied(Exception):
    """The request goes no further. `problem` and `detail` are for the caller, `cause` is for the hub's log."""

    def __init__(self, problem: Problem, detail: str, cause: str = "", retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.cause = cause or detail
        self.retry_after = retry_after


class Admitted(NamedTuple):
    """Who calls, by what proof, and until when (time.time()) these bytes prove it."""

    policy: Policy
    grant: Grant
    until: float


class Verifier(Protocol):
    """One way to authenticate."""

    def verify(self, credential: bytes, now: float) -> Verified:
        """Raises Unauthenticated, Unverifiable. now: time.time()."""


class Bearers(Protocol):
    """Verifies a bearer of any kind."""

    def verify(self, bearer: bytes, now: float) -> Verified | None:
        """None: it is of no kind that the hub takes, so it may be the upstream's. Raises as a Verifier does."""


class Gate:
    """`authenticate` first, then `authorise`; both raise Denied."""

    def __init__(
        self,
        directory: Directory,
        *,
        bearers: Bearers,
        api_keys: Verifier | None,
        certificates: Verifier | None,
        is_revoked: Callable[[Grant], bool],
        notice: Callable[[Grant], None] = lambda _grant: None,
    ) -> None:
        """is_revoked: asked of what runs and of what is remembered; verifiers know by themselves.

        notice: told of each grant verified.
        """
        self.directory = directory
        self._bearers = bearers
        self._api_keys = api_keys
        self._certificates = certificates
        self._is_revoked = is_revoked
        self._notice = notice
        self._known: dict[bytes, Admitted] = {}
        self.verified: Counter[str] = Counter()
        """Credentials verified, by means; those that were remembered are not counted."""
        self.refused: Counter[str] = Counter()
        """Requests refused, by the problem's code."""

    # -- Who calls ------------------------------------------------------------------------------------

    def authenticate(self, request: Request, certificate: bytes, now: float) -> Admitted:
        """Who sent the request. Takes the credential that proved it out of the request's fields.

        certificate: DER of the verified TLS client certificate, b"" without one. now: time.time().
        Raises Denied.
        """
        fields = request.fields
        if request.kinds & Kind.CREDENTIAL:
            key, bearer = self._credentials_at(fields)
            at = key if key >= 0 else bearer
            if at >= 0:
                admitted = self._by_field(fields[at + 1], fields[at], now)
                if admitted is not None:
                    if key >= 0 <= bearer and self._by_field(fields[bearer + 1], fields[bearer], now) is not None:
                        raise self._denied("unauthenticated", TWO_SHOWN)  # one of them would go on to the upstream
                    del fields[at : at + 2]
                    return admitted
        if certificate and self._certificates is not None:
            admitted = self._remembered(certificate, now)
            if admitted is None:
                admitted = self._verified(self._certificates, certificate, certificate, now)
            if admitted is not None:
                return admitted
        raise self._denied("unauthenticated", NOTHING_SHOWN)

    def _credentials_at(self, fields: list[bytes]) -> tuple[int, int]:
        """Where the API key's own field and Authorization stand; -1: nowhere."""
        bearer = key = -1
        for index in range(0, len(fields), 2):
            if KINDS[fields[index]] is not Kind.CREDENTIAL:
                continue
            name = fields[index].lower()
            if name == b"authorization":
                if bearer >= 0:
                    raise self._denied("unauthenticated", "The request has more than one Authorization field.")
                bearer = index
            elif name == b"x-api-key" and self._api_keys is not None:
                if key >= 0:
                    raise self._denied("unauthenticated", "The request has more than one X-Api-Key field.")
                key = index
        return key, bearer

    def _by_field(self, value: bytes, name: bytes, now: float) -> Admitted | None:
        """Who proves to be who by this field; None: it says nothing to the hub, so it is the upstream's."""
        is_key = len(name) == len(b"x-api-key")
        if value.startswith(API_KEY) is is_key:  # else it was remembered from the other field, where it holds
            known = self._remembered(value, now)
            if known is not None:
                return known
        if is_key:
            assert self._api_keys is not None
            return self._verified(self._api_keys, value, value, now)
        scheme, _, bearer = value.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        bearer = bearer.strip(b" ")
        if bearer.startswith(API_KEY) and self._api_keys is not None:
            return self._verified(self._api_keys, value, bearer, now)
        return self._verified(self._bearers, value, bearer, now)

    def _remembered(self, key: bytes, now: float) -> Admitted | None:
        known = self._known.get(key)
        return known if known is not None and now < known.until else None

    def _verified(
        self, verifier: Verifier | Bearers, key: bytes, credential: bytes, now: float
    ) -> Admitted | None:
        """Whose credential it is; None: nobody's that the hub knows of. `key`: what it is remembered by."""
        try:
            verified = verifier.verify(credential, now)
        except Unauthenticated as error:
            raise self._denied("unauthenticated", error.reason, error.cause) from None
        except Unverifiable as error:
            raise self._denied("authentication_unavailable", error.reason, retry_after=error.retry_after) from None
        if verified is None:
            return None
        grant, until = verified
        self.verified[grant.means] += 1
        self._notice(grant)
        policy = self.directory.find(grant)
        if policy is None:
            raise self._denied(
                "forbidden",
                f'The credentials are valid, but the hub knows no caller for "{grant.name}": ask its operators to '
                "add it.",
            )
        if not policy.enabled:
            raise self._denied("forbidden", f'The caller "{policy.name}" is switched off at the hub.')
        if grant.means in LASTING and grant.expires != NEVER:
            policy.ends[grant.means] = max(grant.expires, policy.ends.get(grant.means, 0.0))
        admitted = Admitted(policy, grant, min(until, grant.expires))
        if until > now and len(key) <= CACHED_BYTES:
            known = self._known
            if len(known) >= CACHE_MAX:
                del known[next(iter(known))]
            known[key] = admitted
        return admitted

    def follow(self, before: Gate) -> None:
        """Go on counting where `before`, the gate until a reload, stands."""
        self.verified, self.refused = before.verified, before.refused

    def holds(self, grant: Grant, service: str, method: bytes, target: bytes, now: float) -> bool:
        """Whether what was let in with this grant may go on. now: time.time()."""
        if now >= grant.expires or self._is_revoked(grant):
            return False
        policy = self.directory.find(grant)
        if policy is None or not policy.enabled:
            return False
        rules = policy.allow.get(service)
        return rules is not None and rules.allows(method, target)

    def forget_revoked(self) -> None:
        """Verify anew what was remembered and is revoked by now, when it comes again."""
        for key in [key for key, known in self._known.items() if self._is_revoked(known.grant)]:
            del self._known[key]

    # -- What it may do -------------------------------------------------------------------------------

    def authorise(
        self,
        admitted: Admitted,
        service: str,
        method: bytes,
        target: bytes,
        exceptions: frozenset[str],
        now: float,
    ) -> None:
        """Whether the caller's rules and rate allow the request; exceptions: the service's path policy's.

        now: a monotonic clock's seconds. Raises Denied.
        """
        policy, grant = admitted.policy, admitted.grant
        rules = policy.allow.get(service)
        if rules is None or not rules.allows(method, target):
            try:
                check_target(target, exceptions)
            except BadTarget as error:
                raise self._denied("malformed_request", str(error)) from None
            why = rules.decide(method, target).reason if rules is not None else "It has no rule for this service."
            raise self._denied("forbidden", _not_allowed(policy.name, service, why))
        if grant.access is not None and not grant.access.allows(target):
            raise self._denied(
                "forbidden", _not_allowed(policy.name, service, "No path pattern of its client token matches.")
            )
        if not policy.take(now):
            raise self._denied("rate_exceeded", "", retry_after=1)

    def _denied(self, code: str, detail: str, cause: str = "", retry_after: int | None = None) -> Denied:
        self.refused[code] += 1
        return Denied(HUB_PROBLEMS[code], detail, cause, retry_after)


def _not_allowed(caller: str, service: str, why: str) -> str:
    return (
        f'The caller "{caller}" may not ask this of the service "{service}". {why} '
        "If it needs to, ask the hub's operators for a rule."
    )
