"""A private certificate authority, as a data centre has one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.support.leaksearch import seed_key_file


@dataclass(frozen=True)
class Certificate:
    """Paths of a PEM certificate chain and its key."""

    certificate: Path
    key: Path


class PrivateCA:
    """Issues certificates into `directory`; `ca_file` is what clients are told to trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._issued = 0
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, *names: str) -> Certificate:
        """A server (and client) certificate for `names`; 127.0.0.1 and localhost when none is given."""
        self._issued += 1
        issued = self._ca.issue_cert(*(names or ("127.0.0.1", "localhost")))
        certificate = self._directory / f"cert-{self._issued}.pem"
        key = self._directory / f"cert-{self._issued}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return Certificate(certificate, seed_key_file(key))

    def server_context(
        self, certificate: Certificate | None = None, *, ask_client: bool = False
    ) -> ssl.SSLContext:
        issued = certificate or self.issue()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_file)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))
