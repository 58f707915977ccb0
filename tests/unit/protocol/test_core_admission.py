"""ENROL and ROTATE: the vectors, every tampering, what is told to whom, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.admission import EnrolmentRefused, Registration
from protocol.errors import HandshakeError, SessionCode, SessionError
from protocol.handshake import AgentHandshake, HubHandshake, State
from protocol.keys import PrivateKey, PublicKey, generate
from protocol.limits import Limits
from protocol.tokens import EnrolToken, parse_token

VECTORS = Path(__file__).parents[2] / "vectors"
GIVEN = json.loads((VECTORS / "handshake.json").read_text())
ENROLMENT = json.loads((VECTORS / "enrolment.json").read_text())
VALUES = GIVEN["values"]
KEYS = {
    name: PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))
    for name, seed in {**GIVEN["keys"], "fresh": ENROLMENT["fresh"]}.items()
}
TOKEN = parse_token(ENROLMENT["token"])
LIMITS = Limits(**VALUES["limits"])


class Book:
    """A registrar that keeps its keys in memory."""

    def __init__(self, **agents: list[PublicKey]) -> None:
        self.agents = agents or {"leeds-1": [KEYS["agent"].public, KEYS["agent_next"].public]}
        self.tokens = {TOKEN.id: TOKEN.public}
        self.asked: list[str] = []
        self.refusal: EnrolmentRefused | None = None

    def lookup(self, agent_id: str) -> Registration | None:
        keys = self.agents.get(agent_id)
        return None if keys is None else Registration(tuple(keys), frozenset({"visits"}))

    def token_key(self, token_id: bytes) -> PublicKey | None:
        return self.tokens.get(token_id)

    def enrol(self, agent_id: str, key: PublicKey, token_id: bytes) -> None:
        assert token_id == TOKEN.id
        self._add("enrol", agent_id, key)

    def rotate(self, agent_id: str, old: PublicKey, new: PublicKey) -> None:
        assert old in self.agents[agent_id]
        self._add("rotate", agent_id, new)

    def _add(self, what: str, agent_id: str, key: PublicKey) -> None:
        self.asked.append(what)
        if self.refusal is not None:
            raise self.refusal
        self.agents[agent_id].append(key)


def make_hub(book: Book | None, **changed: Any) -> HubHandshake:
    values: dict[str, Any] = {
        "hub_id": VALUES["hub_id"],
        "key": KEYS["hub"],
        "nonce": bytes.fromhex(VALUES["hub_nonce"]),
        "session_id": bytes.fromhex(VALUES["session_id"]),
        "lookup": (book or Book()).lookup,
        "binding": None,
        "limits": LIMITS,
        "registrar": book,
    }
    return HubHandshake(**(values | changed))


def make_agent(**changed: Any) -> AgentHandshake:
    values: dict[str, Any] = {
        "agent_id": VALUES["agent_id"],
        "instance_id": bytes.fromhex(VALUES["instance_id"]),
        "key": KEYS["fresh"],
        "hub_keys": [KEYS["hub"].public],
        "services": VALUES["services"],
        "limits": LIMITS,
        "nonce": bytes.fromhex(VALUES["agent_nonce"]),
        "certificate_hash": None,
        "software": VALUES["software"],
    }
    return AgentHandshake(**(values | changed))


def refuse(agent: AgentHandshake, hub: HubHandshake) -> tuple[HandshakeError, HandshakeError]:
    """What the hub raises on the agent's last message, and what the agent makes of its GOODBYE."""
    with pytest.raises(HandshakeError) as at_hub:
        hub.receive(agent.receive(hub.receive(agent.start())))
    with pytest.raises(HandshakeError) as at_agent:
        agent.receive(hub.farewell)
    assert hub.result is None
    assert agent.result is None
    return at_hub.value, at_agent.value


