from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import handshake as module
from protocol.errors import SessionCode, SessionError
from protocol.handshake import (
    ANY_CERTIFICATE,
    AgentHandshake,
    Binding,
    HandshakeError,
    HubHandshake,
    Registration,
    State,
    certificate_hash,
)
from protocol.handshake_messages import (
    AGENT_LABEL,
    GOODBYE_TEXT_MAX,
    HUB_LABEL,
    MESSAGE_MAX,
    Goodbye,
    decode,
    encode_goodbye,
    transcript,
)
from protocol.keys import PrivateKey, PublicKey
from protocol.limits import Limits
from tests.support.effort import examples

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "handshake.json").read_text())
VALUES = VECTORS["values"]
KEYS = {
    name: PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))
    for name, seed in VECTORS["keys"].items()
}
LIMITS = Limits(**VALUES["limits"])
AGENT_KEYS = (KEYS["agent"].public, KEYS["agent_next"].public)
HUB_KEYS = (KEYS["hub"].public, KEYS["hub_next"].public)
SEEN = bytes.fromhex("c3" * 32)


def lookup(agent_id: str) -> Registration | None:
    return Registration(AGENT_KEYS, frozenset(VALUES["registered"])) if agent_id == "leeds-1" else None


def make_agent(**changed: Any) -> AgentHandshake:
    values: dict[str, Any] = {
        "agent_id": VALUES["agent_id"],
        "instance_id": bytes.fromhex(VALUES["instance_id"]),
        "key": KEYS["agent"],
        "hub_keys": HUB_KEYS,
        "services": VALUES["services"],
        "limits": LIMITS,
        "nonce": bytes.fromhex(VALUES["agent_nonce"]),
        "certificate_hash": None,
        "software": VALUES["software"],
    }
    return AgentHandshake(**(values | changed))


def make_hub(**changed: Any) -> HubHandshake:
    values: dict[str, Any] = {
        "hub_id": VALUES["hub_id"],
        "key": KEYS["hub"],
        "nonce": bytes.fromhex(VALUES["hub_nonce"]),
        "session_id": bytes.fromhex(VALUES["session_id"]),
        "lookup": lookup,
        "binding": None,
        "limits": LIMITS,
    }
    return HubHandshake(**(values | changed))


def shake(agent: AgentHandshake, hub: HubHandshake) -> list[bytes]:
    """The four messages of a handshake that succeeds."""
    hello = agent.start()
    challenge = hub.receive(hello)
    proof = agent.receive(challenge)
    ready = hub.receive(proof)
    assert agent.receive(ready) == b""
    return [hello, challenge, proof, ready]


def goodbye(message: bytes) -> tuple[int, str]:
    kind, code, text = msgpack.unpackb(message)
    assert kind == 31
    return code, text


def to_binding(value: Any) -> Binding:
    if value == "any":
        return ANY_CERTIFICATE
    return None if value is None else [bytes.fromhex(item) for item in value]


class TestVectors:
    @pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
    def test_accepted(self, vector: dict[str, Any]) -> None:
        seen = bytes.fromhex(vector["certificate_hash"]) if vector["certificate_hash"] else None
        agent = make_agent(key=KEYS[vector["agent_key"]], certificate_hash=seen)
        hub = make_hub(key=KEYS[vector["hub_key"]], binding=to_binding(vector["binding"]))
        messages = shake(agent, hub)
        assert [message.hex() for message in messages] == [
            vector[name] for name in ("hello", "challenge", "proof", "ready")
        ]
        assert agent.result is not None
        assert hub.result is not None
        assert agent.result.key == KEYS[vector["hub_key"]].public
        assert hub.result.key == KEYS[vector["agent_key"]].public
        assert hub.result.certificate_hash == seen

    @pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
    def test_what_is_signed(self, vector: dict[str, Any]) -> None:
        hello, challenge = bytes.fromhex(vector["hello"]), bytes.fromhex(vector["challenge"])
        unsigned, signature = challenge[:-66], challenge[-64:]
        assert transcript(HUB_LABEL, hello, unsigned).hex() == vector["hub_signs"]
        assert transcript(AGENT_LABEL, hello, unsigned, signature).hex() == vector["agent_signs"]

    @pytest.mark.parametrize("vector", VECTORS["rejected"], ids=lambda vector: f"{vector['to']}: {vector['name']}")
    def test_rejected(self, vector: dict[str, Any]) -> None:
        side: AgentHandshake | HubHandshake
        if vector["to"] == "hub":
            side = make_hub(binding=to_binding(vector["binding"]))
        else:
            side = make_agent()
            side.start()
        *before, last = map(bytes.fromhex, vector["messages"])
        for message in before:
            side.receive(message)
        with pytest.raises(SessionError) as caught:
            side.receive(last)
        assert caught.value.code.name == vector["code"]
        assert side.result is None
        assert side.state is State.FAILED
        received_goodbye = last[:2] == b"\x93\x1f" and vector["name"] != "a malformed GOODBYE"
        if received_goodbye:
            assert side.farewell == b""
        else:
            assert goodbye(side.farewell) == (caught.value.code, caught.value.message)


