"""hub.toml: every key with its type, default and meaning. docs/configuration.md is made from this."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from protocol.http.names import CONNECTION_LEVEL, classify, plain
from protocol.http.names import Kind as KindOfField
from protocol.keys import PublicKey
from protocol.ops.files import Hashes, KeyFile, NewFile, PublicKeyLine
from protocol.ops.model import Table, as_key, doc, nearest
from protocol.ops.tables import Admin, Audit, PathException, ServerTls
from protocol.ops.tables import Log as OwnLog
from protocol.ops.tracing import Tracing
from protocol.ops.values import (
    Address,
    Context,
    Duration,
    HostName,
    Kind,
    ListenAddress,
    Name,
    Size,
    Timeout,
    UpgradeToken,
    is_token,
    quoted,
    text_of,
    toml_string,
)

from .gateway.config import Callers, rule_problems
from .gateway.onward import DEFAULT

KIB: Final = 1024
MIB: Final = 1024 * KIB

FIELDS_BYTES: Final = 64 * KIB
TARGET_BYTES: Final = 16 * KIB
"""Below what a frame may hold (protocol.limits), with room for the fields that the hub adds."""

_PREFIX = re.compile(r"/(?:(?!\.{1,2}/)[A-Za-z0-9._~!$&'()*+,=:@-]+/)*")


def parse_prefix(value: object, _context: Context | None = None) -> str:
    """A path prefix of whole segments: begins and ends with "/", plain characters only."""
    text = text_of(value, "a path prefix")
    if not (text.startswith("/") and text.endswith("/")):
        middle = text.strip("/")
        fixed = f"/{middle}/" if middle else "/"
        raise ValueError(
            f"{quoted(text)} must begin and end with a slash, so that it covers whole segments: {fixed}"
        )
    if not _PREFIX.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} is not a plain path prefix; leave out '%', '?', '#', ';', '//' "
            "and the segments '.' and '..'"
        )
    return text


def parse_field_name(value: object, _context: Context | None = None) -> str:
    """The name of a header field."""
    text = text_of(value, "the name of a header field")
    if not is_token(text):
        raise ValueError(f'{quoted(text)} is not the name of a header field; write it as in "X-Client-Name"')
    return text


PathPrefix = Annotated[str, Kind("path prefix", parse_prefix, lambda value: f'"{value}"')]


FieldName = Annotated[str, Kind("field name", parse_field_name, toml_string)]
_NOT_RENAMED: Final = CONNECTION_LEVEL | KindOfField.TUNNEL | KindOfField.VIA | KindOfField.OVERRIDE


class Hub(Table, frozen=True, kw_only=True):
    """[hub]"""

    id: Annotated[Name, doc("This hub's name in logs, metrics and Via", example='"hub-1"')]
    key_file: Annotated[
        KeyFile,
        doc("The hub's private key, made by `tunnel-hub keygen`", example='"hub.key"'),
    ]


class Listen(Table, frozen=True, kw_only=True):
    """[listen]"""

    callers: Annotated[ListenAddress, doc("Where callers' HTTP arrives")] = Address("127.0.0.1", 8080)
    agents: Annotated[ListenAddress, doc("Where agents' websockets arrive, at the path /tunnel")] = Address(
        "127.0.0.1", 8081
    )
    admin: Annotated[
        ListenAddress,
        doc("Health and metrics; not for callers, so keep it on a private address"),
    ] = Address("127.0.0.1", 8082)
    callers_tls: Annotated[ServerTls | None, doc("TLS for callers; without it they speak plain HTTP")] = None
    agents_tls: Annotated[ServerTls | None, doc("TLS for agents; without it they use ws://")] = None
    agents_certificates: Annotated[
        Hashes,
        doc(
            "Where a load balancer terminates the agents' TLS: the hash of each certificate that it shows, "
            "besides the hub's own. The hash function is that of the certificate's signature (RFC 5929), "
            "mostly SHA-256. "
            '"any" gives up noticing a TLS-intercepting proxy, and is logged'
        ),
    ] = frozenset()

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        del context
        taken: dict[Address, str] = {}
        for key in ("callers", "agents", "admin"):
            address: Address = getattr(self, key)
            if address.port and address in taken:
                yield key, f"{address} is already listen.{taken[address]}; give each its own port"
            taken.setdefault(address, key)


class Service(Table, frozen=True, kw_only=True):
    """[services.NAME]"""

    hosts: Annotated[
        tuple[HostName, ...],
        doc(
            "Requests with one of these names in Host belong to the service",
            example='["visits.internal"]',
        ),
    ] = ()
    paths: Annotated[
        tuple[PathPrefix, ...],
        doc(
            "Requests whose path begins with one of these belong to the service; the longest wins and is "
            "kept when forwarded. Each begins and ends with a slash",
            example='["/nomisapi/"]',
        ),
    ] = ()
    enabled: Annotated[bool, doc("The kill switch: false answers 503 at once, without asking an agent")] = True
    deadline: Annotated[Timeout, doc("Longest time from a request's head to its answer's head; then 504")] = 30.0
    hold: Annotated[Duration, doc("How long a request waits for a session when there is none; then 503")] = 2.0
    hold_limit: Annotated[
        int,
        doc(
            "Requests that may wait at once, for a session or for their turn; beyond it the caller who has most "
            "of them waiting gets 503",
            ge=0,
            le=1_000_000,
        ),
    ] = 1000
    hold_bytes: Annotated[
        Size, doc("Memory for the request bodies of those that wait; beyond it as with hold_limit")
    ] = 16 * MIB
    concurrency: Annotated[
        int | None,
        doc(
            "Requests that agents may have at once; more wait their turn. By default no limit", ge=1, le=1_000_000
        ),
    ] = None
    queue_timeout: Annotated[
        Duration, doc("How long a request waits for its turn while all agents are at their limits; then 503")
    ] = 5.0
    max_body: Annotated[Size | None, doc("Largest request body; above it 413. By default no limit")] = None
    upgrades: Annotated[
        tuple[UpgradeToken, ...],
        doc(
            "Protocols a caller may upgrade to; others travel as ordinary requests",
            example='["websocket"]',
        ),
    ] = ("websocket",)
    allow_paths: Annotated[
        tuple[PathException, ...],
        doc(
            "Ambiguous paths that are let through as they are; the agent's service must allow them too",
            example='["%2f"]',
        ),
    ] = ()
    name_header: Annotated[
        FieldName, doc("Field that tells the upstream the caller's verified name; a caller's own is dropped")
    ] = "X-Client-Name"
    rename_headers: Annotated[
        dict[str, FieldName],
        doc(
            "Fields that get another name on their way to the agent, in place of the caller's own of that name",
            example='{ "Elite-Authorization" = "Authorization" }',
        ),
    ] = msgspec.field(default_factory=dict)
    server_timing: Annotated[
        bool,
        doc(
            "Tell every caller in `Server-Timing`, behind the upstream's own, where the time went; callers that "
            "may ask for it themselves: callers.named.NAME.server_timing"
        ),
    ] = False

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        del context
        for name, target in {self.name_header: self.name_header, **self.rename_headers}.items():
            for each in {name, target}:
                if not is_token(each) or classify(each.encode("ascii")) & _NOT_RENAMED:
                    place = "name_header" if name == target else f"rename_headers.{as_key(name)}"
                    yield place, f"{quoted(each)} is not a field that can be renamed"
        names = {plain(DEFAULT.encode()), plain(self.name_header.encode())}
        taken: dict[bytes, str] = {}
        for name, target in self.rename_headers.items():
            place = f"rename_headers.{as_key(name)}"
            for each in (name, target):
                if plain(each.encode()) in names:
                    yield place, f"{quoted(each)} tells the caller's verified name, so no field may become it"
            other = taken.setdefault(plain(target.encode()), name)
            if other != name:
                yield place, f"{quoted(target)} is the new name of {quoted(other)} already"


class Agent(Table, frozen=True, kw_only=True):
    """[agents.ID]"""

    public_keys: Annotated[
        tuple[PublicKeyLine, ...],
        doc(
            "The agent's public keys as `tunnel-agent keygen` prints them, two at once while one is replaced; "
            "keys that the agent enrolled are good besides",
            example='["ed25519:BASE64"]',
            at_most=4,
        ),
    ] = ()
    services: Annotated[tuple[str, ...], doc("The services this agent may serve", example='["visits"]')] = ()
    concurrency: Annotated[
        int | None,
        doc(
            "Requests that each of its processes may have at once, over all services. By default its own limits",
            ge=1,
            le=1_000_000,
        ),
    ] = None
    duplicates: Annotated[
        Literal["allow", "refuse"],
        doc("What becomes of a second process with this id, such as a copy of its machine; it is always logged"),
    ] = "allow"


class Limits(Table, frozen=True, kw_only=True):
    """[limits]"""

    callers: Annotated[
        int,
        doc("Callers' connections at once; above it new ones are answered 503", ge=1, le=1_000_000),
    ] = 10_000
    header_bytes: Annotated[Size, doc("A request's header block; above it 431")] = 64 * KIB
    headers_count: Annotated[int, doc("Fields in it; above it 431", ge=1, le=200)] = 100
    target_bytes: Annotated[Size, doc("Path and query; above it 414")] = 8 * KIB
    header_timeout: Annotated[
        Timeout, doc("From a request's first byte to the end of its header block; then 408")
    ] = 10.0
    idle_timeout: Annotated[
        Timeout,
        doc("A kept connection without a request; must outlast the callers' own, or they meet resets"),
    ] = 120.0
    body_idle_timeout: Annotated[Timeout, doc("No byte of a request body for this long: closed")] = 60.0
    send_idle_timeout: Annotated[
        Timeout, doc("A caller that takes no byte of its answer for this long: closed")
    ] = 60.0
    min_rate: Annotated[
        Size,
        doc("Bytes per second that a caller must send or take on average while it is its turn; slower: closed"),
    ] = 256
    handshakes: Annotated[
        int,
        doc(
            "Agents' handshakes taken up per second while requests are served; more wait",
            ge=1,
            le=10_000,
        ),
    ] = 200
    streams_per_session: Annotated[int, doc("Exchanges in one session at once", ge=1, le=65_536)] = 256
    window_memory: Annotated[Size, doc("Memory for all windows together; fast downloads share it")] = 64 * MIB
    drain_timeout: Annotated[Timeout, doc("Time for running exchanges after SIGTERM; then they are aborted")] = (
        30.0
    )

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        del context
        if self.header_bytes > FIELDS_BYTES:
            yield "header_bytes", 'is more than the tunnel carries; write at most "64KiB"'
        if self.target_bytes > TARGET_BYTES:
            yield "target_bytes", 'is more than the tunnel carries; write at most "16KiB"'


class State(Table, frozen=True, kw_only=True):
    """[state]"""

    file: Annotated[
        NewFile | None,
        doc(
            "Where the hub keeps enrolled and revoked keys; the commands make it. On a local disk. "
            'By default "hub.db" in the folder of this file'
        ),
    ] = None

    def path(self, config_file: Path) -> Path:
        """The state file of the hub whose configuration is `config_file`."""
        return self.file or config_file.absolute().parent / "hub.db"


class Log(OwnLog, frozen=True, kw_only=True):
    """[log]"""

    access: Annotated[bool, doc("Write one line per exchange to stdout")] = True


class HubConfig(Table, frozen=True, kw_only=True):
    """The whole of hub.toml."""

    hub: Annotated[Hub, doc("Who this hub is")]
    listen: Annotated[Listen, doc("Its three listeners")] = Listen()
    callers: Annotated[Callers, doc("Who may call")]
    services: Annotated[
        dict[str, Service],
        doc("What callers can reach, by name. A request may also name its service in the field Tunnel-Service"),
    ] = msgspec.field(default_factory=dict)
    agents: Annotated[dict[str, Agent], doc("Which agents may connect, by the id in their own configuration")] = (
        msgspec.field(default_factory=dict)
    )
    admin: Annotated[Admin, doc("The status page at `listen.admin`")] = Admin()
    limits: Annotated[Limits, doc("Bounds; the defaults suit 1 GiB of memory")] = Limits()
    state: Annotated[State, doc("What the hub remembers")] = State()
    log: Annotated[Log, doc("Logs")] = Log()
    audit: Annotated[Audit, doc("The audit")] = Audit()
    tracing: Annotated[Tracing | None, doc("Traces; by default none are recorded")] = None

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        del context
        yield from ((f"callers.{key}", problem) for key, problem in rule_problems(self.callers, self.services))
        tls = self.listen.callers_tls
        for name, named in self.callers.named.items():
            if named.certificates and (tls is None or tls.client_ca is None):
                yield f"callers.named.{as_key(name)}.certificates", "needs client_ca in [listen.callers_tls]"
        yield from _unique(self.services, "hosts")
        yield from _unique(self.services, "paths")
        owners: dict[PublicKey, str] = {}
        for agent_id, agent in self.agents.items():
            place = f"agents.{as_key(agent_id)}"
            for name in agent.services:
                if name not in self.services:
                    message = f"no service is called {quoted(name)}; {nearest(name, self.services)}"
                    yield f"{place}.services", message
            for line in agent.public_keys:
                owner = owners.setdefault(line, agent_id)
                if owner != agent_id:
                    message = (
                        f"{quoted(str(line))} is the key of agents.{as_key(owner)} too; every agent needs its own"
                    )
                    yield f"{place}.public_keys", message


def _unique(services: Mapping[str, Any], key: Literal["hosts", "paths"]) -> Iterator[tuple[str, str]]:
    owners: dict[str, str] = {}
    for name, service in services.items():
        for value in getattr(service, key):
            if value in owners:
                message = f"{quoted(value)} belongs to services.{as_key(owners[value])} already; name it once"
                yield f"services.{as_key(name)}.{key}", message
            owners.setdefault(value, name)
