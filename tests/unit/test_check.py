"""What `tunnel-agent check` finds: each failure with its place, its sentence and its remedy."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protocol import keys
from protocol.binding import binding_problem
from protocol.errors import SessionCode, SessionError, TunnelError
from protocol.ops.config import parse
from protocol.ops.sockets import bound, listen
from protocol.ops.values import Address, Context
from tests.support.tls import PrivateCA
from tests.support.toml import to_toml
from tunnel_agent import check as probes
from tunnel_agent.check import Outcome, Result, check
from tunnel_agent.config import AgentConfig
from tunnel_agent.reach import way_out
from tunnel_agent.remedies import explain

HUB_KEY = keys.public_line(keys.generate())
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class DialError(TunnelError):
    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCA:
    return PrivateCA(tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
async def no_loose_ends() -> AsyncIterator[None]:
    """Nothing fails in the event loop beside what is reported."""
    loose: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: loose.append(context))
    yield
    assert loose == []


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "socks_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def server(serve: Serve | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if serve is not None:
                with contextlib.suppress(asyncio.IncompleteReadError, OSError):  # who only looks leaves at once
                    await serve(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., AgentConfig]:
    keys.save_private_key(keys.generate(), tmp_path / "agent.key")
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "password").chmod(0o600)

    def make(hub: dict[str, Any], limits: dict[str, Any] | None = None, **service: Any) -> AgentConfig:
        table = {
            "agent": {"id": "leeds-1", "key_file": "agent.key"},
            "hubs": [{"public_keys": [HUB_KEY], **hub}],
            "services": {"visits": {"allow": ["GET /**"], **service}},
            "limits": limits or {},
        }
        return parse(to_toml(table), AgentConfig, name="agent.toml", context=Context(tmp_path))

    return make


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the handshake with the hub comes to: an exception to raise, or a sentence; each Date heard."""
    outcome: list[Any] = ["hub hub-1 accepts visits", []]

    async def probe(_config: AgentConfig, _hub: Any, opened: Callable[[Any], None]) -> str:
        headers = SimpleNamespace(get_all=lambda _name: outcome[1])
        opened(SimpleNamespace(response=SimpleNamespace(headers=headers)))
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return str(outcome[0])

    monkeypatch.setattr("tunnel_agent.dial.probe", probe, raising=False)
    return outcome


def of(outcome: Outcome, target: str) -> list[Result]:
    return [result for result in outcome.results if result.target.startswith(target)]


async def test_all_is_well(make: Any, probe: list[Any], ca: PrivateCA) -> None:
    tls = ca.server_context()
    async with server(tls=tls) as hub, server() as upstream:
        config = make(
            {"url": f"wss://localhost:{hub}/tunnel", "ca_file": str(ca.ca_file)},
            upstream=f"http://127.0.0.1:{upstream}",
        )
        outcome = await check(config)
    assert outcome.ok
    assert [(result.step, result.ok, result.remedy) for result in of(outcome, "hub")] == [
        ("dns", True, ""),
        ("connect", True, ""),
        ("tls", True, ""),
        ("handshake", True, ""),
    ]
    assert of(outcome, "hub")[2].detail.startswith("TLSv1.")
    assert f'issued by "{ca.name}", valid until 3000-01-01' in of(outcome, "hub")[2].detail
    assert of(outcome, "hub")[3].detail == "hub hub-1 accepts visits"
    assert [result.step for result in of(outcome, "service visits")] == ["dns", "connect"]
    assert [(c.host, c.port, c.purpose) for c in outcome.connections] == [
        ("127.0.0.1", upstream, "upstream of visits"),
        ("localhost", hub, "hub"),
    ]
    assert "127.0.0.1" in outcome.connections[1].addresses
    assert outcome.connections[0].sources == ["127.0.0.1"]