class TestSuccess:
    def test_both_sides_know_the_same(self) -> None:
        agent = make_agent(limits=Limits(max_streams=7, window=2048), certificate_hash=SEEN)
        hub = make_hub(limits=Limits(max_streams=9, window=4096), binding=[bytes(32), SEEN])
        shake(agent, hub)
        session_id = bytes.fromhex(VALUES["session_id"])
        assert agent.result is not None
        assert hub.result is not None
        assert agent.result.hub_id == "hub-1"
        assert agent.result.session_id == hub.result.session_id == session_id
        assert agent.result.services == hub.result.services == ("visits",)
        assert agent.result.refused == hub.result.refused == ("cash",)
        assert (agent.result.peer_limits.max_streams, agent.result.peer_limits.window) == (9, 4096)
        assert (hub.result.peer_limits.max_streams, hub.result.peer_limits.window) == (7, 2048)
        assert hub.result.agent_id == "leeds-1"
        assert hub.result.instance_id == bytes.fromhex(VALUES["instance_id"])
        assert hub.result.certificate_hash == SEEN
        assert hub.result.software == VALUES["software"]
        assert agent.state is hub.state is State.DONE
        assert agent.farewell == hub.farewell == b""

    def test_services_keep_the_agents_order(self) -> None:
        agent = make_agent(services=["c", "b", "a"])
        hub = make_hub(lookup=lambda _: Registration(AGENT_KEYS, frozenset({"a", "c", "x"})))
        shake(agent, hub)
        assert agent.result is not None
        assert (agent.result.services, agent.result.refused) == (("c", "a"), ("b",))

    def test_an_agent_without_any_accepted_service_is_still_let_in(self) -> None:
        agent, hub = make_agent(), make_hub(lookup=lambda _: Registration(AGENT_KEYS, frozenset()))
        shake(agent, hub)
        assert hub.result is not None
        assert (hub.result.services, hub.result.refused) == ((), ("visits", "cash"))

    @pytest.mark.parametrize("key", ["agent", "agent_next"])
    @pytest.mark.parametrize("hub_key", ["hub", "hub_next"])
    def test_two_keys_are_good_on_both_sides(self, key: str, hub_key: str) -> None:
        agent, hub = make_agent(key=KEYS[key]), make_hub(key=KEYS[hub_key])
        shake(agent, hub)
        assert hub.result is not None
        assert agent.result is not None
        assert (hub.result.key, agent.result.key) == (KEYS[key].public, KEYS[hub_key].public)

    def test_no_further_message_is_taken(self) -> None:
        agent, hub = make_agent(), make_hub()
        messages = shake(agent, hub)
        for side in (agent, hub):
            with pytest.raises(RuntimeError):
                side.receive(messages[0])
        with pytest.raises(RuntimeError):
            agent.start()

    def test_a_failed_handshake_stays_failed(self) -> None:
        hub = make_hub()
        with pytest.raises(SessionError):
            hub.receive(b"")
        with pytest.raises(RuntimeError):
            hub.receive(make_agent().start())


