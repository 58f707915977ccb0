"""TLS client certificates: who owns the one that a caller showed. That it is genuine, TLS has verified before."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from tunnel_hub.gateway.grant import Grant, Unauthenticated, Verified

DER_BYTES: Final = 64 * 1024
HASH_PREFIX: Final = "sha256:"


class Certificates:
    """Verifies that exactly one configured owner has a certificate."""

    def __init__(self, owners: Mapping[str, str]) -> None:
        """owners: by a name in the certificate or `sha256:HEX` of its DER, whose it is."""
        self._owners: dict[str, set[str]] = {}
        for name, owner in owners.items():
            self._owners.setdefault(normal(name), set()).add(owner)

    def has(self, grant: Grant) -> bool:
        """Whether the certificate is still its owner's, by its hash or one of its names."""
        return any(grant.name in self._owners.get(name, ()) for name in grant.rests_on)

    def verify(self, der: bytes, now: float) -> Verified:
        """Whose certificate it is; now is time.time(). Raises Unauthenticated."""
        fingerprint = sha256(der).hexdigest()
        certificate, names = _parsed(der)
        every = tuple(map(normal, (HASH_PREFIX + fingerprint, *names)))
        found = {owner for name in every for owner in self._owners.get(name, ())}
        if not found:
            raise Unauthenticated("The TLS client certificate belongs to no caller of this gateway.")
        if len(found) > 1:
            raise Unauthenticated(
                "The TLS client certificate names several callers; use one that names a single caller.",
                f"the certificate fits several callers: {', '.join(sorted(found))}",
            )
        (owner,) = found
        begins, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        if now < begins:
            raise _refusal(owner, "The TLS client certificate is not valid yet; set the clock, or wait.")
        if now >= ends:
            raise _refusal(owner, "The TLS client certificate has expired; use a new one.")
        return Verified(Grant(owner, "certificate", fingerprint, expires=ends, rests_on=every), ends)


def _refusal(owner: str, reason: str) -> Unauthenticated:
    return Unauthenticated(reason, f"caller {owner}: {reason}")


def _parsed(der: bytes) -> tuple[x509.Certificate, list[str]]:
    if len(der) <= DER_BYTES:
        try:
            certificate = x509.load_der_x509_certificate(der)
            return certificate, _names(certificate)
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            pass
    raise Unauthenticated("The TLS client certificate cannot be read.")


def _names(certificate: x509.Certificate) -> list[str]:
    """Its DNS names and URIs; the common names where it has neither.

    A name is never taken for one of another kind: only URIs have a colon, and none stands for a fingerprint.
    """
    try:
        other = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        hosts, uris = [], []
    else:
        hosts = other.get_values_for_type(x509.DNSName)
        uris = other.get_values_for_type(x509.UniformResourceIdentifier)
    if not hosts and not uris:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        hosts = [value for attribute in common if isinstance(value := attribute.value, str)]
    return [
        *(name for name in hosts if ":" not in name),
        *(name for name in uris if ":" in name and not name.lower().startswith(HASH_PREFIX)),
    ]


def normal(name: str) -> str:
    """A name as names are compared: URIs as they are; case does not count in hosts, common names, fingerprints."""
    return name if ":" in name and not name.startswith(HASH_PREFIX) else name.lower()
