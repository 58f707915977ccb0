"""[callers] of hub.toml: how callers prove who they are, and what each may do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from protocol.http.allow import AllowList, RuleError
from protocol.ops.apikeys import KeyHash
from protocol.ops.files import File
from protocol.ops.model import Table, as_key, doc, nearest
from protocol.ops.tables import Rule
from protocol.ops.urls import WebUrl
from protocol.ops.values import Context, Duration, Kind, Size, Timeout, TrustedNetwork, quoted, text_of

from .certificates import normal
from .provisioning import ProvisioningKeyError, load_provisioning_key

if TYPE_CHECKING:
    from tunnel_hub.config import Service

_CLAIM = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")

SAY_HOW: Final = (
    'must be said; write authentication = "none" if every caller that can reach listen.callers may use every '
    "service, or give each caller a way to authenticate: docs/gateway.md"
)
NO_WAY: Final = (
    'is "required", but no caller has a way to authenticate; add [callers.named.NAME] with api_keys, '
    "certificates or oauth, or [callers.tokens]: docs/gateway.md"
)


def parse_claim(value: object, _context: Context | None = None) -> str:
    """A name out of a token or certificate: printable ASCII, so that it can be passed on in a header."""
    text = text_of(value, "a name")
    if not _CLAIM.fullmatch(text):
        raise ValueError(f"{quoted(text)} is no name; use 1 to 128 printable ASCII characters, no blank at an end")
    return text


ClaimName = Annotated[str, Kind("text", parse_claim, lambda name: f'"{name}"')]
Rules = dict[str, tuple[Rule, ...]]
"""Service -> allow list."""


class Tokens(Table, frozen=True, kw_only=True):
    """[callers.tokens]"""

    provisioning_keys: Annotated[
        tuple[File, ...],
        doc(
            "PEM public keys (P-256) that client tokens may be signed with; two while one is replaced",
            example='["provisioning.pem"]',
            at_least=1,
            at_most=16,
        ),
    ]
    skew: Annotated[
        Timeout, doc("How far a bearer's iat may be from the hub's clock, either way; callers' clocks drift")
    ] = 10.0
    revocations: Annotated[
        WebUrl | None,
        doc(
            "URL of a JSON array of revoked client tokens' fingerprints", example='"https://keys.example/revoked"'
        ),
    ] = None
    revocations_interval: Annotated[Timeout, doc("How often it is asked; a revocation waits no longer")] = 30.0
    allow: Annotated[
        Rules,
        doc(
            "By service: what clients may ask for that no table [callers.named.NAME] names, besides their own "
            "token's path list, which must match too"
        ),
    ] = msgspec.field(default_factory=dict)

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        if context.check_files:
            for file in self.provisioning_keys:
                try:
                    load_provisioning_key(file)
                except ProvisioningKeyError as error:
                    yield "provisioning_keys", str(error)


class OAuth(Table, frozen=True, kw_only=True):
    """[callers.oauth.NAME]"""

    issuer: Annotated[str, doc("The exact value of iss", example='"https://auth.example/auth/issuer"')]
    audience: Annotated[str, doc("What aud must hold", example='"tunnel"')]
    jwks: Annotated[WebUrl, doc("URL of its key set", example='"https://auth.example/jwks.json"')]
    jwks_interval: Annotated[
        Timeout, doc("How often the key set is asked for; an unknown key asks for it at once")
    ] = 300.0
    algorithms: Annotated[
        tuple[Literal["RS256", "PS256", "ES256"], ...], doc("Signatures that are accepted", at_least=1, at_most=3)
    ] = ("RS256",)
    skew: Annotated[Duration, doc("Tolerance for exp, nbf and iat")] = 10.0
    caller_claims: Annotated[
        tuple[ClaimName, ...],
        doc("The first of these claims that is there is the client", at_least=1, at_most=8),
    ] = ("client_id", "azp", "sub")


class Named(Table, frozen=True, kw_only=True):
    """[callers.named.NAME]"""

    api_keys: Annotated[
        tuple[KeyHash, ...],
        doc("Hashes of its API keys, as `tunnel-hub api-key` prints them", example='["sha256:HEX"]', at_most=16),
    ] = ()
    tokens: Annotated[
        tuple[ClaimName, ...], doc("Names (`client`) of its client tokens", example='["booking"]', at_most=16)
    ] = ()
    oauth: Annotated[
        tuple[ClaimName, ...],
        doc("Its OAuth clients as ISSUER/CLIENT, ISSUER being NAME of [callers.oauth.NAME]", at_most=16),
    ] = ()
    certificates: Annotated[
        tuple[ClaimName, ...],
        doc(
            "Names in its TLS client certificates (subject alternative DNS name or URI, else the common name), or "
            '"sha256:HEX" of one certificate',
            at_most=16,
        ),
    ] = ()
    allow: Annotated[
        Rules,
        doc("By service: what it may ask for, in the agents' rule language; all else is refused"),
    ] = msgspec.field(default_factory=dict)
    enabled: Annotated[bool, doc("false refuses the caller, also on connections that are open")] = True
    rate: Annotated[
        int | None, doc("Requests per second; more get 503. By default no limit", ge=1, le=1_000_000)
    ] = None
    burst: Annotated[
        int | None,
        doc("Requests at once beyond the rate; by default twice the rate", ge=1, le=1_000_000),
    ] = None
    concurrency: Annotated[
        int | None,
        doc("Requests at agents at once, instead of callers.concurrency; more wait", ge=1, le=1_000_000),
    ] = None
    max_body: Annotated[Size | None, doc("Largest request body, where less than the service's")] = None
    deadline: Annotated[Timeout | None, doc("Longest deadline, where less than the service's")] = None
    server_timing: Annotated[
        bool,
        doc("Whether it is told in `Server-Timing` where the time went, when it asks: `Tunnel-Server-Timing: 1`"),
    ] = False

    @property
    def ways(self) -> bool:
        """Whether it can prove who it is."""
        return bool(self.api_keys or self.tokens or self.oauth or self.certificates)

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        del context
        if not self.ways:
            yield "", "has no way to authenticate; add api_keys, tokens, oauth or certificates"
        if self.burst is not None and self.rate is None:
            yield "burst", "has no effect without rate; add it"


class Callers(Table, frozen=True, kw_only=True):
    """[callers]"""

    authentication: Annotated[
        Literal["required", "none"] | None,
        doc(
            '"required" is the default once a way to authenticate is configured below; "none" admits whoever '
            "reaches the port to every service, must be said, and is logged",
            example='"required"',
        ),
    ] = None
    trusted_proxies: Annotated[
        tuple[TrustedNetwork, ...],
        doc(
            "Networks whose Forwarded and X-Forwarded-* fields are believed; from others they are dropped",
            example='["10.0.0.0/8"]',
        ),
    ] = ()
    concurrency: Annotated[
        int | None,
        doc(
            "Requests that one caller may have at agents at once; more wait. By default no limit",
            ge=1,
            le=1_000_000,
        ),
    ] = None
    queue: Annotated[
        int | None,
        doc(
            "Requests of one caller that may wait for one service; the next gets 503. By default no limit",
            ge=0,
            le=1_000_000,
        ),
    ] = None
    tokens: Annotated[Tokens | None, doc("Two-layer ES256 tokens of existing clients")] = None
    oauth: Annotated[dict[str, OAuth], doc("OAuth2 issuers of client-credentials tokens")] = msgspec.field(
        default_factory=dict
    )
    named: Annotated[dict[str, Named], doc("Callers, by the name that upstreams are told")] = msgspec.field(
        default_factory=dict
    )

    @property
    def required(self) -> bool:
        """Whether callers must authenticate."""
        return self.authentication != "none"

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        del context
        ways = self.tokens is not None or any(named.ways for named in self.named.values())
        if not ways and not (self.named or self.oauth) and self.authentication is None:
            yield "authentication", SAY_HOW
        elif not ways and not self.named and self.authentication != "none":
            yield "authentication", NO_WAY
        issuers: dict[str, str] = {}
        for name, table in self.oauth.items():
            other = issuers.setdefault(table.issuer, name)
            if other != name:
                yield f"oauth.{as_key(name)}.issuer", f"is that of callers.oauth.{as_key(other)} too; name it once"
        owners: dict[tuple[str, str], str] = {}
        for name, named in self.named.items():
            place = f"named.{as_key(name)}"
            for way in ("api_keys", "tokens", "oauth", "certificates"):
                for value in getattr(named, way):
                    owner = owners.setdefault((way, normal(value) if way == "certificates" else value), name)
                    if owner != name:
                        yield f"{place}.{way}", f"{quoted(value)} belongs to callers.named.{as_key(owner)} already"
            if named.tokens and self.tokens is None:
                yield f"{place}.tokens", "needs [callers.tokens] with provisioning_keys"
            for client in named.oauth:
                issuer, slash, _ = client.partition("/")
                if not slash or issuer not in self.oauth:
                    yield (
                        f"{place}.oauth",
                        f"{quoted(client)} is not ISSUER/CLIENT with an ISSUER of [callers.oauth]; "
                        + nearest(issuer, self.oauth),
                    )


def rule_problems(callers: Callers, services: Mapping[str, Service]) -> Iterator[tuple[str, str]]:
    """What is wrong with the allow lists, each against its service; (key relative to [callers], sentence)."""
    places: list[tuple[str, Any]] = [(f"named.{as_key(name)}", named) for name, named in callers.named.items()]
    if callers.tokens is not None:
        places.append(("tokens", callers.tokens))
    for place, table in places:
        for service, rules in table.allow.items():
            if service not in services:
                yield f"{place}.allow", f"no service is called {quoted(service)}; {nearest(service, services)}"
                continue
            for rule in rules:
                try:
                    AllowList.compile([rule], frozenset(services[service].allow_paths))
                except RuleError as error:
                    yield f"{place}.allow.{as_key(service)}", str(error)
