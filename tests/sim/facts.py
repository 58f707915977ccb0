"""What one end claims about the other, held against what the other really did.

- `unsent` is never said of a stream that reached the wire, and a stream reset before that never reaches it;
- a RESET is never answered NOT_DISPATCHED when the agent had dispatched the stream, nor does it afterwards;
- `drain_heard` means that every OPEN there will ever be has arrived;
- every OFFER arrives, once, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol.errors import StreamCode
from protocol.events import Offered, OfferState, ResetAnswered

from .ledger import require

if TYPE_CHECKING:
    from .exchange import AgentEnd, HubEnd
    from .peer import Peer


def never_dispatched(code: int) -> bool:
    """Whether a code is of the NOT_DISPATCHED class."""
    return StreamCode.NOT_DISPATCHED <= code < StreamCode.UPSTREAM_CLOSED


def check_unsent(end: HubEnd) -> None:
    """At any time: `unsent` and the wire agree; a queue too long for one message may hide that nothing left."""
    peer = end.peer
    on_wire = end.stream.id in peer.monitor.senders
    unsent = peer.session.unsent(end.stream)
    require(not (unsent and on_wire), f"{end.out.name}: called unsent, but it has left")
    require(unsent or on_wire or peer.world.large_heads, f"{end.out.name}: has not left, and is not called unsent")


def on_reset_answered(event: ResetAnswered) -> None:
    end: Any = event.stream.owner
    require(end.confirming and end.answered_with is None, f"{end.out.name}: an answer that nobody asked for")
    end.answered_with = event.code
    other = end.peer.other_end(end)
    if never_dispatched(event.code):
        require(other is None or not other.dispatched, f"{end.out.name}: called not dispatched, but it was")
    elif event.code == StreamCode.NO_ERROR:
        crossed = other is not None and other.reset_code == StreamCode.NO_ERROR
        dispatched = crossed or (other is not None and other.dispatched)
        require(dispatched, f"{end.out.name}: called dispatched, but it was not")


def check_claims(end: HubEnd, other: AgentEnd | None) -> None:
    """In the end, whatever became of the session."""
    require(other is None or not end.never_left, f"{end.out.name}: said never to have left, but it arrived")
    if end.answered_with is not None and never_dispatched(end.answered_with):
        require(other is None or not other.dispatched, f"{end.out.name}: dispatched after that was denied")


def check_answered(end: HubEnd, other: AgentEnd | None) -> None:
    """In the end, with both alive: who asked for the answer to a RESET has it, or the agent's half ended."""
    if end.confirming and end.awaiting:
        ended = other is not None and other.out.ended
        require(ended or end.answered_with is not None, f"{end.out.name}: the RESET was never answered")


def check_drain_heard(peer: Peer) -> None:
    """Whenever an agent says so: nothing of the hub's is on its way any more."""
    if peer.session.opener or not peer.session.drain_heard:
        return
    sent = max((number for number, half in peer.other.monitor.senders.items() if half.head), default=-1)
    require(sent <= peer.session.last_seen, f"{peer.name}: heard, but stream {sent} is on its way")


def offer(peer: Peer, number: int) -> None:
    """The agent announces something that nobody else says."""
    if peer.lost is None:
        state, limit = OfferState(number % 3), number if number % 2 else None
        peer.offers.append((f"s{number}", state, limit))
        peer.session.offer(f"s{number}", state, limit)
        peer.wake()


def on_offered(peer: Peer, event: Offered) -> None:
    peer.offers.append((event.service, event.state, event.limit))
    said = peer.other.offers[: len(peer.offers)]
    require(peer.offers == said, f"{peer.name}: offers {peer.offers} of {peer.other.offers}")
