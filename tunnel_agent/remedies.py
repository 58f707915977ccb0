"""What went wrong on the way to a hub or an upstream, in a sentence, and what to do about it."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final, NamedTuple

from protocol.errors import SessionCode, SessionError, TunnelError

_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's verify codes for a chain that ends at nobody this machine trusts."""


class Trouble(NamedTuple):
    """detail: what is wrong; remedy: what to do. Neither holds a secret."""

    detail: str
    remedy: str


def explain(error: BaseException, place: str, seconds: float) -> Trouble:
    """Any failure of a step against `place` ("host:port") that was given `seconds`."""
    if isinstance(error, SessionError):
        return _session(error)
    if isinstance(error, TunnelError):
        return Trouble(str(error), _BY_STAGE.get(str(getattr(error, "stage", "")), "see the hub's log"))
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error)
    if isinstance(error, ssl.SSLError):
        return Trouble(
            f"no TLS with {place}: {(error.reason or str(error)).replace('_', ' ').lower()}",
            "check that the port speaks TLS (https://, wss://), and whether it asks for a client certificate",
        )
    if isinstance(error, TimeoutError):
        return Trouble(
            f"no answer from {place} within {seconds:g} s",
            f"let the firewall admit TCP from this machine to {place}, or set proxy if that is the way out",
        )
    if isinstance(error, OSError):
        return _transport(error, place)
    return Trouble(f"{type(error).__name__}: {error}", f"look at the log of what answers at {place}")


_BY_STAGE: Final = {
    "files": "correct the file",
    "connect": "see the lines of dns and connect; a firewall may cut connections that last",
    "proxy": "ask for CONNECT to the hub's host and port to be allowed for this machine",
    "tls": "see the line of tls; behind a proxy that intercepts TLS, have the hub's host exempted",
    "websocket": "check the path of url; a proxy or balancer between must let websockets through",
    "handshake": "see the hub's log",
    "health": "look at the upstream's log",
}


def _session(error: SessionError) -> Trouble:
    """The handshake's own messages say "what: remedy." already."""
    what, _, remedy = error.message.partition(": ")
    if not remedy:
        remedy = (
            "install the same release on both sides"
            if error.code is SessionCode.BAD_VERSION
            else "see the hub's log"
        )
    return Trouble(what.strip("."), remedy.strip("."))


def _certificate(error: ssl.SSLCertVerificationError) -> Trouble:
    detail = f"the certificate is refused: {error.verify_message}"
    if error.verify_code == 9:
        return Trouble(detail, "set this machine's clock")
    if error.verify_code == 10:
        return Trouble(detail, "have the certificate renewed, or set this machine's clock")
    if error.verify_code in (62, 64):
        return Trouble(detail, "use the name that the certificate is for, or have it issued for this one")
    if error.verify_code in _UNTRUSTED:
        return Trouble(detail, "name the PEM file of its authority as ca_file")
    return Trouble(detail, "have a valid certificate installed")


def _transport(error: OSError, place: str) -> Trouble:
    if isinstance(error, socket.gaierror):
        name = place.rpartition(":")[0]
        return Trouble(f"the name {name} is not known here", "check its spelling and this machine's DNS resolver")
    if isinstance(error, ConnectionRefusedError):
        return Trouble(f"nothing listens at {place}", "start it, or correct host and port")
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return Trouble(f"{place} closed the connection", "check that the port is right and look at its log")
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return Trouble(f"there is no route to {place}", "check this machine's network and its firewall")
    reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    return Trouble(f"{place}: {reason}", "check host and port")
