"""Signing every request, so that the agent knows it for the caller's own, whatever the hub does."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import httpx

from protocol.signatures.base import Signable
from protocol.signatures.digest import FIELD, content_digest
from protocol.signatures.sign import signature_fields
from protocol.signatures.verify import REQUIRED

from .auth import FieldAuth
from .keys import Key, load_signing_key


class MessageSignature(FieldAuth):
    """Signs method, path, query and body of each request (RFC 9421), for services that demand it at the agent.

        from protocol.caller import MessageSignature

        client = httpx.Client(base_url="http://hub:8080", auth=MessageSignature("booking.key", "booking"))
        client.post("/nomisapi/offenders/1057307/visits/booking", json={"slot": "..."})

    key: the name of a PEM file with an Ed25519 key, as `keygen` writes it, or an EC key on P-256; or such a key.
    keyid: this caller's name in the agent's file, [signers.NAME]. fields: names of further fields to sign, such as
    "content-type", all of which every request must have. A body that is a stream is read first. Every
    sending gets a time and a nonce of its own; a request must not be sent twice by other means than the client.
    """

    requires_request_body = True

    def __init__(self, key: Key, keyid: str, *, fields: Sequence[str] = ()) -> None:
        """Raises KeyFileError for a key that cannot be used."""
        self._key = load_signing_key(key)
        self._keyid = keyid
        self._fields = tuple(name.lower() for name in fields)

    @property
    def public_key(self) -> str:
        """The line for `public_keys` in the agent's file."""
        return self._key.public.line

    def apply(self, request: httpx.Request) -> None:
        body = request.content
        names = [*REQUIRED, *self._fields]
        if body or "Transfer-Encoding" in request.headers:
            request.headers["Content-Digest"] = content_digest(body)
            names.append(FIELD)
        described, signature = signature_fields(
            Signable(
                request.method.encode(),
                request.extensions.get("target", request.url.raw_path),
                [part for field in request.headers.raw for part in field],
            ),
            self._key,
            self._keyid,
            names,
            created=int(time.time()),
            nonce=secrets.token_urlsafe(16),
        )
        request.headers["Signature-Input"] = described
        request.headers["Signature"] = signature

    def __repr__(self) -> str:
        return f"<MessageSignature of {self._keyid} with {self._key!r}>"
