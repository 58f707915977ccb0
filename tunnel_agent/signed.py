"""An exchange of a service that demands signatures: its body is kept until it is known to be the one signed.

Until then no byte has gone to an upstream, so that whatever ends the exchange ends it as not dispatched, and its
nonce counts as unused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.errors import StreamCode

from .exchange import Exchange, OnFailed, Refusal

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.aio.wheel import Timer, Wheel
    from protocol.events import DataReceived, Opened, TrailersReceived
    from protocol.flow import MemoryBudget

    from .egress.call import UpstreamRequest
    from .records import Records
    from .service import Service
    from .signing import Proof, Signing

CONTINUE: Final = 100


class SignedExchange(Exchange):
    """Call `begin` once; `refuse` is called when what comes later may not pass."""

    __slots__ = (
        "_budget",
        "_deadline_at",
        "_kept",
        "_proof",
        "_refuse",
        "_request",
        "_signing",
        "_size",
        "_timer",
        "_wheel",
    )

    def __init__(
        self,
        link: Link,
        event: Opened,
        service: Service,
        signing: Signing,
        wheel: Wheel,
        budget: MemoryBudget,
        refuse: Callable[[Refusal], None],
        records: Records,
        on_failed: OnFailed,
    ) -> None:
        super().__init__(link, event, service, records, on_failed)
        self._signing = signing
        self._wheel = wheel
        self._budget = budget
        self._refuse = refuse
        self._proof: Proof | None = None
        self._kept: list[bytes] | None = None  # the body while it is being collected
        self._size = 0  # bytes of it that are taken from the budget
        self._timer: Timer | None = None
        self._deadline_at: float | None = None
        self._request: UpstreamRequest | None = None

    def begin(self, request: UpstreamRequest, event: Opened) -> None:
        """Check the head; then send the request on, or first wait for the rest of its body.

        Raises:
            Refusal: nothing of it may reach the upstream, and this exchange is over.
        """
        now = time.time()
        self._proof = proof = self._signing.check_head(event, now)
        self._request = request
        self._kept = []
        patience = proof.verified.until - now
        if event.deadline_ms is not None:
            self._deadline_at = self.link.loop.time() + event.deadline_ms / 1000
            patience = min(patience, event.deadline_ms / 1000)
        try:
            self._keep(request.body)
            if event.end or event.upgrade is not None:  # what follows a 101 is no body
                self._release(event.end)
                return
        except Refusal:
            self._settle()
            raise
        self._stream.owner = self
        self._timer = self._wheel.after(patience, self._on_patience)
        if event.expect:  # the upstream cannot be asked before the body is here
            request.expect_continue = False
            self.link.session.interim(self._stream, CONTINUE, [])
            self.link.wake()

    # -- From the session -----------------------------------------------------------------------------

    def on_data(self, event: DataReceived) -> None:
        if self._kept is None:
            super().on_data(event)
            return
        self.bytes_in += len(event.body)
        try:
            self._keep(event.body)
            if event.end:
                self._release(True)
        except Refusal as refusal:
            self._give_up(refusal)

    def on_trailers(self, event: TrailersReceived) -> None:
        if self._kept is None:
            super().on_trailers(event)
        else:
            self._give_up(
                Refusal(StreamCode.SIGNATURE_REFUSED, "the request has trailers, which no signature here covers")
            )

    def cancel(self, code: StreamCode | None = StreamCode.SESSION_LOST) -> None:
        if self._kept is not None:
            self._ended(None, code)  # while its body was being collected
        super().cancel(code)
        self._settle()

    # -- From the upstream ----------------------------------------------------------------------------

    def on_answer(
        self,
        status: int,
        reason: bytes,
        fields: list[bytes],
        length: int | None,
        body: bytes,
        end: bool,
        trailers: list[bytes],
    ) -> None:
        self._settle()
        super().on_answer(status, reason, fields, length, body, end, trailers)

    def on_failure(self, code: StreamCode, detail: str) -> None:
        self._settle()
        super().on_failure(code, detail)

    # -- The body -------------------------------------------------------------------------------------

    def _keep(self, data: bytes) -> None:
        """Keep more of the body and return the credit for it: without that no more would come. Raises Refusal."""
        if not data:
            return
        kept = self._kept
        assert kept is not None
        self._signing.check_size(self._size + len(data))
        if not self._budget.take(len(data)):
            raise Refusal(StreamCode.OVERLOADED, "the agent has no memory left for signed requests just now")
        self._size += len(data)
        kept.append(data)
        self.link.session.consumed(self._stream, len(data), self.link.loop.time())
        self.link.wake()

    def _release(self, complete: bool) -> None:
        """The body is whole: if it is the one that was signed, the request goes on. Raises Refusal."""
        request, kept, proof = self._request, self._kept, self._proof
        assert request is not None
        assert kept is not None
        assert proof is not None
        body = b"".join(kept)
        self._signing.check_body(proof, body)
        self._stop_waiting()
        request.body = body
        request.complete = complete
        left = None
        if self._deadline_at is not None:
            left = max(int((self._deadline_at - self.link.loop.time()) * 1000), 1)
        self.start(request, left)

    def _on_patience(self) -> None:
        """The body did not come in time."""
        self._timer = None
        deadline = self._deadline_at
        if deadline is not None and self.link.loop.time() >= deadline:
            self._give_up(
                Refusal(StreamCode.NOT_DISPATCHED, "the deadline passed before the signed body was complete")
            )
        else:
            self._give_up(
                Refusal(StreamCode.SIGNATURE_REFUSED, "the signature became too old before the body was complete")
            )

    def _give_up(self, refusal: Refusal) -> None:
        self._settle()
        self._stream.owner = None
        self._refuse(refusal)

    def _stop_waiting(self) -> None:
        self._kept = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settle(self) -> None:
        """Answered or over: give back what it took, and the nonce, too, if no byte was sent. Idempotent."""
        self._stop_waiting()
        self._request = None
        size, self._size = self._size, 0
        if size:
            self._budget.give(size)
        proof, self._proof = self._proof, None
        if proof is not None and not self._stream.dispatched:
            self._signing.free(proof)
