"""One attempt to reach a hub: TCP, proxy, TLS, websocket, mutual handshake.

Every way to fail ends in a `DialError` whose sentence an operator can act on.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidProxyStatus, InvalidStatus

from protocol.aio.link import Link, Owner
from protocol.aio.websocket import OPTIONS, AgentSocket
from protocol.aio.wheel import Wheel
from protocol.errors import SessionCode, SessionError, TunnelError
from protocol.events import Event
from protocol.flow import MemoryBudget
from protocol.handshake import AgentHandshake, AgentResult, certificate_hash
from protocol.keys import PrivateKey, generate
from protocol.limits import Limits
from protocol.ops import clock, version
from protocol.ops.tls import client_context
from protocol.ops.urls import Url
from protocol.ops.values import read_secret
from protocol.session import Session
from protocol.stream import Stream
from protocol.tokens import EnrolToken

from .enrolling import is_there, own_key, read_token

if TYPE_CHECKING:
    from .config import AgentConfig
    from .config import Hub as HubConfig

OPEN_TIMEOUT: Final = 7.0
"""Seconds up to the websocket's opening handshake; leaves some of `slot.ATTEMPT_TIMEOUT` for ours."""


class DialError(TunnelError):
    """The hub could not be reached. `stage` is where: files, connect, proxy, tls, websocket."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class _Connect(connect):
    """As `websockets.connect`, but a hub that answers with a redirect is refused, not followed."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def tls_context(hub: HubConfig) -> ssl.SSLContext | None:
    """The context for a wss:// hub, trusting its `ca_file` if it has one, else the system's authorities."""
    if not hub.url.secure:
        return None
    return client_context(hub.ca_file, hub.client_certificate, hub.client_key)


def proxy_url(hub: HubConfig) -> str | Literal[True] | None:
    """What `websockets` wants: True for the environment's proxy, None for none, else a URL with the password."""
    proxy = hub.proxy
    if not isinstance(proxy, Url):
        return True if proxy is None else None
    if hub.proxy_password_file is None:
        return str(proxy)
    password = quote(read_secret(hub.proxy_password_file), safe="")
    return f"{proxy.scheme}://{proxy.user}:{password}@{proxy.authority}"


async def open_websocket(hub: HubConfig) -> AgentSocket:
    """Connect up to the websocket's opening handshake. Raises DialError; bounded by OPEN_TIMEOUT."""
    options: dict[str, Any] = dict(OPTIONS)
    try:
        context = tls_context(hub)
        proxy = proxy_url(hub)
    except ValueError as error:  # a file has changed since the configuration was read
        raise DialError("files", str(error)) from None
    if context is not None:
        options["ssl"] = context
    try:
        socket: ClientConnection = await _Connect(
            str(hub.url),
            proxy=proxy,
            create_connection=AgentSocket,
            open_timeout=OPEN_TIMEOUT,
            user_agent_header="tunnel-agent",
            additional_headers={"Date": clock.date(time.time())},  # the hub sees whether the clocks agree
            **options,
        )
    except ssl.SSLCertVerificationError as error:
        raise DialError(
            "tls",
            f"the hub's certificate is not trusted ({error.verify_message}); if its authority is private, name it "
            "as ca_file; if not, something between intercepts TLS",
        ) from None
    except ssl.SSLError as error:
        raise DialError("tls", f"no TLS connection to the hub: {error.reason or error}") from None
    except InvalidProxyStatus as error:
        status = error.response.status_code
        remedy = "set proxy_password_file" if status == 407 else "ask for the hub's host and port to be allowed"
        raise DialError("proxy", f"the proxy answered {status} to CONNECT; {remedy}") from None
    except InvalidStatus as error:
        if error.response.status_code == 503:
            raise DialError("websocket", "the hub, or what stands before it, is busy or stopping (503)") from None
        raise DialError(
            "websocket",
            f"the hub's address answered {error.response.status_code}, not with a websocket; check the url",
        ) from None
    except InvalidHandshake as error:
        hint = "" if hub.url.secure else "; if the hub expects TLS, write wss:// in its url"
        raise DialError("websocket", f"no websocket at the hub's address ({type(error).__name__}){hint}") from None
    except TimeoutError:
        raise DialError("connect", f"no connection to the hub within {OPEN_TIMEOUT:.0f} s") from None
    except OSError as error:
        raise DialError("connect", f"no connection to the hub: {error.strerror or error}") from None
    assert isinstance(socket, AgentSocket)
    return socket


def seen_certificate(socket: AgentSocket) -> bytes | None:
    """The hash of the TLS certificate this connection shows (RFC 5929), or None without TLS."""
    tls = socket.transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    return certificate_hash(der) if der else None


