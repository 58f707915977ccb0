"""Asking a running program: every way in which that fails is one sentence, in bounded time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from rich.text import Text

from protocol.ops import look
from protocol.ops.look import Program, Reading, UnreachableError, ask
from protocol.ops.values import Address
from tests.support.ports import free_port
from tests.support.upstream import Upstream, raw_reply, reply


@pytest.fixture
def server() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


def program(port: int, host: str = "127.0.0.1") -> Program:
    return Program("tunnel-hub", Address(host, port), "[listen] admin of hub.toml")


def at(server: Upstream, host: str = "127.0.0.1") -> Program:
    return program(int(server.url.rpartition(":")[2]), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_the_answer_as_it_is(server: Upstream, host: str) -> None:
    """Who listens everywhere is asked here."""
    server.on("/api/status", reply(body=b'{"a": 1}'))
    assert ask(at(server, host)) == b'{"a": 1}'


def test_proxies_of_the_environment_are_not_asked(server: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    server.on("/api/status", reply(body=b"{}"))
    assert ask(at(server)) == b"{}"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (reply(404), "no running tunnel-hub of this release (status 404)"),
        (reply(302, [("Location", "/elsewhere")]), "(status 302)"),
        (raw_reply(b"SSH-2.0-OpenSSH\r\n", close=True), "(RemoteProtocolError)"),
        (raw_reply(b"", close=True), "(RemoteProtocolError)"),
    ],
)
def test_somebody_else_answers(server: Upstream, script: Any, words: str) -> None:
    server.on("/api/status", script)
    with pytest.raises(UnreachableError) as caught:
        ask(at(server))
    assert words in str(caught.value)
    assert "[listen] admin of hub.toml" in str(caught.value)


def test_nobody_answers() -> None:
    with pytest.raises(UnreachableError, match="nothing listens at"):
        ask(program(free_port()))


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_an_answer_that_trickles(server: Upstream, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the whole does not."""
    monkeypatch.setattr(look, "TIMEOUT", 0.3)

    async def trickle(x: Any) -> None:
        await x.body()
        await x.send(head)
        for _ in range(1000):
            await x.send(b"x")
            await asyncio.sleep(0.01)

    server.on("/api/status", trickle)
    with pytest.raises(UnreachableError, match=r"does not answer within 0\.3 s"):
        ask(at(server))


def test_an_answer_without_end(server: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "ANSWER_MAX", 1000)
    server.on("/api/status", reply(body=b"x" * 5000))
    with pytest.raises(UnreachableError, match="OverflowError"):
        ask(at(server))


class TestShow:
    def read(self, answer: bytes) -> Reading:
        told = json.loads(answer)
        return Reading(told["up"], lambda width: [Text(f"up: {told['up']}")])

    @pytest.mark.parametrize(("up", "code"), [("true", 0), ("false", 1)])
    @pytest.mark.parametrize("as_json", [True, False])
    def test_once(
        self, server: Upstream, up: str, code: int, as_json: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        body = b'{"up":%s,"more":1}' % up.encode()
        server.on("/api/status", reply(body=body))
        assert look.show(at(server), self.read, as_json=as_json, every=None) == code
        out, err = capsys.readouterr()
        assert out == (f"{body.decode()}\n" if as_json else f"up: {up.title()}\n")
        assert err == ""

    def test_json_means_the_same_and_moves_no_terminal(
        self, server: Upstream, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = {"up": True, "who": "é\x7f\x9b31m\u202e\U000e0001"}
        server.on("/api/status", reply(body=json.dumps(told, ensure_ascii=False).encode()))
        assert look.show(at(server), self.read, as_json=True, every=None) == 0
        out, _ = capsys.readouterr()
        assert out.rstrip("\n").isprintable()
        assert json.loads(out) == told

    def test_not_understood(self, server: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
        server.on("/api/status", reply(body=b"<html>"))
        assert look.show(at(server), self.read, as_json=True, every=None) == look.EXIT_UNREACHABLE
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("Error: tunnel-hub at 127.0.0.1:")
        assert err.endswith(".\n")
