"""The certificate that was shown, beside the one that was expected: how TLS interception is recognised."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from protocol.binding import certificate_hash, show

from .remedies import UNTRUSTED, Trouble, certificate

NAMES_MAX: Final = 3
"""Authorities of a ca_file that are named."""

_NAME_MAX: Final = 200


class Shown(NamedTuple):
    """What a certificate says of itself; times are UTC."""

    subject: str
    issuer: str
    begins: datetime
    ends: datetime
    fingerprint: str
    """As the hub's agents_certificates holds it."""

    def __str__(self) -> str:
        return f'the certificate of "{self.subject}", issued by "{self.issuer}", valid until {self.ends:%Y-%m-%d}'


def read(der: bytes) -> Shown | None:
    """None when it cannot be read."""
    try:
        found = x509.load_der_x509_certificate(der)
        subject, issuer = _name(found.subject), _name(found.issuer)
        return Shown(
            subject, issuer, found.not_valid_before_utc, found.not_valid_after_utc, show(certificate_hash(der))
        )
    except ValueError:
        return None


def expected(ca_file: Path | None) -> str:
    """Who should have issued it: the authorities that are trusted here."""
    if ca_file is None:
        folder = ssl.get_default_verify_paths().openssl_capath
        return f"an authority that this machine trusts ({folder})"
    try:
        names = [_name(each.subject) for each in x509.load_pem_x509_certificates(ca_file.read_bytes())]
    except (OSError, ValueError):
        return f"an authority in {ca_file}"
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return ", ".join(f'"{name}"' for name in names[:NAMES_MAX]) + f"{more} ({ca_file})"


def refused(
    error: ssl.SSLCertVerificationError, shown: Shown | None, wanted: str, host: str, now: float
) -> Trouble:
    """Why a certificate of `host` is not believed. wanted: what `expected` said; now: `time.time()`."""
    general = certificate(error)
    if shown is None:
        return general
    if error.verify_code in UNTRUSTED:
        if shown.issuer == shown.subject:
            seen = f'"{shown.subject}" is signed by itself'
        else:
            seen = f'the certificate of "{shown.subject}" is issued by "{shown.issuer}"'
        return Trouble(
            f"{seen}; expected was {wanted}",
            f"if that is a proxy's or firewall's authority, it intercepts TLS: have {host} exempted from "
            f"inspection; if it is {host}'s own private authority, name its PEM file as ca_file",
        )
    clock = datetime.fromtimestamp(now, UTC)
    if not shown.begins <= clock <= shown.ends:
        return Trouble(
            f"the certificate is valid from {shown.begins:%Y-%m-%d %H:%M} to {shown.ends:%Y-%m-%d %H:%M} UTC, and "
            f"this machine's clock says {clock:%Y-%m-%d %H:%M} UTC",
            general.remedy,
        )
    return Trouble(f'{general.detail}; the certificate is for "{shown.subject}"', general.remedy)


def _name(name: x509.Name) -> str:
    """As RFC 4514 writes it, without what a terminal might obey."""
    text = "".join(c if c.isprintable() else "?" for c in name.rfc4514_string())
    return text[:_NAME_MAX] or "nobody"