async def test_nothing_works(make: Any, probe: list[Any]) -> None:
    with listen(Address("127.0.0.1", 0), "x") as listener:
        free = bound(listener).port
    config = make({"url": "ws://no-such-host.invalid:1/t"}, upstream=f"http://127.0.0.1:{free}", health="/health")
    outcome = await check(config)
    assert not outcome.ok
    (result,) = of(outcome, "hub")
    assert (result.step, result.ok) == ("dns", False)
    assert result.detail == "the name no-such-host.invalid is not known here"
    assert "DNS" in result.remedy
    assert [result.step for result in of(outcome, "service")] == ["dns", "connect"]
    assert of(outcome, "service")[1].detail == f"nothing listens at 127.0.0.1:{free}"
    assert {c.host for c in outcome.connections} == {"no-such-host.invalid", "127.0.0.1"}


async def test_certificates(make: Any, probe: list[Any], ca: PrivateCA) -> None:
    async with server(tls=ca.server_context(ca.issue("other.example"))) as other, server() as plain:
        config = make(
            {"url": f"wss://127.0.0.1:{other}/t"},
            upstream=f"https://127.0.0.1:{other}",
            ca_file=str(ca.ca_file),
        )
        outcome = await check(config)
        untrusted, wrong_name = of(outcome, "hub")[-1], of(outcome, "service")[-1]
        outcome = await check(make({"url": f"wss://127.0.0.1:{plain}/t"}, upstream=f"https://127.0.0.1:{plain}"))
    assert (untrusted.step, untrusted.ok) == ("tls", False)
    assert untrusted.detail.startswith('the certificate of "')
    assert f'is issued by "{ca.name}"; expected was an authority that this machine trusts' in untrusted.detail
    assert "have 127.0.0.1 exempted from inspection" in untrusted.remedy
    assert "as ca_file" in untrusted.remedy
    assert "have it issued for this one" in wrong_name.remedy
    assert not of(outcome, "service")[-1].ok
    assert of(outcome, "service")[-1].step == "tls"


async def test_an_upstream_without_tls(make: Any, probe: list[Any]) -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with server(talk) as port:
        outcome = await check(make({"url": f"ws://127.0.0.1:{port}/t"}, upstream=f"https://127.0.0.1:{port}"))
    result = of(outcome, "service")[-1]
    assert result.detail.startswith(f"no TLS with 127.0.0.1:{port}: ")
    assert "check that the port speaks TLS" in result.remedy


