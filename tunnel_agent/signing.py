"""What a service demands of a request's signature. Decisions only; `signed.py` acts on them.

Besides the caller nobody can make such a request, the hub included: what it changes, or sends again, is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protocol.errors import StreamCode
from protocol.signatures.base import Signable
from protocol.signatures.digest import BadDigest
from protocol.signatures.nonces import MemoryFull, Nonces, Replayed
from protocol.signatures.verify import SignatureRefused, Signers, Verified, verify

from .exchange import Refusal

if TYPE_CHECKING:
    from protocol.events import Opened


class Proof(NamedTuple):
    """A signature that holds, and its nonce among those that are used."""

    verified: Verified
    nonce: bytes


class Signing:
    """The demands of one service. window: seconds; body_max: bytes; nonces: the agent's, for all services."""

    __slots__ = ("_nonces", "_signers", "_window", "body_max")

    def __init__(self, signers: Signers, nonces: Nonces, *, window: float, body_max: int) -> None:
        self._signers = signers
        self._nonces = nonces
        self._window = window
        self.body_max = body_max

    def check_head(self, event: Opened, now: float) -> Proof:
        """Check all but the body, and use the nonce up. now: the wall clock, in seconds since 1970.

        `check_body` must follow with the whole body; `free` if the request got nowhere after all.

        Raises:
            Refusal
        """
        has_body = bool(event.length or event.chunked or event.body)
        if has_body and event.upgrade is not None:
            raise Refusal(StreamCode.SIGNATURE_REFUSED, "a request for an upgrade may have no body")
        self.check_size(event.length or len(event.body))
        request = Signable(event.method, event.target, event.fields, event.authority)
        try:
            verified = verify(request, self._signers, now=now, window=self._window, has_body=has_body)
            nonce = self._nonces.use(verified.signer, verified.nonce, verified.created, now)
        except (SignatureRefused, Replayed) as error:
            raise Refusal(StreamCode.SIGNATURE_REFUSED, str(error)) from None
        except MemoryFull:
            raise Refusal(StreamCode.OVERLOADED, "the agent can remember no more nonces just now") from None
        return Proof(verified, nonce)

    def check_size(self, size: int) -> None:
        """Whether so much of a body may be kept. Raises Refusal."""
        if size > self.body_max:
            raise Refusal(
                StreamCode.INVALID_REQUEST,
                f"the body is longer than {self.body_max} bytes, the most the agent takes in a signed request",
            )

    def check_body(self, proof: Proof, body: bytes) -> None:
        """Whether this is the body that was signed. Raises Refusal."""
        digests = proof.verified.digests
        try:
            if digests is not None:
                digests.check(body)
        except BadDigest as error:
            raise Refusal(StreamCode.SIGNATURE_REFUSED, str(error)) from None

    def free(self, proof: Proof) -> None:
        """No byte of the request has reached an upstream: the same signed request may come again."""
        self._nonces.free(proof.nonce)