class TestVectors:
    @pytest.mark.parametrize("vector", ENROLMENT["accepted"], ids=lambda vector: vector["name"])
    def test_accepted(self, vector: dict[str, Any]) -> None:
        book = Book()
        before = list(book.agents["leeds-1"])
        way = {"next_key": KEYS[vector["next"]]} if "next" in vector else {"token": TOKEN}
        agent, hub = make_agent(key=KEYS[vector["key"]], **way), make_hub(book)
        message = agent.receive(hub.receive(agent.start()))
        assert message.hex() == vector["message"]
        ready = hub.receive(message)
        assert ready.hex() == vector["ready"]
        assert agent.receive(ready) == b""
        assert hub.result is not None
        assert hub.result.key == KEYS[vector["key"]].public
        assert hub.result.services == ("visits",)
        assert agent.result is not None
        assert agent.result.token_id == (None if "next" in vector else TOKEN.id)
        added = book.agents["leeds-1"][len(before) :]
        assert added == ([KEYS[vector["registers"]].public] if vector["registers"] else [])

    @pytest.mark.parametrize("vector", ENROLMENT["rejected"], ids=lambda vector: vector["name"])
    def test_rejected(self, vector: dict[str, Any]) -> None:
        book = Book()
        hub = make_hub(book)
        hub.receive(bytes.fromhex(GIVEN["accepted"][0]["hello"]))
        with pytest.raises(SessionError) as caught:
            hub.receive(bytes.fromhex(vector["message"]))
        assert caught.value.code.name == vector["code"]
        assert hub.result is None
        assert hub.state is State.FAILED
        assert book.asked == []
        assert msgpack.unpackb(hub.farewell)[1] == caught.value.code

    def test_the_token_itself_does_not_travel(self) -> None:
        seed = parse_token(ENROLMENT["token"])._random[16:]
        for vector in (*ENROLMENT["accepted"], *ENROLMENT["rejected"]):
            assert seed.hex() not in vector["message"]


FRAMES = {"enrol": {"token": TOKEN}, "rotate": {"key": KEYS["agent"], "next_key": KEYS["fresh"]}}