class TestRefusal:
    def refuse(self, agent: AgentHandshake, hub: HubHandshake) -> tuple[HandshakeError, HandshakeError]:
        """What the hub raises on HELLO or PROOF, and what the agent makes of the GOODBYE."""
        with pytest.raises(HandshakeError) as at_hub:
            hub.receive(agent.receive(hub.receive(agent.start())))
        with pytest.raises(HandshakeError) as at_agent:
            agent.receive(hub.farewell)
        assert agent.farewell == b""
        return at_hub.value, at_agent.value

    def test_unknown_agents_and_wrong_keys_hear_the_same(self) -> None:
        unknown = self.refuse(make_agent(), make_hub(lookup=lambda _: None))
        without_key = self.refuse(make_agent(), make_hub(lookup=lambda _: Registration((), frozenset())))
        wrong = self.refuse(make_agent(key=KEYS["stranger"]), make_hub())
        assert unknown[0].code is wrong[0].code is without_key[0].code is SessionCode.NOT_REGISTERED
        assert unknown[0].message == wrong[0].message == without_key[0].message
        assert unknown[0].message == (
            "The hub hub-1 does not know the agent leeds-1 by this key: add the agent's public key line to "
            "public_keys under [agents.leeds-1] in the hub's configuration."
        )
        farewells = set()
        for agent, hub in (
            (make_agent(), make_hub(lookup=lambda _: None)),
            (make_agent(key=KEYS["stranger"]), make_hub()),
        ):
            self.refuse(agent, hub)
            farewells.add(hub.farewell)
        assert len(farewells) == 1

    def test_the_hubs_own_log_hears_the_difference(self) -> None:
        unknown, _ = self.refuse(make_agent(), make_hub(lookup=lambda _: None))
        wrong, _ = self.refuse(make_agent(key=KEYS["stranger"]), make_hub())
        assert (unknown.cause, unknown.detail) == (
            SessionCode.NOT_REGISTERED,
            "agent leeds-1 has no registered key",
        )
        assert wrong.cause is SessionCode.BAD_SIGNATURE
        assert wrong.detail == (
            "agent leeds-1 proved none of its registered keys "
            f"(fingerprints: {AGENT_KEYS[0].fingerprint}, {AGENT_KEYS[1].fingerprint})"
        )

    def test_an_unknown_agent_learns_nothing_before_its_proof_and_costs_as_much(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        verified: list[bytes] = []
        real = PublicKey.verify

        def verify(key: PublicKey, signature: bytes, data: bytes) -> bool:
            verified.append(key.raw)
            return real(key, signature, data)

        def none(agent_id: str) -> None:
            asked.append(agent_id)

        counts = []
        for look in (none, lookup):
            agent, hub = make_agent(key=KEYS["stranger"]), make_hub(lookup=look)
            proof = agent.receive(hub.receive(agent.start()))
            assert asked == []
            monkeypatch.setattr(PublicKey, "verify", verify)
            verified.clear()
            with pytest.raises(HandshakeError):
                hub.receive(proof)
            monkeypatch.undo()
            counts.append(len(verified))
            asked.clear()
        assert counts == [2, 2]

    def test_the_agent_adds_the_line_that_the_hub_needs(self) -> None:
        _, at_agent = self.refuse(make_agent(), make_hub(lookup=lambda _: None))
        assert at_agent.code is SessionCode.NOT_REGISTERED
        assert at_agent.message.endswith(f'The line to add: "{KEYS["agent"].public.line}"')

    def test_ids_with_a_dot_are_quoted_as_toml_needs(self) -> None:
        at_hub, _ = self.refuse(make_agent(agent_id="leeds.1"), make_hub())
        assert '[agents."leeds.1"]' in at_hub.message

    def test_a_wrong_hub_key_is_told_to_both(self) -> None:
        agent, hub = make_agent(hub_keys=[KEYS["stranger"].public]), make_hub()
        challenge = hub.receive(agent.start())
        with pytest.raises(
            HandshakeError, match="proved none of the keys that agent leeds-1 has pinned"
        ) as caught:
            agent.receive(challenge)
        assert caught.value.code is SessionCode.WRONG_HUB_KEY
        assert KEYS["stranger"].public.fingerprint in caught.value.message
        with pytest.raises(HandshakeError) as at_hub:
            hub.receive(agent.farewell)
        assert (at_hub.value.code, at_hub.value.message) == (caught.value.code, caught.value.message)
        assert hub.farewell == b""

    @pytest.mark.parametrize(
        ("binding", "seen", "hint"),
        [
            ([SEEN], bytes(32), "intercepts TLS"),
            ([SEEN], None, "wss://"),
            ([], SEEN, "intercepts TLS"),
            ([SEEN], SEEN[:28], "intercepts TLS"),
            (None, SEEN, "if a load balancer in front of it"),
        ],
    )
    def test_channel_binding(self, binding: Sequence[bytes] | None, seen: bytes | None, hint: str) -> None:
        agent, hub = make_agent(certificate_hash=seen), make_hub(binding=binding)
        with pytest.raises(HandshakeError, match=hint) as caught:
            hub.receive(agent.start())
        assert caught.value.code is SessionCode.CHANNEL_BINDING
        assert "leeds-1" in caught.value.detail
        assert "not verified" in caught.value.detail
        if seen:
            assert f"sha{8 * len(seen)}:{seen.hex()}" in caught.value.message
        with pytest.raises(HandshakeError, match=hint):
            agent.receive(hub.farewell)

    @pytest.mark.parametrize(
        ("binding", "seen"),
        [([bytes(32), SEEN], SEEN), (None, None), (ANY_CERTIFICATE, SEEN), (ANY_CERTIFICATE, None)],
    )
    def test_channel_binding_that_holds(self, binding: Binding, seen: bytes | None) -> None:
        shake(make_agent(certificate_hash=seen), make_hub(binding=binding))

    def test_version(self) -> None:
        hub = make_hub()
        with pytest.raises(SessionError, match=r"speaks version 7 .* and the hub version 1: install") as caught:
            hub.receive(msgpack.packb([1, 7, "whatever"]))
        assert caught.value.code is SessionCode.BAD_VERSION

    def test_the_peers_text_cannot_write_to_a_terminal(self) -> None:
        agent = make_agent()
        agent.start()
        with pytest.raises(SessionError) as caught:
            agent.receive(msgpack.packb([31, 0, "a\x1b[2J\r\nb\u202ec"]))
        assert caught.value.message == "a?[2J??b?c"

    def test_a_long_goodbye_is_cut(self) -> None:
        message = decode(encode_goodbye(SessionCode.INTERNAL, "ä" * 5000))
        assert message == Goodbye(SessionCode.INTERNAL, "ä" * (GOODBYE_TEXT_MAX // 2))


class TestTampering:
    """Whoever changes one byte on the way, wherever, is noticed before the session begins."""

    @staticmethod
    def survives(agent: AgentHandshake, hub: HubHandshake, change: Callable[[int, bytes], bytes]) -> bool:
        """Whether both sides finish when `change(number, message)` alters the messages on the way."""
        try:
            challenge = change(1, hub.receive(change(0, agent.start())))
            ready = change(3, hub.receive(change(2, agent.receive(challenge))))
            agent.receive(ready)
        except SessionError:
            return False
        return True

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_every_byte_of_hello_challenge_and_proof(self, number: int) -> None:
        # ANY_CERTIFICATE: the hub accepts every hash, so that only the signatures protect it.
        size = len(shake(make_agent(certificate_hash=SEEN), make_hub(binding=ANY_CERTIFICATE))[number])
        for position in range(size):
            for flip in (0x01, 0x80, 0xFF):

                def change(which: int, message: bytes) -> bytes:
                    if which != number:
                        return message
                    altered = bytearray(message)
                    altered[position] ^= flip  # noqa: B023
                    return bytes(altered)

                agent, hub = make_agent(certificate_hash=SEEN), make_hub(binding=ANY_CERTIFICATE)
                assert not self.survives(agent, hub, change), (position, flip)
                assert hub.result is None
                assert agent.result is None

    @pytest.mark.parametrize("number", [0, 1, 2, 3])
    def test_every_truncation_and_any_addition(self, number: int) -> None:
        messages = shake(make_agent(), make_hub())
        changes = [messages[number][:size] for size in range(len(messages[number]))]
        changes += [messages[number] + extra for extra in (b"\0", b"\xc0", messages[number])]
        for altered in changes:
            agent, hub = make_agent(), make_hub()
            assert not self.survives(agent, hub, lambda n, m: altered if n == number else m)  # noqa: B023
            assert agent.result is None

    @pytest.mark.parametrize(
        ("element", "value"),
        [
            (2, "york-1"), (3, bytes(16)), (4, bytes(32)), (5, None), (5, bytes(32)), (6, "other"),
            (7, ["visits"]), (7, ["cash", "visits"]), (8, {"max_streams": 257, "window": 262144}),
            (8, {"window": 262144, "max_streams": 256}),
        ],
    )  # fmt: skip
    def test_every_field_of_hello(self, element: int, value: Any) -> None:
        def change(number: int, message: bytes) -> bytes:
            if number:
                return message
            frame = msgpack.unpackb(message)
            frame[element] = value
            return msgpack.packb(frame)

        agent = make_agent(certificate_hash=SEEN)
        hub = make_hub(binding=ANY_CERTIFICATE, lookup=lambda _: lookup("leeds-1"))
        assert not self.survives(agent, hub, change)

    @pytest.mark.parametrize(
        ("element", "value"),
        [(1, "hub-2"), (2, bytes(32)), (3, {"max_streams": 1, "window": 262144}), (4, bytes(64))],
    )
    def test_every_field_of_challenge(self, element: int, value: Any) -> None:
        def change(number: int, message: bytes) -> bytes:
            if number != 1:
                return message
            frame = msgpack.unpackb(message)
            frame[element] = value
            return msgpack.packb(frame)

        assert not self.survives(make_agent(), make_hub(), change)

    def test_another_encoding_of_the_same_hello(self) -> None:
        def change(number: int, message: bytes) -> bytes:
            return message if number else b"\xdc\x00\x09" + message[1:]  # array 16 instead of fixarray

        agent, hub = make_agent(), make_hub()
        assert not self.survives(agent, hub, change)

    def test_ready_can_only_lose_what_the_channel_must_protect(self) -> None:
        """READY is not signed: nothing in it is a secret or a right, and every frame after it is unsigned too."""
        *_, ready = shake(make_agent(), make_hub())
        for position in range(len(ready)):
            altered = bytearray(ready)
            altered[position] ^= 0x01
            agent, hub = make_agent(), make_hub()
            if self.survives(agent, hub, lambda n, m: bytes(altered) if n == 3 else m):  # noqa: B023
                assert agent.result is not None
                assert 4 <= position < 20  # a byte of the session id
                assert agent.result.services == ("visits",)


class TestReplay:
    def test_a_recorded_agent_does_not_get_in_again(self) -> None:
        hello, _, proof, _ = shake(make_agent(), make_hub())
        hub = make_hub(nonce=bytes(32))
        hub.receive(hello)
        with pytest.raises(HandshakeError) as caught:
            hub.receive(proof)
        assert caught.value.cause is SessionCode.BAD_SIGNATURE

    def test_a_recorded_hub_does_not_fool_a_new_handshake(self) -> None:
        _, challenge, _, _ = shake(make_agent(), make_hub())
        agent = make_agent(nonce=bytes(32))
        agent.start()
        with pytest.raises(HandshakeError) as caught:
            agent.receive(challenge)
        assert caught.value.code is SessionCode.WRONG_HUB_KEY

    def test_one_key_for_both_roles_does_not_allow_reflection(self) -> None:
        key = KEYS["hub"]
        hub = make_hub(lookup=lambda _: Registration((key.public,), frozenset()))
        challenge = hub.receive(make_agent(key=key).start())
        with pytest.raises(HandshakeError):
            hub.receive(msgpack.packb([3, challenge[-64:]]))

    def test_an_agents_proof_is_no_hubs_signature(self) -> None:
        agent, hub = make_agent(hub_keys=[KEYS["agent"].public, *HUB_KEYS]), make_hub()
        challenge = hub.receive(agent.start())
        proof = agent.receive(challenge)
        again = make_agent(hub_keys=[KEYS["agent"].public])
        again.start()
        with pytest.raises(HandshakeError):
            again.receive(challenge[:-64] + proof[-64:])

    def test_a_hub_in_the_middle_cannot_pass_an_agent_on(self) -> None:
        """A hub that the agent trusts relays its messages to another hub, to get in there as the agent."""
        agent = make_agent()
        target, relay = make_hub(), make_hub(key=KEYS["hub_next"])
        hello = agent.start()
        target.receive(hello)
        proof = agent.receive(relay.receive(hello))
        with pytest.raises(HandshakeError):
            target.receive(proof)

    def test_a_signature_of_the_bare_digest_is_not_ours(self) -> None:
        agent, hub = make_agent(), make_hub()
        challenge = hub.receive(agent.start())
        signed = transcript(AGENT_LABEL, agent._hello, challenge[:-66], challenge[-64:])
        assert signed.startswith(b"tunnel.v1 agent\0")
        with pytest.raises(HandshakeError):
            hub.receive(msgpack.packb([3, KEYS["agent"].sign(signed[-32:])]))

    def test_the_lengths_are_part_of_the_transcript(self) -> None:
        assert transcript(b"a", b"bc", b"d") != transcript(b"a", b"b", b"cd")
        assert transcript(b"a", b"b") != transcript(b"a", b"b", b"")
        digest = hashlib.sha256(b"\0\0\0\1a\0\0\0\2bc").digest()
        assert transcript(b"a", b"bc") == b"a\0" + digest


class TestOwnValues:
    @pytest.mark.parametrize(
        "changed",
        [
            {"agent_id": "a b"}, {"agent_id": ""}, {"instance_id": bytes(15)}, {"nonce": bytes(31)},
            {"certificate_hash": b"x"}, {"software": "ä"}, {"services": ["a", "a"]}, {"services": ["a/b"]},
            {"services": [f"{n:063}a" for n in range(200)]}, {"limits": Limits(max_streams=0)},
        ],
    )  # fmt: skip
    def test_the_agent_notices_its_own_mistakes(self, changed: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="this side's values"):
            make_agent(**changed)

    @pytest.mark.parametrize(
        "changed",
        [{"hub_id": "a b"}, {"nonce": bytes(31)}, {"session_id": bytes(15)}, {"limits": Limits(window=1)}],
    )
    def test_the_hub_notices_its_own_mistakes(self, changed: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="this side's values"):
            make_hub(**changed)


@settings(deadline=None, max_examples=examples(500))
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=3))
def test_no_bytes_make_either_side_fail_otherwise_than_said(messages: list[bytes]) -> None:
    agent = make_agent()
    agent.start()
    for side in (agent, make_hub()):
        for message in messages:
            with pytest.raises((SessionError, RuntimeError)):
                side.receive(message)
        assert side.result is None


OBJECTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=70) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([1, 2, 3, 4, 31, 5, 0]), st.lists(OBJECTS, max_size=8))
def test_no_frame_makes_either_side_fail_otherwise_than_said(kind: int, elements: list[Any]) -> None:
    agent = make_agent()
    agent.start()
    for side in (agent, make_hub()):
        with pytest.raises(SessionError):
            side.receive(msgpack.packb([kind, *elements]))
        assert len(side.farewell) < MESSAGE_MAX


