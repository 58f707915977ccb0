"""A private certificate authority, as a data centre has one."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support import tokens
from tests.support.leaksearch import seed_key_file


@dataclass(frozen=True)
class Certificate:
    """Paths of a PEM certificate chain and its key."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """As a caller's table names it: the hash of the own certificate, which is the chain's first."""
        own = x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        return "sha256:" + sha256(own.public_bytes(serialization.Encoding.DER)).hexdigest()


class PrivateCA:
    """Issues certificates into `directory`; `ca_file` is what clients are told to trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._issued = 0
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    @property
    def name(self) -> str:
        """As RFC 4514 writes it."""
        return x509.load_pem_x509_certificate(self._ca.cert_pem.bytes()).subject.rfc4514_string()

    def issue(self, *names: str, days: float | None = None) -> Certificate:
        """A server (and client) certificate for `names`; 127.0.0.1 and localhost when none is given.

        days: how long it is good; by default for years.
        """
        self._issued += 1
        end = None if days is None else datetime.datetime.now(datetime.UTC) + datetime.timedelta(days)
        issued = self._ca.issue_cert(*(names or ("127.0.0.1", "localhost")), not_after=end)
        certificate = self._directory / f"cert-{self._issued}.pem"
        key = self._directory / f"cert-{self._issued}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return Certificate(certificate, seed_key_file(key))

    def issue_client(
        self, *, hosts: Sequence[str] = (), uris: Sequence[str] = (), common_name: str = "client"
    ) -> Certificate:
        """A client certificate with these subject alternative names."""
        self._issued += 1
        key = tokens.p256()
        authority = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        signer = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        now = datetime.datetime.now(datetime.UTC)
        names = [*map(x509.DNSName, hosts), *map(x509.UniformResourceIdentifier, uris)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issued = builder.sign(signer, hashes.SHA256())  # type: ignore[arg-type]
        certificate = self._directory / f"client-{self._issued}.pem"
        key_file = self._directory / f"client-{self._issued}.key"
        certificate.write_bytes(issued.public_bytes(serialization.Encoding.PEM))
        key_file.write_text(tokens.private_pem(key))
        key_file.chmod(0o600)
        return Certificate(certificate, key_file)

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

    def client_context(self, shown: Certificate | None = None) -> ssl.SSLContext:
        """For clients that trust this authority; shown: the client certificate."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        return context
