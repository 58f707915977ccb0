"""The gateway's two-layer tokens: a client token, issued for long, inside a bearer that the client signs."""

from __future__ import annotations

import secrets
import time

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey

from protocol.keys import KeyFileError

from .auth import FieldAuth
from .keys import Key, load_key


class ClientToken(FieldAuth):
    """Sends `Authorization: Bearer ...`, made anew from the client token and the client's key.

        from protocol.caller import ClientToken

        client = httpx.Client(base_url="http://hub:8080", auth=ClientToken(token, "client.key"))
        client.get("/nomisapi/health")

    client_token: the JWT that was issued to the client. key: the PEM file of the P-256 key that stands in it, or
    the key. reuse_for: seconds that one bearer is sent again, below what the gateway allows `iat` to be off;
    single_use: a fresh one with a `jti` for every request instead, which nobody can send a second time.
    """

    def __init__(self, client_token: str, key: Key, *, reuse_for: float = 5.0, single_use: bool = False) -> None:
        """Raises KeyFileError for a key that cannot be used."""
        loaded = load_key(key)
        if not isinstance(loaded, EllipticCurvePrivateKey) or not isinstance(loaded.curve, SECP256R1):
            raise KeyFileError("A client token's key is an EC key on P-256: this one is of another kind.")
        self._key = loaded
        self._client_token = client_token.strip()
        self._reuse_for = reuse_for
        self._single_use = single_use
        self._made: tuple[str, float] = ("", 0.0)  # the bearer, and until when it is sent

    def apply(self, request: httpx.Request) -> None:
        request.headers["Authorization"] = f"Bearer {self._bearer()}"

    def _bearer(self) -> str:
        if self._single_use:
            return self._mint({"jti": secrets.token_urlsafe(16)})
        bearer, until = self._made
        if time.monotonic() >= until:
            bearer = self._mint({})
            self._made = bearer, time.monotonic() + self._reuse_for
        return bearer

    def _mint(self, more: dict[str, str]) -> str:
        return jwt.encode(
            {"iat": int(time.time()), "token": self._client_token, **more}, self._key, algorithm="ES256"
        )

    def __repr__(self) -> str:
        return "<ClientToken>"