def test_transitions_are_complete() -> None:
    """Every message that a side accepts appears once, and every path ends in DONE."""
    assert {name for name, _ in AgentHandshake.TRANSITIONS.values()} == {"_on_challenge", "_on_ready"}
    assert {name for name, _ in HubHandshake.TRANSITIONS.values()} == {
        *("_on_hello", "_on_proof", "_on_enrol", "_on_rotate")
    }
    for machine, first in ((AgentHandshake, State.AWAIT_CHALLENGE), (HubHandshake, State.AWAIT_HELLO)):
        state = first
        while state is not State.DONE:
            [state] = {after for (before, _), (_, after) in machine.TRANSITIONS.items() if before is state}


# --- certificates


def certificate(key: Any, algorithm: Any, **options: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    now = datetime.datetime(2026, 1, 1)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=9))
        .sign(key, algorithm, **options)
    )
    return built.public_bytes(serialization.Encoding.DER)


RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("der", "function"),
    [
        (certificate(P256, hashes.SHA256()), hashlib.sha256),
        (certificate(P256, hashes.SHA384()), hashlib.sha384),
        (certificate(P256, hashes.SHA512()), hashlib.sha512),
        (certificate(P256, hashes.SHA224()), hashlib.sha224),
        (certificate(RSA, hashes.SHA256()), hashlib.sha256),
        (certificate(RSA, hashes.SHA384()), hashlib.sha384),
        (
            certificate(RSA, hashes.SHA384(), rsa_padding=padding.PSS(padding.MGF1(hashes.SHA384()), 48)),
            hashlib.sha384,
        ),
        (certificate(RSA, hashes.SHA3_256()), hashlib.sha256),
        (certificate(ed25519.Ed25519PrivateKey.generate(), None), hashlib.sha256),
    ],
)
def test_certificate_hash(der: bytes, function: Callable[[bytes], Any]) -> None:
    assert certificate_hash(der) == function(der).digest()


@pytest.mark.parametrize("old", ["sha1", "md5"])
def test_certificate_hash_replaces_broken_functions(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        signature_hash_algorithm = hashes.SHA1() if old == "sha1" else hashes.MD5()

    monkeypatch.setattr("protocol.binding.x509.load_der_x509_certificate", lambda _: Old)
    assert certificate_hash(b"der") == hashlib.sha256(b"der").digest()


def test_a_certificate_that_cannot_be_parsed_is_hashed_all_the_same() -> None:
    assert certificate_hash(b"rubbish") == hashlib.sha256(b"rubbish").digest()


def test_what_others_import_is_here() -> None:
    assert {"AgentHandshake", "AgentResult", "HubHandshake", "HubResult", "certificate_hash"} <= set(
        module.__all__
    )
