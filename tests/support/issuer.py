"""An OAuth issuer and a revocation feed, as one HTTP server that can be told to misbehave.

issuer = Issuer()
issuer.token("visits-api", audience="gateway")    # client credentials, signed with the newest key
issuer.rotate()                                   # a new key signs from now on; the last one stays in the set
issuer.revoked.append(client.fingerprint)
issuer.jwks.mode = "down"                         # one of MODES; issuer.feed is the feed
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support import tokens
from tests.support.loop import backstage, close_server
from tests.support.relay import reset_all
from tests.support.seeded import seed

Mode = Literal["ok", "down", "error", "slow", "garbage", "redirect", "huge", "compressed"]
"""down: the connection is closed unanswered; error: 503; slow: it never ends; huge: it never ends either, fast."""

_ENDLESS: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"


@dataclass
class Page:
    """What is served under one path."""

    url: str
    document: Callable[[], Any]
    mode: Mode = "ok"
    etags: bool = True
    requests: list[dict[str, str]] = field(default_factory=list)
    """The fields of every request, names in lower case."""
    statuses: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class SigningKey:
    kid: str
    algorithm: str
    key: tokens.PrivateKey

    @property
    def jwk(self) -> dict[str, Any]:
        public: Any = self.key.public_key()
        kind = ECAlgorithm if self.algorithm == "ES256" else RSAAlgorithm
        return {**kind.to_jwk(public, as_dict=True), "kid": self.kid, "alg": self.algorithm, "use": "sig"}


class Issuer:
    """Listens on 127.0.0.1 until `close`."""

    def __init__(self, algorithm: str = "RS256", *, tls: ssl.SSLContext | None = None) -> None:
        self.algorithm = algorithm
        self.keys: list[SigningKey] = []
        self.extra: list[Any] = []
        """More members of the key set."""
        self.revoked: list[Any] = []
        self._made = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = backstage.run(self._start(tls))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.issuer = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/"
        self.jwks = Page(f"{self.issuer}jwks", lambda: {"keys": [*(key.jwk for key in self.keys), *self.extra]})
        self.feed = Page(f"{self.issuer}revoked", lambda: self.revoked)
        self.rotate()

    def rotate(self, keep: int = 1) -> SigningKey:
        """A new key signs from now on; the set keeps the `keep` keys before it."""
        self._made += 1
        self.keys = [*self.keys[len(self.keys) - keep :], new_key(f"key-{self._made}", self.algorithm)]
        return self.keys[-1]

    def token(
        self,
        client: Any = "visits-api",
        audience: Any = "gateway",
        *,
        lifetime: float = 300,
        now: float | None = None,
        by: SigningKey | None = None,
        header: tokens.Object = tokens.NONE,
        payload: tokens.Object = tokens.NONE,
        key: Any = None,
        algorithm: str | None = None,
    ) -> bytes:
        """A client-credentials token. by: the key it names; key, algorithm: what really signs it."""
        by = by or self.keys[-1]
        made = time.time() if now is None else now
        usual = {
            "iss": self.issuer,
            "aud": audience,
            "iat": int(made),
            "exp": int(made + lifetime),
            "client_id": client,
            "sub": client,
        }
        return tokens.jwt(
            tokens.changed({"alg": by.algorithm, "typ": "at+jwt", "kid": by.kid}, header),
            tokens.changed(usual, payload),
            by.key if key is None else key,
            algorithm or by.algorithm,
        )

    def drop(self) -> None:
        """Reset every connection."""
        backstage.call(lambda: reset_all(self._writers))

    def close(self) -> None:
        close_server(self._server)
        self.drop()

    async def _start(self, tls: ssl.SSLContext | None) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be kept."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        path = first.split(" ")[1]
        page = {"/jwks": self.jwks, "/revoked": self.feed}.get(path.partition("?")[0])
        if page is None:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        page.requests.append(fields)
        return await self._answer(page, fields, reader, writer)

    async def _answer(
        self, page: Page, fields: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        status, extra, body = 200, "", json.dumps(page.document()).encode()
        match page.mode:
            case "down":
                return False
            case "slow":
                writer.write(_ENDLESS + b"[")
                await reader.read()
            case "huge":
                writer.write(_ENDLESS)
                with contextlib.suppress(OSError):
                    while not writer.is_closing():
                        writer.write(b" " * 65536)
                        await writer.drain()
                return False
            case "error":
                status = 503
            case "redirect":
                status, extra = 302, f"Location: {self.issuer}jwks?elsewhere\r\n"
            case "garbage":
                body = b'{"keys": [{"kty": "RSA"'
            case "compressed":
                extra = "Content-Encoding: gzip\r\n"
            case "ok" if page.etags:
                etag = f'"{sha256(body).hexdigest()[:16]}"'
                extra = f"ETag: {etag}\r\n"
                if fields.get("if-none-match") == etag:
                    status, body = 304, b""
        page.statuses.append(status)
        writer.write(f"HTTP/1.1 {status} X\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        return True


def new_key(kid: str, algorithm: str, bits: int = 2048) -> SigningKey:
    if algorithm == "ES256":
        return SigningKey(kid, algorithm, tokens.p256())
    key = rsa.generate_private_key(65537, bits)
    seed(tokens.private_pem(key))
    return SigningKey(kid, algorithm, key)
