"""The way to a hub or an upstream up to TLS and no further: nothing is asked and nothing is said there."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidProxyStatus, ProxyError
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from protocol.aio.websocket import OPTIONS, AgentSocket
from protocol.ops.urls import Url

from .config import Hub
from .dial import proxy_url
from .remedies import ExplainedError, Trouble, by_proxy

_SCHEMES_MAX: Final = 5


class Seen(NamedTuple):
    """What stands at the other end. tls is "" and certificate b"" without TLS."""

    address: str
    tls: str
    certificate: bytes


class _Visitor(AgentSocket):
    """A connection that is not going to speak websocket."""

    async def handshake(self, *_arguments: Any, **_options: Any) -> None:
        """Nothing is sent."""


def way_out(hub: Hub) -> Url | None:
    """The proxy that leads to the hub: the configured one or the environment's, None when there is none."""
    if isinstance(hub.proxy, Url):
        return hub.proxy
    found = _environment(hub) if hub.proxy is None else None
    if found is None:
        return None
    parts = urlsplit(found)
    return Url(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


async def straight(url: Url, tls: ssl.SSLContext | None) -> Seen:
    """Connect, and leave. Raises OSError."""
    _, writer = await asyncio.open_connection(url.host, url.port, ssl=tls)
    try:
        return _look(writer.transport)
    finally:
        writer.transport.abort()


async def to_hub(hub: Hub, tls: ssl.SSLContext | None) -> Seen:
    """The same as the agent goes, through the proxy if there is one.

    Raises OSError; ExplainedError for what the proxy refuses; ValueError for files.
    """
    options: dict[str, Any] = dict(OPTIONS)
    if tls is not None:
        options["ssl"] = tls
    way = Url("ws" if tls is None else "wss", hub.url.host, hub.url.port, hub.url.path)
    proxy = _proxy(hub)
    try:
        socket = await connect(
            str(way),
            proxy=proxy,
            create_connection=_Visitor,
            open_timeout=None,
            user_agent_header="tunnel-agent",
            **options,
        )
    except InvalidProxyStatus as error:
        response = error.response
        offered = [value.partition(" ")[0] for value in response.headers.get_all("Proxy-Authenticate")]
        shown = proxy is not None and urlsplit(proxy).username is not None
        place = f"{hub.url.host}:{hub.url.port}"
        raise ExplainedError(by_proxy(response.status_code, offered[:_SCHEMES_MAX], place, shown=shown)) from None
    except ProxyError as error:
        raise ExplainedError(
            Trouble(
                f"the proxy does not answer as one of its kind ({type(error).__name__})",
                "check scheme, host and port of proxy; a SOCKS proxy may have refused the host or the credentials",
            )
        ) from None
    try:
        return _look(socket.transport)
    finally:
        socket.transport.abort()


def unverified() -> ssl.SSLContext:
    """For a look at a certificate that is not believed; nothing may be sent over such a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _look(transport: asyncio.BaseTransport) -> Seen:
    peer = transport.get_extra_info("peername")
    session = transport.get_extra_info("ssl_object")
    if session is None:
        return Seen(str(peer[0]), "", b"")
    return Seen(str(peer[0]), f"{session.version()}, {session.cipher()[0]}", session.getpeercert(True) or b"")


def _proxy(hub: Hub) -> str | None:
    url = proxy_url(hub)
    return _environment(hub) if url is True else url


def _environment(hub: Hub) -> str | None:
    return get_proxy(parse_uri(hub.url))
