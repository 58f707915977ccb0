from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from protocol.caller import MessageSignature
from protocol.keys import KeyFileError, generate, save_private_key
from protocol.signatures.base import NotComputable, Signable
from protocol.signatures.keys import parse_verify_line
from protocol.signatures.verify import Verified, verify

EC_KEY = ec.generate_private_key(ec.SECP256R1())


def check(request: httpx.Request, auth: MessageSignature, body: bytes, target: bytes | None = None) -> Verified:
    """As an agent does that knows the caller as `booking`."""
    signable = Signable(
        request.method.encode(),
        target or request.url.raw_path,
        [part for field in request.headers.raw for part in field],
    )
    keys = {"booking": [parse_verify_line(auth.public_key)]}
    created = int(request.headers["Signature-Input"].partition("created=")[2].partition(";")[0])
    verified = verify(signable, keys, now=created, window=300, has_body=bool(body))
    if verified.digests is not None:
        verified.digests.check(body)
    return verified


class Server:
    """Remembers what came."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200)


@pytest.fixture(params=["keygen", "p256 file", "p256 key"])
def auth(request: pytest.FixtureRequest, tmp_path: Path) -> MessageSignature:
    file = tmp_path / "booking.key"
    if request.param == "keygen":
        save_private_key(generate(), file)
        return MessageSignature(file, "booking")
    if request.param == "p256 key":
        return MessageSignature(EC_KEY, "booking")
    file.write_bytes(
        EC_KEY.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return MessageSignature(str(file), "booking")


def test_a_client_signs_every_request(auth: MessageSignature) -> None:
    server = Server()
    with httpx.Client(transport=httpx.MockTransport(server), base_url="http://hub", auth=auth) as client:
        client.get("/a%20b//c?x=1&y=%2F")
        client.post("/visits", json={"slot": "x"})
        client.post("/visits")
    get, post, empty = server.requests
    check(get, auth, b"")
    check(post, auth, b'{"slot":"x"}')
    check(empty, auth, b"")
    assert "Content-Digest" not in get.headers
    assert "Content-Digest" not in empty.headers


def test_a_body_that_is_a_stream_is_read_first(auth: MessageSignature) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    server = Server()
    with httpx.Client(transport=httpx.MockTransport(server), base_url="http://hub", auth=auth) as client:
        client.post("/visits", content=pieces())
        client.post("/visits", content=iter(()))
    assert server.requests[0].content == b"onetwo"
    check(server.requests[0], auth, b"onetwo")
    assert "Content-Digest" in server.requests[1].headers, "chunked: the agent cannot know that nothing comes"
    check(server.requests[1], auth, b"")


async def test_an_async_client_too(auth: MessageSignature) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    server = Server()
    transport = httpx.MockTransport(server)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub", auth=auth) as client:
        await client.get("/x")
        await client.put("/x", content=pieces())
    check(server.requests[0], auth, b"")
    check(server.requests[1], auth, b"onetwo")


def test_sending_again_signs_anew(auth: MessageSignature) -> None:
    seen: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Signature-Input"])
        assert len(request.headers.get_list("Signature")) == 1
        return httpx.Response(503)

    with httpx.Client(transport=httpx.MockTransport(server), auth=auth) as client:
        request = client.build_request("POST", "http://hub/x", content=b"body")
        client.send(request)
        client.send(request)
    assert seen[0] != seen[1]
    assert len({line.partition("nonce=")[2].partition(";")[0] for line in seen}) == 2


def test_the_target_that_is_sent_is_signed(auth: MessageSignature) -> None:
    server = Server()
    with httpx.Client(transport=httpx.MockTransport(server), auth=auth) as client:
        client.get("http://hub/x", extensions={"target": b"/./y"})
    request = server.requests[0]
    check(request, auth, b"", target=b"/./y")
    with pytest.raises(ValueError, match="changed on the way"):
        check(request, auth, b"")


def test_further_fields() -> None:
    auth = MessageSignature(EC_KEY, "booking", fields=["Content-Type"])
    server = Server()
    with httpx.Client(transport=httpx.MockTransport(server), auth=auth) as client:
        client.post("http://hub/x", json={})
        with pytest.raises(NotComputable, match="no field content-type"):
            client.get("http://hub/x")
    request = server.requests[0]
    assert '"content-type"' in request.headers["Signature-Input"]
    check(request, auth, b"{}")
    request.headers["Content-Type"] = "text/plain"
    with pytest.raises(ValueError, match="changed on the way"):
        check(request, auth, b"{}")


def test_keys_that_cannot_sign(tmp_path: Path) -> None:
    file = tmp_path / "a.key"
    with pytest.raises(KeyFileError, match=r"a\.key cannot be read \(No such file"):
        MessageSignature(file, "booking")
    file.write_text("nonsense")
    with pytest.raises(KeyFileError, match="holds no private key in PEM form"):
        MessageSignature(file, "booking")
    other = rsa.generate_private_key(65537, 1024)
    for encryption, why in (
        (serialization.NoEncryption(), "another kind than Ed25519 or EC"),
        (serialization.BestAvailableEncryption(b"x"), "without passphrase"),
    ):
        file.write_bytes(
            other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        with pytest.raises(KeyFileError, match=why):
            MessageSignature(file, "booking")
    with pytest.raises(KeyFileError, match="cannot sign requests"):
        MessageSignature(ec.generate_private_key(ec.SECP384R1()), "booking")


def test_it_shows_no_secret() -> None:
    auth = MessageSignature(EC_KEY, "booking")
    assert repr(auth) == f"<MessageSignature of booking with <SigningKey of {auth._key.public.fingerprint}>>"
