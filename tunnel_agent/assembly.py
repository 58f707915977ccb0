"""Services and their upstreams from their tables in agent.toml."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from protocol.aio.wheel import Wheel
from protocol.http.allow import AllowList
from protocol.signatures.nonces import Nonces

from .config import Limits as LimitsConfig
from .config import Service as ServiceConfig
from .config import Signer
from .egress import dial as egress_dial
from .egress.timeouts import NEVER, Timeouts
from .egress.timeouts import Limits as EgressLimits
from .egress.upstream import Upstream
from .health import Watch
from .service import Service
from .signing import Signing

_UPSTREAM_KEYS: Final = (
    *("upstream", "ca_file", "client_certificate", "client_key", "max_connections", "max_waiting"),
    *("connect_timeout", "first_byte_timeout", "idle_timeout", "upgraded_idle_timeout", "total_timeout"),
    *("wait_timeout", "keep_idle"),
)


class Ingredients(NamedTuple):
    """What a service is made of besides its table; two that are equal make the same."""

    upstream: Hashable
    """What `make_upstream` depends on, contents of files included."""
    secrets: Hashable
    signers: Hashable


def ingredients(table: ServiceConfig, signers: Mapping[str, Signer]) -> Ingredients:
    """Raises ValueError for a file that cannot be read."""
    files = (table.ca_file, table.client_certificate, table.client_key)
    return Ingredients(
        (*(getattr(table, key) for key in _UPSTREAM_KEYS), *map(_digest, files)),
        tuple(_digest(injected.file) for injected in table.headers.values()),
        tuple(signers[name].public_keys for name in table.signers),
    )


def make_upstream(table: ServiceConfig, wheel: Wheel, limits: LimitsConfig) -> Upstream:
    """The upstream that the table names. Raises TlsFilesError."""
    url = table.upstream
    tls = None
    if url.secure:
        tls = egress_dial.tls_context(table.ca_file, table.client_certificate, table.client_key)
    return Upstream(
        url.host,
        url.port,
        wheel,
        tls=tls,
        timeouts=Timeouts(
            connect=table.connect_timeout,
            wait=table.wait_timeout,
            first_byte=table.first_byte_timeout,
            idle=table.idle_timeout,
            pipe_idle=table.upgraded_idle_timeout,
            total=NEVER if table.total_timeout is None else table.total_timeout,
            keep_idle=table.keep_idle,
        ),
        limits=EgressLimits(
            connections=table.max_connections,
            waiting=table.max_waiting,
            head_bytes=limits.header_bytes,
            head_fields=limits.headers_count,
        ),
    )


def make_signing(
    table: ServiceConfig, signers: Mapping[str, Signer], limits: LimitsConfig, nonces: Nonces
) -> Signing | None:
    """What the table demands of signatures, if anything."""
    if not table.signers:
        return None
    return Signing(
        {name: signers[name].public_keys for name in table.signers},
        nonces,
        window=limits.signature_window,
        body_max=limits.signed_body_max,
    )


def make_service(name: str, table: ServiceConfig, upstream: Upstream, signing: Signing | None) -> Service:
    """The service as its table says. Raises ValueError for a secret's file that cannot be read."""
    # A few more than connections, so that a connection that becomes free has its next request already.
    limit = table.max_connections + min(table.max_waiting, max(1, table.max_connections // 4))
    added: list[bytes] = []
    for field, injected in table.headers.items():
        added += (field.encode("ascii"), injected.read().encode("latin-1"))
    return Service(
        name,
        boundary=AllowList.compile(table.allow, frozenset(table.allow_paths)),
        upstream=upstream,
        watch=Watch(name, table, upstream, fields=added),
        limit=limit,
        host={"upstream": table.upstream.authority.encode("ascii"), "caller": b""}.get(
            table.host, table.host.encode("ascii")
        ),
        added=added,
        upgrades=frozenset(token.lower().encode("ascii") for token in table.upgrades),
        enabled=table.enabled,
        read_only=table.read_only,
        signing=signing,
        path_exceptions=frozenset(table.allow_paths),
    )


def _digest(file: Path | None) -> bytes:
    try:
        return b"" if file is None else hashlib.sha256(file.read_bytes()).digest()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