@pytest.mark.parametrize("frame", FRAMES)
def test_any_flipped_bit_is_refused(frame: str) -> None:
    """Every bit of the message, one at a time."""
    agent = make_agent(**FRAMES[frame])
    challenge = make_hub(Book()).receive(agent.start())
    hello, message = agent._hello, agent.receive(challenge)
    for bit in range(len(message) * 8):
        altered = bytearray(message)
        altered[bit // 8] ^= 1 << (bit % 8)
        book = Book()
        hub = make_hub(book)
        assert hub.receive(hello) == challenge
        with pytest.raises(SessionError):
            hub.receive(bytes(altered))
        assert (hub.result, book.asked) == (None, []), bit


@pytest.mark.parametrize("frame", FRAMES)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_change_of_some_bytes_is_refused(frame: str, data: st.DataObject) -> None:
    agent = make_agent(**FRAMES[frame])
    challenge = make_hub(Book()).receive(agent.start())
    message = agent.receive(challenge)
    at = data.draw(st.integers(0, len(message) - 1))
    patch = data.draw(st.binary(max_size=8))
    altered = message[:at] + patch + message[at + data.draw(st.integers(0, 8)) :]
    book = Book()
    hub = make_hub(book)
    hub.receive(agent._hello)
    if altered != message:
        with pytest.raises(SessionError):
            hub.receive(altered)
        assert (hub.result, book.asked) == (None, [])


def test_a_recorded_enrolment_is_of_no_use() -> None:
    agent = make_agent(token=TOKEN)
    hello = agent.start()
    message = agent.receive(make_hub(Book()).receive(hello))
    book = Book()
    hub = make_hub(book, nonce=bytes(32))
    hub.receive(hello)
    with pytest.raises(HandshakeError) as caught:
        hub.receive(message)
    assert caught.value.code is SessionCode.ENROLMENT_REFUSED
    assert book.asked == []


def test_another_hub_cannot_pass_an_enrolment_on() -> None:
    """A hub that the agent trusts relays its messages to another hub, to get a key in there."""
    agent = make_agent(token=TOKEN, hub_keys=[KEYS["hub"].public, KEYS["hub_next"].public])
    book = Book()
    target, relay = make_hub(book), make_hub(Book(), key=KEYS["hub_next"])
    hello = agent.start()
    target.receive(hello)
    message = agent.receive(relay.receive(hello))
    with pytest.raises(HandshakeError):
        target.receive(message)
    assert book.asked == []


class Counted:
    """Counts verifications."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        real = PublicKey.verify

        def verify(key: PublicKey, signature: bytes, data: bytes) -> bool:
            self.number += 1
            return real(key, signature, data)

        monkeypatch.setattr(PublicKey, "verify", verify)


def refusals() -> dict[str, Callable[[], tuple[AgentHandshake, HubHandshake]]]:
    unknown, wrong = EnrolToken(bytes(48)), EnrolToken(TOKEN.id + bytes(32))

    def with_refusal() -> HubHandshake:
        book = Book()
        book.refusal = EnrolmentRefused("the token was used before")
        return make_hub(book)

    return {
        "no such token": lambda: (make_agent(token=unknown), make_hub(Book())),
        "the token's signature is wrong": lambda: (make_agent(token=wrong), make_hub(Book())),
        "the token was used before": lambda: (make_agent(token=TOKEN), with_refusal()),
        "the hub's file does not name this agent": lambda: (
            make_agent(token=TOKEN),
            make_hub(Book(other=[KEYS["agent"].public])),
        ),
    }


@pytest.mark.parametrize("reason", refusals())
def test_every_refusal_sounds_and_costs_the_same(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, hub = refusals()[reason]()
    message = agent.receive(hub.receive(agent.start()))
    counted = Counted(monkeypatch)
    with pytest.raises(HandshakeError) as caught:
        hub.receive(message)
    assert counted.number == 2
    assert caught.value.code is SessionCode.ENROLMENT_REFUSED
    assert caught.value.message == (
        "The hub hub-1 does not enrol the agent leeds-1 with this token: make a new one with "
        "'tunnel-hub enrol-token --agent leeds-1' at the hub and put it into the agent's enrol_token_file."
    )
    assert reason in caught.value.detail
    assert reason not in caught.value.message
    assert KEYS["fresh"].public.fingerprint in caught.value.detail


def test_a_hub_without_a_registrar_takes_no_keys() -> None:
    at_hub, at_agent = refuse(make_agent(token=TOKEN), make_hub(None))
    assert at_hub.code is at_agent.code is SessionCode.ENROLMENT_REFUSED
    assert at_agent.message == at_hub.message
    at_hub, _ = refuse(make_agent(key=KEYS["agent"], next_key=KEYS["fresh"]), make_hub(None))
    assert at_hub.code is SessionCode.ENROLMENT_REFUSED


def test_what_the_registrar_wants_told_is_told() -> None:
    for way in FRAMES.values():
        book = Book()
        book.refusal = EnrolmentRefused("because", "Told: do this.")
        at_hub, at_agent = refuse(make_agent(**way), make_hub(book))
        assert at_agent.message == "Told: do this."
        assert "because" in at_hub.detail


def test_a_registrar_that_registers_nothing_lets_nobody_in() -> None:
    class Forgetful(Book):
        def _add(self, what: str, agent_id: str, key: PublicKey) -> None:
            self.asked.append(what)

    at_hub, _ = refuse(make_agent(token=TOKEN), make_hub(Forgetful()))
    assert at_hub.code is SessionCode.NOT_REGISTERED


@pytest.mark.parametrize("frame", ["proof", "rotate"])
def test_an_unknown_agent_costs_as_much_as_the_one_with_most_keys(
    frame: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [generate().public for _ in range(5)]
    counts = []
    for agent_id in ("leeds-1", "york-1", "nobody"):
        book = Book(**{"leeds-1": many, "york-1": many[:1]})
        next_key = {"next_key": KEYS["fresh"]} if frame == "rotate" else {}
        agent, hub = make_agent(agent_id=agent_id, **next_key), make_hub(book, most_keys=5)
        message = agent.receive(hub.receive(agent.start()))
        with monkeypatch.context() as patch:
            counted = Counted(patch)
            with pytest.raises(HandshakeError) as caught:
                hub.receive(message)
        assert caught.value.code is SessionCode.NOT_REGISTERED
        counts.append(counted.number)
    assert counts == [5, 5, 5]


def test_a_key_is_enrolled_or_replaced() -> None:
    with pytest.raises(ValueError, match="not both"):
        make_agent(token=TOKEN, next_key=KEYS["agent"])
