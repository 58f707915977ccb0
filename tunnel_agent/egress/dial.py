"""Opening connections to an upstream, and what can go wrong with that in words without host names."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from protocol.errors import StreamCode

from .resolve import Resolver

P = TypeVar("P", bound=asyncio.Protocol)

_VERIFY_PHRASES: Final = {
    9: "certificate is not valid yet",
    10: "certificate expired",
    18: "certificate is self-signed and not trusted",
    19: "certificate comes from an authority that is not trusted",
    20: "certificate comes from an authority that is not trusted",
    21: "certificate comes from an authority that is not trusted",
    23: "certificate is revoked",
    62: "certificate is not valid for the configured name",
    64: "certificate is not valid for the configured address",
}
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": "the upstream requires a client certificate",
    "BAD_CERTIFICATE": "the upstream does not accept the client certificate",
    "UNSUPPORTED_CERTIFICATE": "the upstream does not accept the client certificate",
    "CERTIFICATE_REVOKED": "the upstream says that the client certificate is revoked",
    "CERTIFICATE_EXPIRED": "the upstream says that the client certificate expired",
    "CERTIFICATE_UNKNOWN": "the upstream does not accept the client certificate",
    "UNKNOWN_CA": "the upstream does not trust the client certificate's authority",
    "ACCESS_DENIED": "the upstream does not accept the client certificate",
    "HANDSHAKE_FAILURE": "the upstream refused the TLS handshake",
    "PROTOCOL_VERSION": "the upstream and the agent have no TLS version in common",
}
_REASONS: Final = {
    "WRONG_VERSION_NUMBER": "the upstream does not speak TLS on this port",
    "HTTP_REQUEST": "the upstream does not speak TLS on this port",
    "UNSUPPORTED_PROTOCOL": "the upstream and the agent have no TLS version in common",
}
_SYSTEM_PHRASES: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to the upstream",
    errno.ENETUNREACH: "no route to the upstream",
    errno.ECONNRESET: "connection reset",
    errno.EMFILE: "the agent has too many open files",
    errno.ENFILE: "the machine has too many open files",
    errno.EADDRNOTAVAIL: "the agent has no free port",
    errno.EACCES: "not permitted by this machine",
    errno.EPERM: "not permitted by this machine",
}


class DialFailed(Exception):
    """No connection; nothing of a request was sent. `code` is CONNECT_FAILED, CONNECT_TIMEOUT or UPSTREAM_TLS."""

    def __init__(self, code: StreamCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class TlsFilesError(ValueError):
    """A certificate or key file cannot be used; the message says which and why."""


def tls_context(
    ca_file: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """The TLS settings of one upstream: TLS 1.2 or later, verified, HTTP/1.1 only.

    ca_file: the only authorities trusted; None: the system's. certificate, key: what the agent shows of itself;
    the key may stand in the certificate's file.

    Raises:
        TlsFilesError: a file is missing, unreadable or not what it should be.
    """
    if ca_file is not None and not ca_file.is_file():
        raise TlsFilesError(f"{ca_file}: no such file")
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise TlsFilesError(f"{ca_file}: not a PEM file of certificates ({_plain(error)})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:
            files = f"{certificate}" if key is None else f"{certificate}, {key}"
            raise TlsFilesError(f"{files}: not a PEM certificate with its key ({_plain(error)})") from None
    return context


class Dialler:
    """Opens connections to one upstream."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        server_name: str | None,
        timeout: float,
        resolver: Resolver | None = None,
    ) -> None:
        """server_name: the name in the upstream's certificate, if it is not `host`. timeout: in seconds."""
        self._port = port
        self._tls = tls
        self._server_name = (server_name or host) if tls is not None else None
        self._timeout = timeout
        self._resolver = resolver or Resolver(host)

    async def connect(self, factory: Callable[[], P]) -> P:
        """A connected protocol made by `factory`, TLS handshake done. Addresses are tried in order.

        Raises:
            DialFailed: within the timeout at the latest.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(until):
                addresses = await self._resolver.addresses()
        except TimeoutError:
            raise DialFailed(StreamCode.CONNECT_TIMEOUT, "the name look-up took too long") from None
        except OSError:
            raise DialFailed(StreamCode.CONNECT_FAILED, "name does not resolve") from None
        failure = DialFailed(StreamCode.CONNECT_FAILED, "no address")
        for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            now = loop.time()
            try:
                async with asyncio.timeout_at(now + (until - now) / left):
                    return await self._connect(loop, factory, family, address)
            except OSError as error:  # TimeoutError is one
                failure = self._explain(error)
        raise failure

    async def _connect(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[], P],
        family: socket.AddressFamily,
        address: str,
    ) -> P:
        if self._tls is None:
            _, protocol = await loop.create_connection(factory, address, self._port, family=family)
        else:
            _, protocol = await loop.create_connection(
                factory,
                address,
                self._port,
                family=family,
                ssl=self._tls,
                server_hostname=self._server_name,
                ssl_handshake_timeout=self._timeout + 1.0,  # ours comes first
                ssl_shutdown_timeout=1.0,
            )
        return protocol

    def _explain(self, error: OSError) -> DialFailed:
        if isinstance(error, ssl.SSLError):
            return DialFailed(StreamCode.UPSTREAM_TLS, explain_tls(error))
        if isinstance(error, TimeoutError):
            return DialFailed(StreamCode.CONNECT_TIMEOUT, "no connection in time")
        if self._tls is not None and isinstance(error, ConnectionResetError | ConnectionAbortedError):
            return DialFailed(StreamCode.UPSTREAM_TLS, "the upstream ended the TLS handshake")
        phrase = _SYSTEM_PHRASES.get(error.errno or 0, "connection failed")
        return DialFailed(StreamCode.CONNECT_FAILED, phrase)


def explain_tls(error: ssl.SSLError) -> str:
    """A phrase for a failed handshake, without names or addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_PHRASES.get(error.verify_code, "certificate does not verify")
    reason = error.reason or ""
    return refused_by_upstream(error) or _REASONS.get(reason, "the TLS handshake failed")


def refused_by_upstream(error: BaseException | None) -> str | None:
    """A phrase if `error` is an alert with which the upstream refused the handshake, else None.

    In TLS 1.3 such an alert can come when the agent has already sent its first request. The upstream has then
    read nothing of it: it takes no application data before the handshake is complete (RFC 8446 section 4.4.4).
    """
    if isinstance(error, ssl.SSLError) and error.reason and "_ALERT_" in error.reason:
        return _ALERTS.get(error.reason.partition("_ALERT_")[2])
    return None


def _plain(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "unreadable").lower().replace("_", " ")
    return error.strerror or "unreadable" if isinstance(error, OSError) else str(error)


def _no_password() -> str:
    raise ValueError("the key is encrypted; the agent needs one without a password")