async def dial(
    hub: HubConfig,
    make_handshake: Callable[[bytes | None], AgentHandshake],
    owner: Owner,
    wheel: Wheel,
    opened: Callable[[AgentSocket], None] | None = None,
) -> Link:
    """Open a link and begin its handshake; the owner hears of its establishment or loss.

    opened: called with the websocket before that.
    """
    socket = await open_websocket(hub)
    if opened is not None:
        opened(socket)
    handshake = make_handshake(seen_certificate(socket))
    link = Link(socket, handshake, owner, wheel, asyncio.get_running_loop())
    link.skew = _skew(socket)
    link.start(handshake.start())
    return link


def _skew(socket: AgentSocket) -> float | None:
    """By how many seconds this machine's clock is ahead of the hub's, by the Date of its answer, just now."""
    dates = socket.response.headers.get_all("Date") if socket.response is not None else []
    behind = clock.behind(dates[0], time.time()) if dates else None
    return None if behind is None else -behind


class Identity:
    """Who this process is to every hub. `key` may be replaced; handshakes to come use the new one."""

    def __init__(self, agent_id: str, key: PrivateKey, services: Iterable[str], limits: Limits) -> None:
        """services: what to offer, looked at anew for each handshake."""
        self.key = key
        self._agent_id = agent_id
        self._instance_id = os.urandom(16)
        self._services = services
        self._limits = limits

    def enrolling(self, hub: HubConfig, seen: bytes | None) -> AgentHandshake:
        """`handshake`, with the token of the hub's table as long as its file is there. Raises DialError."""
        try:
            token = read_token(hub.enrol_token_file)
        except ValueError as error:
            raise DialError("files", str(error)) from None
        return self.handshake(hub, seen, token=token)

    def handshake(
        self,
        hub: HubConfig,
        seen: bytes | None,
        *,
        token: EnrolToken | None = None,
        next_key: PrivateKey | None = None,
    ) -> AgentHandshake:
        """A handshake for one connection, with a fresh nonce. seen: what `seen_certificate` returned for it."""
        return AgentHandshake(
            agent_id=self._agent_id,
            instance_id=self._instance_id,
            key=self.key,
            hub_keys=hub.public_keys,
            services=tuple(self._services),
            limits=self._limits,
            nonce=os.urandom(32),
            certificate_hash=seen,
            software=f"tunnel-agent/{version.build().version}",
            token=token,
            next_key=next_key,
        )


class _Probe:
    """Owner of a link that only shakes hands. It offers no service, so no request is ever sent to it."""

    handlers: Mapping[type[Event], Callable[[Any], None]] = {}

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[AgentResult] = loop.create_future()

    def make_session(self, link: Link, result: AgentResult) -> Session:
        return Session(False, Limits(), result.peer_limits, MemoryBudget(0), link.loop.time())

    def on_established(self, link: Link) -> None:
        self.done.set_result(link.result)
        link.close(SessionCode.SHUTDOWN, "only a check")

    def on_stream_failed(self, _stream: Stream) -> None:
        """There are no streams."""

    def on_lost(self, _link: Link, error: SessionError, _streams: list[Stream]) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def shake_hands(
    hub: HubConfig,
    make_handshake: Callable[[bytes | None], AgentHandshake],
    opened: Callable[[AgentSocket], None] | None = None,
) -> AgentResult:
    """A session that ends as soon as it stands. Raises DialError or SessionError."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    owner = _Probe(loop)
    try:
        await dial(hub, make_handshake, owner, wheel, opened)
        return await owner.done
    finally:
        wheel.close()


async def probe(config: AgentConfig, hub: HubConfig, opened: Callable[[AgentSocket], None] | None = None) -> str:
    """Shake hands with one hub, then leave; what to tell the operator. Raises DialError or SessionError.

    opened: called with the websocket before the handshake.
    Without using a token up: a hub that does not know the key yet has proven its own by then.
    """
    made = is_there(config.agent.key_file)
    identity = Identity(config.agent.id, own_key(config) if made else generate(), (), Limits())
    try:
        result = await shake_hands(hub, partial(identity.handshake, hub), opened)
    except SessionError as error:
        if error.code is not SessionCode.NOT_REGISTERED:
            raise
        if read_token(hub.enrol_token_file) is not None:
            return (
                "the hub does not know this agent's key yet; when it runs, the agent will enrol with the token in "
                f"{hub.enrol_token_file}"
            )
        if made:
            raise
        raise DialError(
            "handshake",
            "the agent has no key yet, and no token for this hub; get one from 'tunnel-hub enrol-token "
            f"--agent {config.agent.id}' there, and name its file as enrol_token_file",
        ) from None
    return f"hub {result.hub_id} knows this agent (hub key {result.key.fingerprint})"
