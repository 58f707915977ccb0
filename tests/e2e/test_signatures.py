"""Signed requests on real processes: what callers sign is served, what a hub makes of it is not."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocol import frames
from protocol.caller import MessageSignature
from protocol.errors import StreamCode
from protocol.signatures.base import Signable
from protocol.signatures.sign import signature_fields
from tests.support.hostile import HostileHub, HostileSession, open_frame, pack
from tests.support.keys import KeyRing
from tests.support.problems import assert_problem
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, Upstream, reply
from tests.support.waiting import stays, wait_until
from tests.unit.signatures.signing import GET, POST, digest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "signatures.md").read_text()
NONCES = (f"e2e-nonce-{number:06}" for number in itertools.count())


class Signed(NamedTuple):
    """A tunnel with a hostile hub beside the sound one, and both of `booking`'s keys."""

    tunnel: Tunnel
    hub: HostileHub
    ways: dict[str, MessageSignature]

    @property
    def upstream(self) -> Upstream:
        return self.tunnel.upstream

    def client(self, kind: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.tunnel.hub.url, headers={"Host": HOST}, trust_env=False, auth=self.ways[kind]
        )

    def sign(self, method: bytes, target: bytes, body: bytes | None = None) -> list[bytes]:
        """The fields of a signed request."""
        fields = [] if body is None else [b"Content-Digest", digest(body)]
        described, signature = signature_fields(
            Signable(method, target, fields),
            self.ways["ed25519"]._key,
            "booking",
            GET if body is None else POST,
            created=int(time.time()),
            nonce=next(NONCES),
        )
        return [*fields, b"Signature-Input", described.encode(), b"Signature", signature.encode()]


def lines(fields: list[bytes]) -> list[str]:
    return [f"{name.decode()}: {value.decode()}" for name, value in zip(fields[::2], fields[1::2], strict=True)]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("signed")
    (folder / "p256.pem").write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    ways = {
        "ed25519": MessageSignature(keys.agent("booking").file, "booking"),
        "es256": MessageSignature(folder / "p256.pem", "booking"),
    }
    assert ways["ed25519"].public_key == keys.agent("booking").public
    hub = HostileHub(keys.hub("hostile"), keys.agent())
    tunnel = Tunnel(
        folder,
        keys,
        sessions=1,
        agent_service={"signers": ["booking"], "upgrades": ["websocket"]},
        agent_options={
            "signers": {"booking": {"public_keys": [way.public_key for way in ways.values()]}},
            "limits": {"signed_body_max": "2MiB"},
        },
    )
    tunnel.agent.config["hubs"].append(
        {"url": hub.url, "public_keys": [keys.hub("hostile").public], "sessions": 1}
    )
    tunnel.agent.write_config()
    tunnel.upstream.on("/nomisapi/*", reply(body=b"in"))
    tunnel.start()
    yield Signed(tunnel, hub, ways)
    tunnel.close()
    hub.close()


@pytest.mark.parametrize("kind", ["ed25519", "es256"])
def test_what_a_caller_signs_is_served_as_it_was_sent(signed: Signed, kind: str) -> None:
    with signed.client(kind) as client:
        assert client.get(f"/nomisapi/{kind}/a%20b?from=2017-10-24%2015:36&x=~&y").text == "in"
        body = os.urandom(700_000)
        for number, content in enumerate((b'{"slot":"x"}', body, iter([body[:1000], body[1000:]]))):
            assert client.post(f"/nomisapi/{kind}/{number}", content=content).text == "in"
        assert client.post(f"/nomisapi/{kind}/empty").text == "in"
    [get] = signed.upstream.requests(f"/nomisapi/{kind}/a%20b")
    assert get.target == f"/nomisapi/{kind}/a%20b?from=2017-10-24%2015:36&x=~&y".encode()
    for number, sent in enumerate((b'{"slot":"x"}', body, body)):
        received = signed.upstream.only(f"/nomisapi/{kind}/{number}")
        assert bytes(received.body) == sent
        assert received.complete


async def test_an_async_client(signed: Signed) -> None:
    async with httpx.AsyncClient(
        base_url=signed.tunnel.hub.url, headers={"Host": HOST}, trust_env=False, auth=signed.ways["es256"]
    ) as client:
        assert (await client.put("/nomisapi/async", json={"a": 1})).text == "in"
    assert bytes(signed.upstream.only("/nomisapi/async").body) == b'{"a":1}'


def test_a_caller_that_expects_100(signed: Signed) -> None:
    fields = signed.sign(b"POST", b"/nomisapi/expects", b"body")
    with signed.tunnel.raw() as caller:
        caller.start(
            "POST", "/nomisapi/expects", *lines(fields), "Content-Length: 4", "Expect: 100-continue", host=HOST
        )
        assert caller.interim().status == 100
        caller.send(b"body")
        answer = caller.answer("POST")
    assert (answer.status, answer.body) == (200, b"in")
    assert bytes(signed.upstream.only("/nomisapi/expects").body) == b"body"


