"""Name look-ups, TLS settings and the words for what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from protocol.errors import StreamCode
from tests.support.tls import PrivateCA
from tests.unit.egress.harness import both_loops, serving, silent, until
from tunnel_agent.egress import resolve
from tunnel_agent.egress.dial import (
    DialFailed,
    Dialler,
    TlsFilesError,
    explain_tls,
    refused_by_upstream,
    tls_context,
)
from tunnel_agent.egress.resolve import Resolver


class Names:
    """A name server that answers when told to."""

    def __init__(self, *outcomes: list[str] | Exception) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, host: str, _port: None, **_: Any) -> list[Any]:
        self.asked.append(host)
        assert self.gate.wait(10)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
            for address in outcome
        ]


class TestResolver:
    @pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
    async def test_an_address_is_not_looked_up(self, host: str, family: int) -> None:
        names = Names()
        assert await Resolver(host, names).addresses() == [(family, host)]
        assert names.asked == []

    async def test_each_address_once_in_the_order_given(self) -> None:
        found = await Resolver("v.example", Names(["::2", "192.0.2.1", "::2"])).addresses()
        assert found == [(socket.AF_INET6, "::2"), (socket.AF_INET, "192.0.2.1")]

    async def test_one_look_up_serves_all_who_ask_and_is_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = Names(["192.0.2.1"], ["192.0.2.2"])
        names.gate.clear()
        resolver = Resolver("v.example", names)
        asking = [asyncio.ensure_future(resolver.addresses()) for _ in range(5)]
        await until(lambda: names.asked, "the look-up runs")
        names.gate.set()
        found = await asyncio.gather(*asking, resolver.addresses())
        assert [address for each in found for _, address in each] == ["192.0.2.1"] * 6
        assert await resolver.addresses() == found[0]
        assert len(names.asked) == 1
        monkeypatch.setattr(resolver, "_good_until", 0.0)
        assert await resolver.addresses() == [(socket.AF_INET, "192.0.2.2")]

    async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(self) -> None:
        names = Names(["192.0.2.1"])
        names.gate.clear()
        resolver = Resolver("v.example", names)
        first, second = (asyncio.ensure_future(resolver.addresses()) for _ in range(2))
        await until(lambda: names.asked, "the look-up runs")
        first.cancel()
        names.gate.set()
        assert len(await second) == 1

    async def test_a_failure_is_not_remembered(self) -> None:
        names = Names(socket.gaierror(socket.EAI_NONAME, "x"), ["192.0.2.1"])
        resolver = Resolver("v.example", names)
        with pytest.raises(OSError, match="x"):
            await resolver.addresses()
        assert len(await resolver.addresses()) == 1

    @pytest.mark.parametrize("outcome", [[], UnicodeError("label too long")])
    async def test_nothing_useful_is_a_failure(self, outcome: Any) -> None:
        with pytest.raises(OSError, match="no"):
            await Resolver("v.example", Names(outcome)).addresses()

    def test_a_look_up_that_outlives_the_loop_harms_nothing(self) -> None:
        names = Names(["192.0.2.1"])
        names.gate.clear()

        async def give_up() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await Resolver("v.example", names).addresses()

        asyncio.run(give_up())
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "resolve")
        assert thread.daemon
        names.gate.set()
        thread.join(10)
        assert not thread.is_alive()

    def test_the_memory_is_short(self) -> None:
        assert 1 <= resolve.REMEMBER <= 30


def dialler(port: int, **settings: Any) -> Dialler:
    settings = {"tls": None, "server_name": None, "timeout": 5.0} | settings
    return Dialler(settings.pop("host", "127.0.0.1"), port, **settings)


async def failure(it: Dialler) -> tuple[StreamCode, str]:
    with pytest.raises(DialFailed) as caught:
        await it.connect(asyncio.Protocol)
    return caught.value.code, caught.value.detail


class Closing(asyncio.Protocol):
    transport: asyncio.Transport | None = None
    lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "abort")
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


@both_loops
async def test_a_dead_address_does_not_hide_a_living_one() -> None:
    async with serving(silent) as server:
        names = Names(["127.0.0.9", "127.0.0.1"])
        protocol = await dialler(server.port, resolver=Resolver("v", names)).connect(Closing)
        assert protocol.transport is not None
        protocol.transport.abort()
        await until(lambda: protocol.lost, "the connection is closed")


@both_loops
async def test_a_silent_address_takes_its_share_of_the_time_only() -> None:
    async with serving(silent) as server:
        with contextlib.ExitStack() as stack:
            full = stack.enter_context(socket.create_server(("127.0.0.9", server.port), backlog=0))
            for _ in range(3):  # a full backlog drops what else comes
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            names = Names(["127.0.0.9", "127.0.0.1"])
            protocol = await dialler(server.port, resolver=Resolver("v", names), timeout=1.0).connect(Closing)
            assert protocol.transport is not None
            assert protocol.transport.get_extra_info("peername")[0] == "127.0.0.1"
            protocol.transport.abort()
            await until(lambda: protocol.lost, "the connection is closed")


@both_loops
async def test_a_name_that_does_not_resolve() -> None:
    names = Names(socket.gaierror(socket.EAI_NONAME, "v.example is not known"))
    outcome = await failure(dialler(1, resolver=Resolver("v.example", names)))
    assert outcome == (StreamCode.CONNECT_FAILED, "name does not resolve")


@both_loops
async def test_a_name_server_that_does_not_answer() -> None:
    names = Names(["127.0.0.1"])
    names.gate.clear()
    outcome = await failure(dialler(1, resolver=Resolver("v.example", names), timeout=0.02))
    names.gate.set()
    assert outcome == (StreamCode.CONNECT_TIMEOUT, "the name look-up took too long")


@pytest.mark.parametrize(
    ("number", "phrase"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.EHOSTUNREACH, "no route to the upstream"),
        (errno.EMFILE, "the agent has too many open files"),
        (errno.ENOTCONN, "connection failed"),
    ],
)
def test_system_errors_are_named_without_addresses(number: int, phrase: str) -> None:
    error = OSError(number, "Connect call failed ('192.0.2.1', 9000)")
    failed = dialler(1)._explain(error)
    assert (failed.code, failed.detail) == (StreamCode.CONNECT_FAILED, phrase)


def ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text with v.example")
    error.reason = reason
    return error


def test_an_alert_about_the_client_certificate_is_told_from_other_tls_errors() -> None:
    alert = ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED")
    assert refused_by_upstream(alert) == "the upstream requires a client certificate"
    assert refused_by_upstream(ssl_error("TLSV1_ALERT_UNKNOWN_CA")) is not None
    for other in (ssl_error("TLSV1_ALERT_INTERNAL_ERROR"), ssl_error("WRONG_VERSION_NUMBER"), OSError(), None):
        assert refused_by_upstream(other) is None


def test_unknown_tls_errors_still_get_a_phrase() -> None:
    assert explain_tls(ssl_error("SOMETHING_NEW")) == "the TLS handshake failed"
    assert explain_tls(ssl_error("WRONG_VERSION_NUMBER")) == "the upstream does not speak TLS on this port"


class TestTlsContext:
    def test_the_settings_are_strict(self) -> None:
        context = tls_context()
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2

    def test_own_authorities_replace_the_systems(self, tmp_path: Path) -> None:
        ca = PrivateCA(tmp_path)
        assert len(tls_context(ca.ca_file).get_ca_certs()) == 1

    @pytest.mark.parametrize("content", [None, b"", b"not PEM"])
    def test_a_bad_ca_file_is_named(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TlsFilesError, match=r"ca\.pem"):
            tls_context(path)

    def test_a_certificate_with_another_key_is_refused(self, tmp_path: Path) -> None:
        ca = PrivateCA(tmp_path)
        one, other = ca.issue(), ca.issue()
        with pytest.raises(TlsFilesError, match=r"cert-1\.pem"):
            tls_context(None, one.certificate, other.key)

    def test_an_encrypted_key_is_refused_instead_of_asking_on_the_terminal(self, tmp_path: Path) -> None:
        from cryptography.hazmat.primitives import serialization as pem
        from cryptography.hazmat.primitives.asymmetric import ec

        issued = trustme.CA().issue_cert("v.example")
        certificate, key = tmp_path / "c.pem", tmp_path / "c.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        key.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret")
            )
        )
        with pytest.raises(TlsFilesError, match="password"):
            tls_context(None, certificate, key)
