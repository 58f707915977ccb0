"""agent.toml: every key with its type, default and meaning. docs/configuration.md is made from this."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from protocol.http.allow import AllowList, RuleError
from protocol.keys import KeyFileError, load_private_key
from protocol.ops.files import (
    File,
    PublicKeyLine,
    SecretFile,
    VerifyKeyLine,
    parse_key_file,
    parse_path,
    parse_secret_file,
)
from protocol.ops.log import is_secret_name
from protocol.ops.model import Table, as_key, doc, nearest
from protocol.ops.tables import Admin as OwnAdmin
from protocol.ops.tables import Audit, PathException, Rule
from protocol.ops.tables import Log as OwnLog
from protocol.ops.tls import file_problem
from protocol.ops.tracing import Tracing
from protocol.ops.urls import HubUrl, ProxyUrl, UpstreamUrl, Url
from protocol.ops.values import (
    Address,
    Context,
    Kind,
    ListenAddress,
    Name,
    Size,
    Timeout,
    UpgradeToken,
    is_token,
    quoted,
    read_secret,
    split_host_port,
    text_of,
    toml_string,
)

from .enrolling import is_there, read_token

KIB: Final = 1024
MIB: Final = 1024 * KIB

FIELDS_BYTES: Final = 64 * KIB
"""Below what a frame may hold (protocol.limits)."""

_is_target = re.compile(r"/[!-~]*").fullmatch
_NOT_INJECTED: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via"}
)


class Injected(NamedTuple):
    """The value of a header that the agent adds: either written in the configuration or kept in a file."""

    value: str | None
    file: Path | None = None

    def read(self) -> str:
        """The value to send. Raises ValueError when the file cannot be read (its content is never named)."""
        if self.file is not None:
            return read_secret(self.file)
        return self.value or ""

    def __repr__(self) -> str:
        return f"Injected(file={self.file})" if self.file else "Injected(...)"


def parse_injected(value: object, context: Context) -> Injected:
    """A string, or {file = "..."} whose one line is the value."""
    if isinstance(value, dict):
        if set(value) != {"file"}:
            raise ValueError('is a table with other keys than file; write {file = "FILE"}')
        return Injected(None, parse_secret_file(value["file"], context))
    if not isinstance(value, str):
        raise ValueError(f'{quoted(value)} is neither text nor {{file = "FILE"}}')  # noqa: TRY004
    if any((c < " " and c != "\t") or c == "\x7f" for c in value) or value != value.strip(" \t"):
        raise ValueError("has control characters, or blanks at an end, which no header value may have")
    return Injected(value)


def parse_upstream_host(value: object, _context: Context | None = None) -> str:
    """ "upstream", "caller", or the value of Host itself."""
    text = text_of(value, '"upstream", "caller" or a host name')
    try:
        split_host_port(text)
    except ValueError:
        raise ValueError(
            f'{quoted(text)} is not "upstream", "caller" or a host name with or without port'
        ) from None
    return text


def parse_own_key_file(value: object, context: Context) -> Path:
    """A private key as `keygen` makes it; one that does not exist yet may be made by the agent itself."""
    path = parse_path(value, context)
    return parse_key_file(value, context) if is_there(path) else path


def parse_token_file(value: object, context: Context) -> Path:
    """A token as `tunnel-hub enrol-token` prints it, or no file any more; it is checked, not kept."""
    path = parse_path(value, context)
    if context.check_files:
        read_token(path)
    return path


class Agent(Table, frozen=True, kw_only=True):
    """[agent]"""

    id: Annotated[Name, doc("This agent's name, under which the hub lists its key", example='"leeds-1"')]
    key_file: Annotated[
        Annotated[Path, Kind("file or credential", parse_own_key_file, toml_string)],
        doc(
            "The agent's private key, made by `tunnel-agent keygen`, or by the agent itself when it starts with a "
            "token (`enrol_token_file`)",
            example='"agent.key"',
        ),
    ]


class Hub(Table, frozen=True, kw_only=True):
    """[[hubs]]"""

    url: Annotated[HubUrl, doc("The hub's websocket", example='"wss://hub.example/tunnel"')]
    public_keys: Annotated[
        tuple[PublicKeyLine, ...],
        doc(
            "The keys that a hub at this address may prove to have, as `tunnel-hub keygen` prints them",
            example='["ed25519:BASE64"]',
            at_least=1,
            at_most=16,
        ),
    ]
    enrol_token_file: Annotated[
        Annotated[Path, Kind("file or credential", parse_token_file, toml_string)] | None,
        doc(
            "A token of `tunnel-hub enrol-token`, with which the hub takes this agent's key; the agent removes "
            "the file once it has been let in, so it need not exist"
        ),
    ] = None
    sessions: Annotated[int, doc("Sessions kept open to it", ge=1, le=16)] = 2
    proxy: Annotated[
        ProxyUrl | None,
        doc(
            'The way out: an http, https, socks5 or socks5h URL with port; "" for none. By default the '
            "environment decides: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY"
        ),
    ] = None
    proxy_password_file: Annotated[SecretFile | None, doc("The password of the proxy's user")] = None
    ca_file: Annotated[File | None, doc("PEM CAs to trust for this hub instead of the system's")] = None
    client_certificate: Annotated[
        File | None, doc("PEM certificate chain to show, where a load balancer asks for one")
    ] = None
    client_key: Annotated[File | None, doc("Its PEM private key, unencrypted")] = None

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        yield from _tls_problems(self, self.url, "wss", context)
        if self.proxy_password_file and not (isinstance(self.proxy, Url) and self.proxy.user):
            yield "proxy_password_file", 'needs the user in proxy; write proxy = "http://USER@HOST:PORT"'


class Service(Table, frozen=True, kw_only=True):
    """[services.NAME]"""

    upstream: Annotated[UpstreamUrl, doc("The HTTP API, without a path", example='"http://127.0.0.1:9000"')]
    allow: Annotated[
        tuple[Rule, ...],
        doc(
            "The boundary: what is let in, each as METHOD and path pattern; nothing else passes. "
            "`*` is one segment, `**` any number",
            example='["GET /nomisapi/**"]',
        ),
    ]
    enabled: Annotated[bool, doc("The data centre's kill switch: false refuses every request")] = True
    read_only: Annotated[
        bool, doc("true lets in GET, HEAD and OPTIONS alone and no upgrade, whatever `allow` says")
    ] = False
    host: Annotated[
        Annotated[str, Kind('"upstream", "caller" or a host name', parse_upstream_host, lambda host: f'"{host}"')],
        doc("What Host says: the upstream's own name, the caller's Host, or this value"),
    ] = "upstream"
    headers: Annotated[
        dict[str, Annotated[Injected, Kind('text or {file = "FILE"}', parse_injected)]],
        doc("Header fields set on every request, in place of the caller's; secrets as {file = ...}"),
    ] = msgspec.field(default_factory=dict)
    ca_file: Annotated[File | None, doc("PEM CAs to trust for this upstream instead of the system's")] = None
    client_certificate: Annotated[File | None, doc("PEM certificate chain to show to the upstream")] = None
    client_key: Annotated[File | None, doc("Its PEM private key, unencrypted")] = None
    connect_timeout: Annotated[Timeout, doc("For a connection with TLS to the upstream")] = 5.0
    first_byte_timeout: Annotated[Timeout, doc("From the end of the request to the first byte of the answer")] = (
        60.0
    )
    idle_timeout: Annotated[Timeout, doc("No byte of a body either way for this long: ended")] = 300.0
    upgraded_idle_timeout: Annotated[Timeout, doc("The same for upgraded connections")] = 3600.0
    total_timeout: Annotated[
        Timeout | None, doc("For the whole exchange; by default no limit but the caller's deadline")
    ] = None
    max_connections: Annotated[int, doc("Connections to the upstream at once", ge=1, le=10_000)] = 64
    wait_timeout: Annotated[Timeout, doc("How long a request waits for a connection while all are busy")] = 10.0
    max_waiting: Annotated[
        int, doc("Requests that may wait for a connection; the next is refused as overload", ge=0, le=100_000)
    ] = 256
    keep_idle: Annotated[
        Timeout, doc("How long an idle connection is kept; below the upstream's own keep-alive time")
    ] = 4.0
    upgrades: Annotated[
        tuple[UpgradeToken, ...], doc("Protocols that may be upgraded to", example='["websocket"]')
    ] = ("websocket",)
    allow_paths: Annotated[
        tuple[PathException, ...],
        doc(
            "Ambiguous paths that are let through as they are; the hub's service must allow them too",
            example='["%2f"]',
        ),
    ] = ()
    signers: Annotated[
        tuple[Name, ...],
        doc(
            "Names of [signers.NAME]: only requests that one of them has signed get through, whatever the hub "
            "says; by default none need be signed",
            example='["booking"]',
        ),
    ] = ()
    health: Annotated[
        str | None,
        doc(
            "Path asked for with GET, by `check` and at intervals by the agent, on its own connection; a "
            "status below 500 is healthy. By default only calls without a connection show that the upstream fails"
        ),
    ] = None
    health_interval: Annotated[Timeout, doc("Between two requests for `health`")] = 10.0
    unhealthy_after: Annotated[
        int,
        doc("So many failures in a row, and the hubs prefer other agents until one success", ge=1, le=100),
    ] = 2

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        yield from _tls_problems(self, self.upstream, "https", context)
        if self.health is not None and not _is_target(self.health):
            yield "health", f'{quoted(self.health)} is not a path; write it as in "/health"'
        for rule in self.allow:
            try:
                AllowList.compile([rule], frozenset(self.allow_paths))
            except RuleError as error:
                yield "allow", str(error)
        seen: set[str] = set()
        for name, injected in self.headers.items():
            place, low = f"headers.{as_key(name)}", name.lower()
            if not is_token(name):
                yield place, "is not the name of a header field"
            elif low in _NOT_INJECTED:
                yield place, "is set by the agent itself" + ("; use the key host" if low == "host" else "")
            elif low in seen:
                yield place, "stands twice; names of header fields are the same in upper and lower case"
            elif injected.file is None and is_secret_name(name):
                yield place, 'looks like a secret in the configuration; write {file = "FILE"}'
            seen.add(low)


class Signer(Table, frozen=True, kw_only=True):
    """[signers.NAME]"""

    public_keys: Annotated[
        tuple[VerifyKeyLine, ...],
        doc(
            "The keys this caller may sign with: a line that keygen printed, or `es256:` and the text of a PEM "
            "public key on P-256; two at once, for rotation",
            example='["ed25519:BASE64"]',
            at_least=1,
            at_most=16,
        ),
    ]


class Admin(OwnAdmin, frozen=True, kw_only=True):
    """[admin]"""

    listen: Annotated[ListenAddress, doc("Health and metrics; keep it on a private address")] = Address(
        "127.0.0.1", 8083
    )


class Limits(Table, frozen=True, kw_only=True):
    """[limits]"""

    header_bytes: Annotated[Size, doc("The header block of an upstream's answer; above it 502")] = 64 * KIB
    headers_count: Annotated[int, doc("Fields in it; above it 502", ge=1, le=200)] = 100
    streams_per_session: Annotated[int, doc("Exchanges in one session at once", ge=1, le=65_536)] = 256
    window_memory: Annotated[Size, doc("Memory for all windows together; fast uploads share it")] = 64 * MIB
    signature_window: Annotated[
        Timeout,
        doc(
            "How far from this machine's clock a request's signature may have been created; as long its nonce is "
            "remembered"
        ),
    ] = 300.0
    signed_body_max: Annotated[
        Size, doc("The body of a signed request, which is kept until its digest is checked; above it 400")
    ] = 1 * MIB
    reconnect_max: Annotated[Timeout, doc("Longest pause between two attempts to reach a hub")] = 10.0
    drain_timeout: Annotated[Timeout, doc("Time for running exchanges after SIGTERM; then they are aborted")] = (
        30.0
    )

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        del context
        if self.header_bytes > FIELDS_BYTES:
            yield "header_bytes", 'is more than the tunnel carries; write at most "64KiB"'


class Log(OwnLog, frozen=True, kw_only=True):
    """[log]"""

    access: Annotated[
        Literal["all", "failures", "none"],
        doc(
            "Which exchanges get a line on stdout, with the hub's request id; failures are those that end without "
            "an answer, or with a 5xx"
        ),
    ] = "failures"


class AgentConfig(Table, frozen=True, kw_only=True):
    """The whole of agent.toml."""

    agent: Annotated[Agent, doc("Who this agent is")]
    hubs: Annotated[tuple[Hub, ...], doc("The hubs to connect to", at_least=1, at_most=64)]
    services: Annotated[
        dict[str, Service],
        doc("What this agent offers to the hubs, under the hub's names; at least one"),
    ]
    signers: Annotated[
        dict[str, Signer], doc("Callers that sign their requests, under the names that they use as keyid")
    ] = msgspec.field(default_factory=dict)
    admin: Annotated[Admin, doc("Health and metrics")] = Admin()
    limits: Annotated[Limits, doc("Bounds")] = Limits()
    log: Annotated[Log, doc("Logs")] = Log()
    audit: Annotated[Audit, doc("The audit")] = Audit()
    tracing: Annotated[Tracing | None, doc("Traces; by default none are recorded")] = None

    def check(self, context: Context) -> Iterator[tuple[str, str]]:
        if context.check_files and self.agent.key_file is not None and not is_there(self.agent.key_file):
            yield from self._missing_key()
        if not self.services:
            yield "services", "has no entry; write [services.NAME] with upstream and allow below it"
        for name, service in self.services.items():
            for signer in service.signers if service is not None else ():
                if signer not in self.signers:
                    yield (
                        f"services.{as_key(name)}.signers",
                        f"there is no [signers.{as_key(signer)}]; {nearest(signer, self.signers)}",
                    )
        urls: set[str] = set()
        for index, hub in enumerate(self.hubs):
            if hub.url is not None and hub.url in urls:
                yield f"hubs[{index}].url", f"{hub.url} stands twice; raise its sessions instead"
            urls.add(hub.url)

    def _missing_key(self) -> Iterator[tuple[str, str]]:
        """Nothing is wrong if the agent will make its key and has a token for it."""
        if any(hub.enrol_token_file is not None and is_there(hub.enrol_token_file) for hub in self.hubs):
            return
        try:
            load_private_key(self.agent.key_file)
        except KeyFileError as error:
            yield "agent.key_file", str(error)


def _tls_problems(table: Hub | Service, url: Url, scheme: str, context: Context) -> Iterator[tuple[str, str]]:
    for key in ("ca_file", "client_certificate", "client_key"):
        if getattr(table, key) is not None and not url.secure:
            yield key, f"has no effect on {url.scheme}://; write {scheme}://, or leave it out"
    if (table.client_certificate is None) != (table.client_key is None):
        lone, other = ("client_key", "client_certificate")[:: 1 if table.client_key else -1]
        yield lone, f"needs {other} beside it"
    elif context.check_files:
        # With nothing named, OpenSSL would load the system's authorities: 20 ms in which a reload stops the loop.
        if table.ca_file and (problem := file_problem(ca_file=table.ca_file)):
            yield "ca_file", problem
        if table.client_certificate and (
            problem := file_problem(certificate=table.client_certificate, key=table.client_key)
        ):
            yield "client_certificate", problem
