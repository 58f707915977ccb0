"""What went wrong on the way to a hub or an upstream, in a sentence, and what to do about it."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Sequence
from typing import Final, NamedTuple

from protocol.errors import SessionCode, SessionError, TunnelError

UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's verify codes for a chain that ends at nobody this machine trusts."""

_is_scheme = re.compile(r"[A-Za-z0-9_-]{1,20}").fullmatch


class Trouble(NamedTuple):
    """detail: what is wrong; remedy: what to do. Neither holds a secret."""

    detail: str
    remedy: str


class ExplainedError(TunnelError):
    """What went wrong is known where it is raised."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.detail)
        self.trouble = trouble


def explain(error: BaseException, place: str, seconds: float) -> Trouble:
    """Any failure of a step against `place` ("host:port") that was given `seconds`."""
    if isinstance(error, ExplainedError):
        return error.trouble
    if isinstance(error, SessionError):
        return _session(error)
    if isinstance(error, TunnelError):
        what, _, remedy = str(error).partition("; ")
        return Trouble(what, remedy or _BY_STAGE.get(str(getattr(error, "stage", "")), "see the hub's log"))
    if isinstance(error, ssl.SSLCertVerificationError):
        return certificate(error)
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
    if isinstance(error, ValueError):  # a file has changed since the configuration was read
        return Trouble(str(error), "correct the file")
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


_BY_CODE: Final = {
    SessionCode.SHUTDOWN: "the hub stops or restarts; try again in a minute",
    SessionCode.LIMIT_EXCEEDED: "end what else runs with this agent's id, or give it an id of its own",
    SessionCode.SILENT: "have firewalls and proxies between let connections last that are silent for 15 s",
    SessionCode.DUPLICATE: "end the other machine or process with this agent's id, or give this one its own",
    SessionCode.BAD_VERSION: "install the same release on both sides",
    SessionCode.NOT_REGISTERED: "add the agent's public key line to public_keys under [agents.ID] at the hub",
    SessionCode.BAD_SIGNATURE: "check that key_file is this agent's and that nothing between changes what is sent",
    SessionCode.CHANNEL_BINDING: "have the hub's host exempted from TLS interception",
    SessionCode.WRONG_HUB_KEY: "correct public_keys under [[hubs]], or find out what answers in the hub's place",
    SessionCode.HANDSHAKE_TIMEOUT: "try again; if it stays so, something between delays or drops messages",
    SessionCode.ENROLMENT_REFUSED: "make a new token with 'tunnel-hub enrol-token' at the hub",
}
"""For refusals that do not bring their remedy along; those of the session itself are for the hub's log."""


def _session(error: SessionError) -> Trouble:
    """The handshake's own messages say "what: remedy." already."""
    what, _, remedy = error.message.partition(": ")
    return Trouble(what.strip("."), remedy.strip(".") or _BY_CODE.get(error.code, "see the hub's log"))


def by_proxy(status: int, schemes: Sequence[str], place: str, *, shown: bool) -> Trouble:
    """The proxy's refusal of CONNECT to `place`. schemes: what it asks for; shown: the agent has credentials."""
    if status == 407:
        names = [scheme for scheme in schemes if _is_scheme(scheme)]
        if names and "basic" not in map(str.lower, names):
            return Trouble(
                f"the proxy wants authentication that the agent does not speak (407, {' or '.join(names)})",
                "ask for Basic authentication for this machine, or for passage without any",
            )
        if shown:
            return Trouble(
                "the proxy refuses the user or the password (407)",
                "correct the user in proxy and the content of proxy_password_file",
            )
        return Trouble(
            "the proxy wants a user and a password (407)",
            'write the user into proxy ("http://USER@HOST:PORT") and set proxy_password_file',
        )
    if status in (502, 503, 504):
        return Trouble(
            f"the proxy cannot reach {place} ({status})",
            f"check the hub's host and port; ask for the proxy to be let through to {place}",
        )
    return Trouble(
        f"the proxy refuses to connect to {place} ({status})",
        f"ask for CONNECT to {place} to be allowed for this machine",
    )


def certificate(error: ssl.SSLCertVerificationError) -> Trouble:
    """What OpenSSL's own words come to, without a look at the certificate."""
    detail = f"the certificate is refused: {error.verify_message}"
    if error.verify_code == 9:
        return Trouble(detail, "set this machine's clock (timedatectl)")
    if error.verify_code == 10:
        return Trouble(
            detail, "have the certificate renewed, or set this machine's clock (timedatectl) if that is wrong"
        )
    if error.verify_code in (62, 64):
        return Trouble(detail, "use the name that the certificate is for, or have it issued for this one")
    if error.verify_code in UNTRUSTED:
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