@pytest.mark.parametrize(("status", "ok"), [(200, True), (302, True), (404, False), (503, False)])
async def test_health_request(make: Any, probe: list[Any], tmp_path: Path, status: int, ok: bool) -> None:
    heads: list[bytes] = []
    (tmp_path / "token").write_text("Bearer hunter2\n")

    async def health(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(4096)
        if head:
            heads.append(head)
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\nlocation: http://127.0.0.1:1/\r\n\r\n" % status)
            await writer.drain()

    async with server(health) as port:
        outcome = await check(
            make(
                {"url": f"ws://127.0.0.1:{port}/t"},
                upstream=f"http://127.0.0.1:{port}",
                health="/nomisapi/health",
                host="nomis.internal",
                headers={"Authorization": {"file": "token"}},
            )
        )
    result = of(outcome, "service")[-1]
    assert (result.step, result.ok) == ("health", ok)
    assert str(status) in result.detail
    assert bool(result.remedy) is not ok
    (head,) = heads
    assert head.startswith(b"GET /nomisapi/health HTTP/1.1\r\n")
    assert b"Host: nomis.internal\r\n" in head
    assert b"Authorization: Bearer hunter2\r\n" in head
    assert "hunter2" not in repr(outcome)


async def test_a_silent_upstream_is_given_up(make: Any, probe: list[Any]) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as port:
        config = make(
            {"url": f"ws://127.0.0.1:{port}/t"},
            upstream=f"http://127.0.0.1:{port}",
            health="/",
            first_byte_timeout="50ms",
        )
        outcome = await check(config)
    result = of(outcome, "service")[-1]
    assert (result.step, result.ok) == ("health", False)
    assert result.remedy


def proxy_of(answer: bytes, asked: list[bytes], tls: ssl.SSLContext | None = None) -> Serve:
    """What a proxy does that answers so to CONNECT; tls: behind a 200 it intercepts with that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        if tls is not None:
            with contextlib.suppress(OSError):
                await writer.start_tls(tls)
        await reader.read()

    return serve


async def test_the_way_through_a_proxy(make: Any, probe: list[Any], ca: PrivateCA) -> None:
    asked: list[bytes] = []
    tls = ca.server_context(ca.issue("hub.invalid"))
    async with server(proxy_of(b"HTTP/1.1 200 OK\r\n\r\n", asked, tls)) as proxy, server() as upstream:
        hub = {
            "url": "wss://hub.invalid/tunnel",
            "proxy": f"http://me@127.0.0.1:{proxy}",
            "proxy_password_file": "password",
        }
        trusting = make({**hub, "ca_file": str(ca.ca_file)}, upstream=f"http://127.0.0.1:{upstream}")
        outcome = await check(trusting)
        tls_of = of(await check(make(hub, upstream=f"http://127.0.0.1:{upstream}")), "hub")[-1]
    assert [(result.step, result.ok) for result in of(outcome, "hub")] == [
        ("dns", True),
        ("connect", True),
        ("proxy", True),
        ("tls", True),
        ("handshake", True),
    ]
    assert of(outcome, "hub")[2].detail == "lets this machine connect to hub.invalid:443"
    assert {head.split(b"\r\n")[0] for head in asked} == {b"CONNECT hub.invalid:443 HTTP/1.1"}
    assert all(b"\r\nProxy-Authorization: Basic " in head for head in asked)
    assert "hunter2" not in repr(outcome)
    [way] = [connection for connection in outcome.connections if connection.port == proxy]
    assert way.purpose == "proxy to hub.invalid"
    assert "CONNECT to hub.invalid:443" in way.why
    assert (tls_of.step, tls_of.ok) == ("tls", False)
    assert f'issued by "{ca.name}"' in tls_of.detail, "the interceptor is named, though it stands behind a proxy"


BASIC = b"Proxy-Authenticate: Basic realm=x\r\n"


@pytest.mark.parametrize(
    ("answer", "password", "detail", "remedy"),
    [
        (
            b"HTTP/1.1 407 No\r\n" + BASIC + b"\r\n",
            False,
            "wants a user and a password (407)",
            "set proxy_password",
        ),
        (
            b"HTTP/1.1 407 No\r\n" + BASIC + b"\r\n",
            True,
            "refuses the user or the password (407)",
            "correct the user",
        ),
        (b"HTTP/1.1 407 No\r\n\r\n", True, "refuses the user or the password (407)", "correct the user"),
        (
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate x\r\n\r\n",
            True,
            "does not speak (407, NTLM or Negotiate)",
            "ask for Basic",
        ),
        (
            b"HTTP/1.1 403 No\r\n\r\n",
            False,
            "refuses to connect to hub.invalid:443 (403)",
            "ask for CONNECT to hub",
        ),
        (b"HTTP/1.1 504 No\r\n\r\n", False, "cannot reach hub.invalid:443 (504)", "check the hub's host"),
        (b"SSH-2.0-x\r\n\r\n", False, "not answer as one of its kind", "check scheme, host and port"),
    ],
)
async def test_a_proxy_that_refuses(
    make: Any, probe: list[Any], answer: bytes, password: bool, detail: str, remedy: str
) -> None:
    async with server(proxy_of(answer, [])) as proxy:
        hub = {"url": "wss://hub.invalid/tunnel", "proxy": f"http://127.0.0.1:{proxy}"}
        if password:
            hub |= {"proxy": f"http://me@127.0.0.1:{proxy}", "proxy_password_file": "password"}
        outcome = await check(make(hub, upstream=f"http://127.0.0.1:{proxy}"))
    result = of(outcome, "hub")[-1]
    assert (result.step, result.ok) == ("proxy", False)
    assert detail in result.detail
    assert remedy in result.remedy


@pytest.mark.parametrize("proxy", [False, True])
async def test_tls_that_is_cut_off(make: Any, probe: list[Any], proxy: bool) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if proxy:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await reader.read(1)
        writer.transport.abort()

    async with server(cut) as port:
        hub = {"url": f"wss://127.0.0.1:{port}/t", "proxy": f"http://127.0.0.1:{port}" if proxy else ""}
        outcome = await check(make(hub, upstream=f"http://127.0.0.1:{port}"))
    result = of(outcome, "hub")[-1]
    assert (result.step, result.ok) == ("tls", False)
    assert "as TLS began" in result.detail
    assert "filter by name" in result.remedy


@pytest.mark.parametrize(
    ("ahead", "window", "ok", "words"),
    [
        (0, "5m", True, "agrees"),
        (30, "5m", True, "30 seconds ahead of the hub's"),
        (30, "10s", False, "30 seconds ahead of"),
        (-7200, "5m", False, "2 hours behind the hub's"),
    ],
)
@pytest.mark.parametrize("refused", [False, True])
async def test_the_clock(
    make: Any,
    probe: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    ahead: int,
    window: str,
    ok: bool,
    words: str,
    refused: bool,
) -> None:
    probe[1] = ["Fri, 27 Nov 2026 12:00:00 GMT"]
    now = SimpleNamespace(time=lambda: 1795780800.5 + ahead, perf_counter=time.perf_counter)
    monkeypatch.setattr(probes, "time", now)
    if refused:
        probe[0] = SessionError(SessionCode.NOT_REGISTERED, "No such agent: add its key.")
    async with server() as port:
        config = make(
            {"url": f"ws://127.0.0.1:{port}/t"},
            upstream=f"http://127.0.0.1:{port}",
            limits={"signature_window": window},
        )
        results = of(await check(config), "hub")
    assert [result.step for result in results[-2:]] == ["handshake", "clock"]
    assert results[-1].ok is ok
    assert words in results[-1].detail
    assert ("RFC 9421" in results[-1].remedy) is not ok


@pytest.mark.parametrize("dates", [["yesterday"], [""]])
async def test_a_time_that_is_none(make: Any, probe: list[Any], dates: list[str]) -> None:
    probe[1] = dates
    async with server() as port:
        outcome = await check(make({"url": f"ws://127.0.0.1:{port}/t"}, upstream=f"http://127.0.0.1:{port}"))
    assert of(outcome, "hub")[-1].step == "handshake"


async def test_another_certificate_than_the_hubs(make: Any, probe: list[Any], ca: PrivateCA) -> None:
    probe[0] = SessionError(SessionCode.CHANNEL_BINDING, binding_problem([bytes(32)], bytes([1] * 32)))
    async with server(tls=ca.server_context()) as port:
        hub = {"url": f"wss://127.0.0.1:{port}/t", "ca_file": str(ca.ca_file)}
        outcome = await check(make(hub, upstream=f"http://127.0.0.1:{port}"))
    result = of(outcome, "hub")[-1]
    assert f"sees the TLS certificate sha256:{'01' * 32}, which is not the hub's" in result.detail
    assert result.detail.endswith(f'It is issued by "{ca.name}"')
    assert "intercepts TLS" in result.remedy


@pytest.mark.parametrize(
    ("error", "detail", "remedy"),
    [
        (DialError("proxy", "the proxy answered 403 to CONNECT"), "answered 403", "ask for CONNECT"),
        (DialError("websocket", "no websocket"), "no websocket", "check the path of url"),
        (DialError("odd", "odd"), "odd", "see the hub's log"),
        (SessionError(SessionCode.NOT_REGISTERED, "No such agent: add its key."), "No such agent", "add its key"),
        (SessionError(SessionCode.BAD_VERSION, "x"), "x", "same release"),
        (SessionError(SessionCode.INTERNAL, "x."), "x", "see the hub's log"),
        (DialError("tls", "not trusted; name it as ca_file"), "not trusted", "name it as ca_file"),
        (ValueError("agent.key cannot be read"), "agent.key cannot be read", "correct the file"),
        (RuntimeError("x"), "RuntimeError: x", "look at the log"),
        (TimeoutError(), "within 25 s", "firewall"),
    ],
)
async def test_the_handshakes_failures(
    make: Any, probe: list[Any], error: Exception, detail: str, remedy: str
) -> None:
    probe[0] = error
    async with server() as port:
        outcome = await check(make({"url": f"ws://127.0.0.1:{port}/t"}, upstream=f"http://127.0.0.1:{port}"))
    result = of(outcome, "hub")[-1]
    assert (result.step, result.ok) == ("handshake", False)
    assert detail in result.detail
    assert remedy in result.remedy


async def test_a_step_that_hangs_is_bounded(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_config: AgentConfig, _hub: Any, _opened: Any) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("tunnel_agent.dial.probe", hang, raising=False)
    monkeypatch.setattr(probes, "HANDSHAKE_TIMEOUT", 0.05)
    async with server() as port:
        outcome = await check(make({"url": f"ws://127.0.0.1:{port}/t"}, upstream=f"http://127.0.0.1:{port}"))
    assert of(outcome, "hub")[-1].detail == f"no answer from 127.0.0.1:{port} within 0.05 s"


class TestWayOut:
    def test_configured_none_and_environment(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def hub(**options: Any) -> Any:
            return make({"url": "wss://hub.example/t", **options}, upstream="http://127.0.0.1:1").hubs[0]

        assert way_out(hub()) is None
        assert way_out(hub(proxy="http://proxy:3128")) == "http://proxy:3128"
        monkeypatch.setenv("https_proxy", "http://me:hunter2@env-proxy:8080")
        found = way_out(hub())
        assert found is not None
        assert (found.host, found.port) == ("env-proxy", 8080)
        assert "hunter2" not in found
        assert way_out(hub(proxy="")) is None
        monkeypatch.setenv("no_proxy", "hub.example")
        assert way_out(hub()) is None


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENETUNREACH, "x"), "network"),
        (OSError(errno.EHOSTUNREACH, "x"), "network"),
        (ConnectionResetError(), "look at its log"),
        (ConnectionRefusedError(), "correct host and port"),
        (socket.gaierror(-2, "x"), "DNS"),
        (OSError(errno.ENOBUFS, "x"), "check host and port"),
        (OSError("odd"), "check host and port"),
        (TimeoutError(), "let the firewall admit TCP from this machine to h:1"),
    ],
)
def test_transport_failures(error: OSError, remedy: str) -> None:
    trouble = explain(error, "h:1", 5.0)
    assert remedy in trouble.remedy
    assert trouble.detail


OF_A_SESSION = {
    SessionCode.PROTOCOL_ERROR,
    SessionCode.FLOW_CONTROL,
    SessionCode.INTERNAL,
    SessionCode.REPLACED,
}
"""What no operator can mend: the hub's log says more."""


@pytest.mark.parametrize("code", SessionCode, ids=lambda code: code.name)
def test_each_refusal_has_its_remedy(code: SessionCode) -> None:
    assert (explain(SessionError(code, "x"), "h:1", 5.0).remedy == "see the hub's log") is (code in OF_A_SESSION)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(9, "clock"), (10, "renewed"), (20, "ca_file"), (62, "name"), (7, "have a valid certificate")],
)
def test_certificate_failures(code: int, remedy: str) -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = code, "refused for a reason"
    trouble = explain(error, "h:1", 5.0)
    assert "refused for a reason" in trouble.detail
    assert remedy in trouble.remedy
