"""Two sessions and nothing between them: tests hand the messages over themselves."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]

from protocol.events import Event, Opened
from protocol.flow import MemoryBudget
from protocol.limits import MIB, Limits
from protocol.session import Session
from protocol.stream import Stream

HEAD: dict[str, Any] = {
    "service": "visits",
    "request_id": b"r1",
    "method": b"POST",
    "authority": b"visits.internal",
    "target": b"/v1?q=%20",
    "fields": [b"Accept", b"*/*"],
}


LIMITS = Limits()


def frames_of(message: bytes) -> list[list[Any]]:
    """The frames of a message, read by msgpack itself."""
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=1 << 26)
    unpacker.feed(message)
    return list(unpacker)


def pack(*frames: Any) -> bytes:
    """A message of frames, whatever they are."""
    return b"".join(msgpack.packb(frame, use_bin_type=True) for frame in frames)


def open_frame(stream_id: int = 1, flags: int = 0, **changed: Any) -> list[Any]:
    """A proper OPEN frame with the named elements changed."""
    names = [
        "deadline_ms",
        "service",
        "request_id",
        "method",
        "authority",
        "target",
        "fields",
        "length",
        "upgrade",
    ]
    values = {"deadline_ms": None, "length": None, "upgrade": None, "body": b"", **HEAD, **changed}
    return [5, stream_id, flags, *(values[name] for name in names), values["body"]]


def answer_frame(stream_id: int = 1, flags: int = 0, **changed: Any) -> list[Any]:
    """A proper ANSWER frame with the named elements changed."""
    values = {"status": 200, "reason": b"OK", "fields": [], "length": None, "body": b"", **changed}
    return [6, stream_id, flags, *(values[name] for name in ("status", "reason", "fields", "length", "body"))]


class Pair:
    """Hub and agent; `now` is the clock of both."""

    def __init__(self, hub: Limits = LIMITS, agent: Limits = LIMITS, budget: int = 64 * MIB) -> None:
        self.now = 1000.0
        self.hub_budget = MemoryBudget(budget)
        self.agent_budget = MemoryBudget(budget)
        self.hub = Session(True, hub, agent, self.hub_budget, self.now)
        self.agent = Session(False, agent, hub, self.agent_budget, self.now)

    def take(self, sender: Session, events: list[Event] | None = None) -> list[bytes]:
        """Every message that `sender` has; its StreamWritable events go to `events`."""
        result = []
        while message := sender.data_to_send([] if events is None else events):
            result.append(message)
        return result

    def give(self, receiver: Session, messages: list[bytes]) -> list[Event]:
        return [event for message in messages for event in receiver.receive(message, self.now)]

    def to_agent(self) -> list[Event]:
        return self.give(self.agent, self.take(self.hub))

    def all_to_agent(self) -> list[Event]:
        """As `to_agent`, until the hub has said everything: bulk waits for the agent's PONGs."""
        events = self.to_agent()
        while self.hub.inflight.marks:
            self.to_hub()
            events += self.to_agent()
        return events

    def to_hub(self) -> list[Event]:
        return self.give(self.hub, self.take(self.agent))

    def settle(self) -> None:
        """Hand over until both are silent."""
        while self.hub.has_output() or self.agent.has_output():
            self.to_agent()
            self.to_hub()

    def open(self, **changed: Any) -> tuple[Stream, Stream]:
        """A stream opened and seen: the hub's and the agent's object of it."""
        stream = self.hub.open(None, self.now, **{**HEAD, **changed})
        opened = [event for event in self.to_agent() if isinstance(event, Opened)]
        assert len(opened) == 1
        return stream, opened[0].stream


def at_agent() -> Session:
    """Stream 1: request body under way, answer begun. Stream 3: request complete, not answered. 5: over."""
    pair = Pair()
    _, first = pair.open(chunked=True)
    pair.open(end=True)
    _, third = pair.open(end=True)
    pair.agent.answer(first, 200, b"", [], None)
    pair.agent.answer(third, 200, b"", [], None, b"", True)
    pair.settle()
    pair.agent.start(pair.now)
    pair.take(pair.agent)
    return pair.agent


def at_hub() -> Session:
    """Stream 1: answer under way. 3: answer complete, request not. 5: waiting. 7: over."""
    pair = Pair()
    _, first = pair.open(end=True)
    _, second = pair.open(chunked=True)
    pair.open(end=True)
    _, fourth = pair.open(end=True)
    pair.agent.answer(first, 200, b"", [], None)
    pair.agent.answer(second, 200, b"", [], None, b"", True)
    pair.agent.answer(fourth, 200, b"", [], None, b"", True)
    pair.settle()
    pair.hub.start(pair.now)
    pair.take(pair.hub)
    return pair.hub
