"""What a service demands of signatures: decisions of the agent, without any connection."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import StreamCode
from protocol.events import Opened
from protocol.signatures.nonces import Nonces
from protocol.stream import AWAIT, BODY, Stream
from tests.unit.signatures.signing import GET, NOW, POST, SIGNERS, WINDOW, digest, signed
from tunnel_agent.exchange import Refusal
from tunnel_agent.signing import Signing

MAX = 10
POSTED = signed(POST, method=b"POST", fields=[b"Content-Digest", digest(b"body")])


def opened(request: Any, **parts: Any) -> Opened:
    usual = {
        "stream": Stream(1, 0, AWAIT, BODY, None),
        "end": True,
        "chunked": False,
        "expect": False,
        "deadline_ms": None,
        "service": "visits",
        "request_id": b"r",
        "method": request.method,
        "authority": b"hub",
        "target": request.target,
        "fields": request.fields,
        "length": None,
        "upgrade": None,
        "body": b"",
    }
    return Opened(**{**usual, **parts})


def signing(limit: int = 9) -> Signing:
    return Signing(SIGNERS, Nonces(WINDOW, limit), window=WINDOW, body_max=MAX)


def refusal(signing: Signing, request: Any, **parts: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        signing.check_head(opened(request, **parts), NOW)
    return caught.value


def test_head_then_body() -> None:
    demands = signing()
    proof = demands.check_head(opened(POSTED, length=4), NOW)
    demands.check_body(proof, b"body")
    with pytest.raises(Refusal) as caught:
        demands.check_body(proof, b"bodY")
    assert caught.value.code is StreamCode.SIGNATURE_REFUSED


def test_without_digest_there_is_nothing_to_check_of_an_empty_body() -> None:
    demands = signing()
    demands.check_body(demands.check_head(opened(signed()), NOW), b"")


def test_a_nonce_counts_once_unless_it_was_freed() -> None:
    demands = signing()
    proof = demands.check_head(opened(signed()), NOW)
    again = refusal(demands, signed())
    assert again.code is StreamCode.SIGNATURE_REFUSED
    assert "used before" in again.detail
    demands.free(proof)
    demands.check_head(opened(signed()), NOW)


def test_a_signature_that_does_not_hold_uses_no_nonce() -> None:
    demands = signing()
    assert refusal(demands, signed()._replace(method=b"PUT")).code is StreamCode.SIGNATURE_REFUSED
    demands.check_head(opened(signed()), NOW)


def test_a_full_memory_is_overload() -> None:
    demands = signing(limit=0)
    assert refusal(demands, signed()).code is StreamCode.OVERLOADED
    assert refusal(demands, signed()._replace(method=b"PUT")).code is StreamCode.SIGNATURE_REFUSED


@pytest.mark.parametrize("parts", [{"length": 4}, {"chunked": True}, {"body": b"body"}])
def test_whatever_may_be_a_body_must_be_signed(parts: dict[str, Any]) -> None:
    assert "content-digest" in refusal(signing(), signed(), **parts).detail
    assert "upgrade may have no body" in refusal(signing(), POSTED, upgrade=b"websocket", **parts).detail
    signing().check_head(opened(POSTED, **parts), NOW)


@pytest.mark.parametrize("parts", [{"length": MAX + 1}, {"chunked": True, "body": b"x" * (MAX + 1)}])
def test_sizes(parts: dict[str, Any]) -> None:
    found = refusal(signing(), POSTED, **parts)
    assert found.code is StreamCode.INVALID_REQUEST
    assert "longer than 10 bytes" in found.detail
    signing().check_size(MAX)


def test_the_authority_may_be_covered() -> None:
    covering = signed((*GET, "@authority"))
    signing().check_head(opened(covering), NOW)
    assert "changed on the way" in refusal(signing(), covering, authority=b"other").detail