def test_what_is_not_signed_is_refused(signed: Signed) -> None:
    target = "/nomisapi/unsigned"
    document = assert_problem(signed.tunnel.fetch(target), 403, code="signature_refused", origin="agent")
    assert "not signed" in document["detail"]
    posted = signed.tunnel.fetch(target, method="POST", body=b"body")
    assert_problem(posted, 403, code="signature_refused", origin="agent")
    assert not signed.upstream.requests(target)
    assert "SIGNATURE_REFUSED" in signed.tunnel.agent.log()


def test_a_caller_cannot_repeat_it_either(signed: Signed) -> None:
    target = "/nomisapi/repeated?a=1"
    fields = lines(signed.sign(b"GET", target.encode()))
    assert signed.tunnel.fetch(target, *fields).body == b"in"
    document = assert_problem(signed.tunnel.fetch(target, *fields), 403, code="signature_refused", origin="agent")
    assert "used before" in document["detail"]
    signed.upstream.only("/nomisapi/repeated")


def test_a_body_that_is_too_large(signed: Signed) -> None:
    with signed.client("ed25519") as client:
        answer = client.post("/nomisapi/large", content=bytes(2 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.headers["Tunnel-Delivered"] == "no"
    assert "longer than 2097152 bytes" in answer.json()["detail"]
    assert not signed.upstream.requests("/nomisapi/large")


class Tampering:
    """A hostile hub that was given signed requests. Each call is one more stream."""

    def __init__(self, signed: Signed) -> None:
        self.session: HostileSession = signed.hub.wait_session()
        heard = [frame[1] for frame in self.session.heard if frame[0] in (frames.RESET, frames.ANSWER)]
        self.numbers = itertools.count(max(heard, default=-1) + 2, 2)

    def send(self, target: bytes, *later: Callable[[int], bytes], **parts: Any) -> list[Any]:
        """The agent's RESET or ANSWER."""
        number = next(self.numbers)
        self.session.send_bytes(open_frame(number, target, **parts) + b"".join(make(number) for make in later))
        found = wait_until(
            lambda: next(
                (
                    frame
                    for frame in list(self.session.heard)
                    if frame[0] in (frames.RESET, frames.ANSWER) and frame[1] == number
                ),
                None,
            ),
            "an answer or a refusal",
        )
        assert found is not None
        return found


def data(body: bytes, *, end: bool = True) -> Callable[[int], bytes]:
    return lambda number: pack(frames.DATA, number, int(end), body)


def trailers(number: int) -> bytes:
    return pack(frames.TRAILERS, number, [b"X-A", b"1"])


def test_a_hub_that_tampers_gets_nothing_through(signed: Signed) -> None:
    hub = Tampering(signed)
    target, other = b"/nomisapi/tampered?a=1", b"/nomisapi/tampered?a=2"
    get = signed.sign(b"GET", target)
    post = signed.sign(b"POST", target, b"right")
    stream: dict[str, Any] = {"method": b"POST", "fields": post, "flags": 0, "length": 5}
    chunked: dict[str, Any] = {"method": b"POST", "fields": post, "flags": frames.CHUNKED}
    whole: dict[str, Any] = {"method": b"POST", "fields": post}
    attempts: list[tuple[bytes, tuple[Callable[[int], bytes], ...], dict[str, Any]]] = [
        (target, (), {}),
        (target, (), {"fields": get, "method": b"DELETE"}),
        (target, (), {"fields": get, "method": b"POST"}),
        (other, (), {"fields": get}),
        (b"/nomisapi/tampered", (), {"fields": get}),
        (b"/nomisapi/tampered?", (), {"fields": signed.sign(b"GET", b"/nomisapi/tampered")}),
        (b"/nomisapi/%74ampered?a=1", (), {"fields": get}),
        (b"/nomisapi/tampered2?a=1", (), {"fields": get}),
        (target, (), {"fields": get, "method": b"GET", "body": b"x", "length": 1}),
        (target, (), {**whole, "body": b"wrong", "length": 5}),
        (target, (), {**whole, "length": 0}),
        (target, (data(b"wrong"),), stream),
        (target, (data(b"ri", end=False), data(b"ghT")), stream),
        (target, (data(b"right and more"),), chunked),
        (target, (data(b"righ"),), chunked),
        (target, (data(b"right", end=False), trailers), chunked),
        (target, (), {"fields": [*get[:1], get[1].replace(b"a", b"b", 1), *get[2:]]}),
        (target, (), {"fields": get[:2]}),
        (target, (), {"fields": [*get, *get]}),
    ]
    for target_sent, later, parts in attempts:
        answer = hub.send(target_sent, *later, **parts)
        assert (answer[0], answer[2]) == (frames.RESET, StreamCode.SIGNATURE_REFUSED), (target_sent, parts, answer)
    stays(lambda: not signed.upstream.requests("/nomisapi/tampered*"), "the upstream hears nothing", 0.1)
    # The right ones pass still, once.
    assert hub.send(target, fields=get)[0] == frames.ANSWER
    assert hub.send(target, data(b"right"), **stream)[0] == frames.ANSWER
    for again in ({"fields": get}, {**whole, "body": b"right", "length": 5}):
        assert hub.send(target, **again)[2] == StreamCode.SIGNATURE_REFUSED
    received = signed.upstream.requests("/nomisapi/tampered*")
    assert [(r.method, r.target, bytes(r.body)) for r in received] == [
        (b"GET", target, b""),
        (b"POST", target, b"right"),
    ]


def test_both_hubs_share_the_memory_of_what_was_used(signed: Signed) -> None:
    target = b"/nomisapi/shared"
    fields = signed.sign(b"GET", target)
    assert signed.tunnel.fetch(target.decode(), *lines(fields)).body == b"in"
    assert Tampering(signed).send(target, fields=fields)[2] == StreamCode.SIGNATURE_REFUSED
    signed.upstream.only("/nomisapi/shared")


def test_a_reset_while_the_body_is_kept(signed: Signed) -> None:
    """The agent says NOT_DISPATCHED, which is true, and the same request may still come."""
    hub = Tampering(signed)
    fields = signed.sign(b"POST", b"/nomisapi/kept", b"right")
    parts: dict[str, Any] = {"method": b"POST", "fields": fields, "flags": 0, "length": 5}
    reset = hub.send(
        b"/nomisapi/kept", data(b"ri", end=False), lambda number: pack(frames.RESET, number, 1, ""), **parts
    )
    assert (reset[0], reset[2]) == (frames.RESET, StreamCode.NOT_DISPATCHED)
    assert not signed.upstream.requests("/nomisapi/kept")
    assert hub.send(b"/nomisapi/kept", data(b"right"), **parts)[0] == frames.ANSWER


# -- docs/signatures.md ---------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page(make_tunnel: Callable[..., Tunnel], tmp_path: Path) -> None:
    """Every block of the page, in its order."""
    [keygen] = blocks("sh")
    show, call, unsigned = blocks("python")
    service, limits = blocks("toml")
    [refusal] = blocks("text")
    assert PAGE.count("\n```\n") == 7

    bin_ = tmp_path / "bin"
    bin_.mkdir()
    program = bin_ / "tunnel-agent"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tunnel_agent.cli "$@"\n')
    program.chmod(0o755)
    tunnel = make_tunnel(hub_options={"services": {"visits": {"paths": ["/nomisapi/"]}}})

    def run(*command: str) -> str:
        environ = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, check=False, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(code: str) -> str:
        return run(sys.executable, "-c", code.replace("http://127.0.0.1:8080", tunnel.hub.url))

    printed = run("sh", "-c", keygen)
    line = python(show).strip()
    assert line in printed
    for block in (service, limits):
        for table, values in tomllib.loads(block.replace("ed25519:BASE64", line)).items():
            here = tunnel.agent.config.setdefault(table, {})
            for name, value in values.items():
                here[name] = {**here.get(name, {}), **value} if isinstance(value, dict) else value
    tunnel.agent.write_config()
    tunnel.upstream.on("/nomisapi/*", reply(body=b'{"visit_id":5905}'))
    tunnel.start()
    assert python(call).strip() == "200"
    booked = tunnel.upstream.only("/nomisapi/offenders/1057307/visits/booking")
    assert json.loads(bytes(booked.body)) == {"slot": "2018-04-05T10:00/11:30"}
    assert python(unsigned).strip() == refusal.strip()
    assert not tunnel.upstream.requests("/nomisapi/health")


def test_what_reached_an_upstream_is_not_repeated_and_the_caller_is_told(
    make_tunnel: Callable[..., Tunnel], keys: KeyRing
) -> None:
    """The session is lost behind an idempotent request; its repetition is a replay, and says `unknown`."""
    way = MessageSignature(keys.agent("booking").file, "booking")
    tunnel = make_tunnel(
        relay=True,
        agent_service={"signers": ["booking"]},
        agent_options={"signers": {"booking": {"public_keys": [way.public_key]}}},
    )

    async def script(x: Exchange) -> None:
        await x.until_gone()

    tunnel.upstream.on("/nomisapi/lost", script)
    tunnel.start()
    relay = tunnel.relay
    assert relay is not None
    with (
        httpx.Client(base_url=tunnel.hub.url, headers={"Host": HOST}, trust_env=False, auth=way) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(client.put, "/nomisapi/lost", content=b"body", timeout=20)
        tunnel.upstream.wait_for("/nomisapi/lost")
        relay.cut()
        answer = asked.result(30)
    assert (answer.status_code, answer.json()["code"]) == (403, "signature_refused")
    assert answer.headers["Tunnel-Delivered"] == "unknown"
    assert answer.json()["delivered"] == "unknown"
    tunnel.upstream.only("/nomisapi/lost")
