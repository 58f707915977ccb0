"""TLS contexts of both programs, made from the files that the configuration names."""

from __future__ import annotations

import ssl
from pathlib import Path


class TlsFileError(ValueError):
    """A certificate, key or CA file cannot be used; the message is one sentence for the operator."""


def server_context(
    certificate: Path, key: Path, client_ca: Path | None = None, *, optional: bool = False
) -> ssl.SSLContext:
    """A listener's context: TLS 1.2 and later, HTTP/1.1. With `client_ca`, clients must show a certificate.

    optional: they may show none, but no other one.

    Raises TlsFileError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_pair(context, certificate, key)
    if client_ca is not None:
        _load_ca(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    return context


def client_context(
    ca_file: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """A client's context: TLS 1.2 and later, names verified. Trusts `ca_file` only, else the system's CAs.

    Raises TlsFileError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_ca(context, ca_file)
    if certificate is not None and key is not None:
        load_pair(context, certificate, key)
    return context


def file_problem(
    ca_file: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> str | None:
    """What is wrong with these files, or None. Files that could not be named (None) are not looked at."""
    try:
        client_context(ca_file, certificate, key)
    except TlsFileError as error:
        return str(error)
    return None


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Show this certificate from now on, on connections to come. Raises TlsFileError."""

    def no_password() -> bytes:
        raise TlsFileError(f"the key {key} is encrypted; store it unencrypted, readable by this user only")

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(f"the key {key} does not belong to the certificate {certificate}") from None
        raise TlsFileError(f"{certificate} and {key} are not a PEM certificate chain and its PEM key") from None
    except OSError as error:
        raise TlsFileError(f"{certificate} or {key} cannot be read: {error.strerror}") from None


def _load_ca(context: ssl.SSLContext, ca_file: Path) -> None:
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError:
        raise TlsFileError(f"{ca_file} holds no PEM certificate") from None
    except OSError as error:
        raise TlsFileError(f"{ca_file} cannot be read: {error.strerror}") from None
