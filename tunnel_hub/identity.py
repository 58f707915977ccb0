"""Who the hub is towards agents and callers: its key, its certificates, and what agents must have seen of them.

`renew` reads key and certificates again: handshakes and connections to come use the new ones, nothing is cut.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.handshake import ANY_CERTIFICATE, Binding, HubHandshake, certificate_hash
from protocol.keys import PrivateKey, load_private_key
from protocol.ops.tls import load_pair, server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.limits import Limits
    from protocol.ops.tables import ServerTls

    from .config import HubConfig
    from .registrar import Registrar


class Identity:
    """Made from a configuration that was checked. Raises KeyFileError, TlsFileError, as `renew` does."""

    def __init__(self, config: HubConfig, limits: Limits) -> None:
        self._limits = limits
        self.callers_tls = _context(config.listen.callers_tls)
        self.agents_tls = _context(config.listen.agents_tls)
        self._hub_id = config.hub.id
        self._key = _key(config)
        self._shown = _hash(config.listen.agents_tls)
        self._former: bytes | None = None
        self._listed = config.listen.agents_certificates

    def renew(self, config: HubConfig) -> None:
        """Use the key and the certificates that the files hold now; on an exception nothing has changed.

        TLS itself comes and goes only at a start: until then agents are asked for what the listener shows.
        """
        key = _key(config)
        pairs = (
            (self.callers_tls, config.listen.callers_tls),
            (self.agents_tls, config.listen.agents_tls),
        )
        for _, table in pairs:
            _context(table)  # raises before anything has changed
        shown = self._shown if self.agents_tls is None else _hash(config.listen.agents_tls) or self._shown
        for context, table in pairs:
            if context is not None and table is not None:
                load_pair(context, table.certificate, table.key)
        if shown != self._shown:
            self._former, self._shown = self._shown, shown
        self._key = key
        self._listed = config.listen.agents_certificates

    def handshakes(self) -> Callable[[Registrar], HubHandshake]:
        """What makes a handshake for each connection, with fresh random values."""

        def make(registrar: Registrar) -> HubHandshake:
            return HubHandshake(
                hub_id=self._hub_id,
                key=self._key,
                nonce=os.urandom(32),
                session_id=os.urandom(16),
                lookup=registrar.lookup,
                binding=self._binding(),
                limits=self._limits,
                registrar=registrar,
                most_keys=registrar.most_keys,
            )

        return make

    def _binding(self) -> Binding:
        """Which TLS certificates agents may have seen: the hub's own, the one before it, and those listed."""
        if self._listed == "any":
            return ANY_CERTIFICATE
        own = [each for each in (self._shown, self._former) if each is not None]
        return [*self._listed, *own] or None


def _context(table: ServerTls | None) -> ssl.SSLContext | None:
    if table is None:
        return None
    optional = table.client_certificates == "optional"
    return server_context(table.certificate, table.key, table.client_ca, optional=optional)


def _hash(table: ServerTls | None) -> bytes | None:
    if table is None:
        return None
    certificate = x509.load_pem_x509_certificate(Path(table.certificate).read_bytes())
    return certificate_hash(certificate.public_bytes(Encoding.DER))


def _key(config: HubConfig) -> PrivateKey:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return load_private_key(config.hub.key_file, credentials_directory=Path(directory) if directory else None)
