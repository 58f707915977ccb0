"""What we sign is what we demand, and what another implementation of RFC 9421 understands."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier
from http_message_signatures.algorithms import ECDSA_P256_SHA256, ED25519
from http_message_signatures.resolvers import HTTPSignatureKeyResolver

from protocol.signatures.base import NotComputable, Signable
from protocol.signatures.keys import SigningKey
from protocol.signatures.sign import signature_fields
from protocol.signatures.verify import verify
from tests.unit.signatures.signing import EC, ED, NOW, POST, SIGNERS, digest

KINDS = [(ED, ED25519), (EC, ECDSA_P256_SHA256)]
BODY = b"{}"


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, key: SigningKey) -> None:
        self.private: Any = key._key

    def resolve_private_key(self, key_id: str) -> Any:
        return self.private

    def resolve_public_key(self, key_id: str) -> Any:
        return self.private.public_key()


@pytest.mark.parametrize(("key", "algorithm"), KINDS)
def test_another_implementation_accepts_ours(key: SigningKey, algorithm: Any) -> None:
    bare = Signable(b"POST", b"/a%20b//c?x=1&y=%2f", [b"Content-Digest", digest(BODY)])
    created = int(datetime.datetime.now(datetime.UTC).timestamp())
    described, signature = signature_fields(bare, key, "booking", POST, created=created, nonce="n" * 16)
    headers = {"Content-Digest": digest(BODY).decode(), "Signature-Input": described, "Signature": signature}
    message = SimpleNamespace(method="POST", url="http://hub/a%20b//c?x=1&y=%2f", headers=headers)
    [result] = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=Keys(key)).verify(
        message, expect_tag="tunnel", require_components=POST, body=BODY
    )
    assert result.parameters["keyid"] == "booking"


@pytest.mark.parametrize(("key", "algorithm"), KINDS)
def test_we_accept_anothers(key: SigningKey, algorithm: Any) -> None:
    headers = {"Content-Digest": digest(BODY, "sha-512").decode()}
    message = SimpleNamespace(method="POST", url="http://hub/a%20b//c?x=1&y=%2f", headers=headers)
    HTTPMessageSigner(signature_algorithm=algorithm, key_resolver=Keys(key)).sign(
        message,
        key_id="booking",
        created=datetime.datetime.fromtimestamp(NOW, datetime.UTC),
        nonce="n" * 16,
        tag="tunnel",
        covered_component_ids=POST,
        use_existing_digest=True,
    )
    fields = [part.encode() for field in headers.items() for part in field]
    request = Signable(b"POST", b"/a%20b//c?x=1&y=%2f", fields)
    verified = verify(request, SIGNERS, now=NOW, window=300, has_body=True)
    assert verified.digests is not None
    verified.digests.check(BODY)


def test_a_field_that_is_not_there_cannot_be_signed() -> None:
    with pytest.raises(NotComputable, match="no field x-a"):
        signature_fields(Signable(b"GET", b"/", []), ED, "booking", ["x-a"], created=1, nonce="n")
