"""The mutual handshake inside the websocket, as two state machines without input or output.

    agent                                      hub
    HELLO     who I am, nonce, what I saw  ->
                                           <-  CHALLENGE  nonce, hub's signature of the transcript
    PROOF     agent's signature            ->
                                           <-  READY      session id, accepted services

In the place of PROOF the agent may send ENROL (a key that is not registered yet, with a one-time token) or ROTATE
(the proof, and the key that is to follow).

Either side refuses with GOODBYE. Each machine takes one websocket message at a time in `receive` and returns
the bytes to send, or raises with the bytes to send in `farewell`. Nonces and ids come from the caller, fresh
for every handshake; there is no clock here, so the caller bounds the time. SPEC.md, "Handshake", is normative.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import ClassVar, NamedTuple

from .admission import Admission, EnrolmentRefused, Lookup, Registrar, Registration
from .binding import ANY_CERTIFICATE, Binding, binding_problem, certificate_hash
from .errors import HandshakeError, ProtocolViolation, SessionCode, SessionError
from .handshake_messages import (
    AGENT_LABEL,
    ENROL_LABEL,
    HUB_LABEL,
    NEW_KEY_LABEL,
    ROTATE_LABEL,
    TOKEN_LABEL,
    Challenge,
    Enrol,
    Goodbye,
    Hello,
    Proof,
    Ready,
    Rotate,
    decode,
    encode_challenge,
    encode_enrol,
    encode_goodbye,
    encode_hello,
    encode_proof,
    encode_ready,
    encode_rotate,
    transcript,
    unsigned_part,
)
from .keys import SIGNATURE_BYTES, PrivateKey, PublicKey
from .limits import Limits
from .tokens import EnrolToken

__all__ = [
    "ANY_CERTIFICATE",
    "AgentHandshake",
    "AgentResult",
    "Binding",
    "EnrolmentRefused",
    "HandshakeError",
    "HubHandshake",
    "HubResult",
    "Registrar",
    "Registration",
    "State",
    "certificate_hash",
]


class AgentResult(NamedTuple):
    """What the agent knows once the handshake is done."""

    hub_id: str
    session_id: bytes
    services: tuple[str, ...]
    """The services that the hub accepted, in the agent's order."""
    refused: tuple[str, ...]
    """The services that the hub did not accept: they are not registered for this agent there."""
    peer_limits: Limits
    """What the hub grants: its `max_streams` and `window`."""
    key: PublicKey
    """Which of the pinned keys the hub proved."""
    token_id: bytes | None
    """The token that was shown, if any: the hub has registered the agent's key, or knew it already."""


class HubResult(NamedTuple):
    """What the hub knows once the handshake is done."""

    agent_id: str
    instance_id: bytes
    """Differs between two machines that use the same identity."""
    session_id: bytes
    services: tuple[str, ...]
    refused: tuple[str, ...]
    peer_limits: Limits
    key: PublicKey
    """Which of the registered keys the agent proved."""
    certificate_hash: bytes | None
    """What the agent saw: the hash of a TLS certificate, or None without TLS."""
    software: str


class State(Enum):
    """Where a handshake stands."""

    NEW = auto()
    AWAIT_HELLO = auto()
    AWAIT_CHALLENGE = auto()
    AWAIT_PROOF = auto()
    AWAIT_READY = auto()
    DONE = auto()
    FAILED = auto()


class _Handshake:
    """What both machines share: transitions by table, refusal, and what follows from it."""

    TRANSITIONS: ClassVar[dict[tuple[State, type], tuple[str, State]]]
    """(state, message) -> (method that takes the message, state after it); all else is a violation."""

    _peer: ClassVar[str]

    def __init__(self, state: State) -> None:
        self.state = state
        self.farewell = b""
        """After an error: the GOODBYE to send before the websocket is closed; empty when the peer sent one."""

    def receive(self, message: bytes) -> bytes:
        """Takes one message of the peer; returns the bytes to send, which may be empty.

        `result` is set once the handshake is done; no further call may follow.

        Raises:
            SessionError: the handshake failed. Send `farewell` if there is one, then close the websocket.
        """
        if self.state in (State.DONE, State.FAILED):
            raise RuntimeError("the handshake is over")
        try:
            frame = decode(message)
            if type(frame) is Goodbye:
                self.state = State.FAILED
                raise self._refused(frame)
            transition = self.TRANSITIONS.get((self.state, type(frame)))
            if transition is None:
                raise ProtocolViolation(f"an unexpected {type(frame).__name__.upper()}")
            step, after = transition
            answer: bytes = getattr(self, step)(frame, message)
        except SessionError as error:
            if self.state is not State.FAILED:
                self.farewell = encode_goodbye(error.code, error.message)
                self.state = State.FAILED
            raise
        self.state = after
        return answer

    def _refused(self, goodbye: Goodbye) -> SessionError:
        """What the peer's GOODBYE means here."""
        try:
            code = SessionCode(goodbye.code)
        except ValueError:
            return ProtocolViolation(f"GOODBYE with the unknown code {goodbye.code}: {goodbye.message}")
        return HandshakeError(code, goodbye.message)


class AgentHandshake(_Handshake):
    """The agent's side. Send what `start` returns, then feed `receive` until `result` is set."""

    TRANSITIONS: ClassVar = {
        (State.AWAIT_CHALLENGE, Challenge): ("_on_challenge", State.AWAIT_READY),
        (State.AWAIT_READY, Ready): ("_on_ready", State.DONE),
    }

    def __init__(
        self,
        *,
        agent_id: str,
        instance_id: bytes,
        key: PrivateKey,
        hub_keys: Sequence[PublicKey],
        services: Sequence[str],
        limits: Limits,
        nonce: bytes,
        certificate_hash: bytes | None,
        software: str = "",
        token: EnrolToken | None = None,
        next_key: PrivateKey | None = None,
    ) -> None:
        """hub_keys: the pinned keys, two during a rotation; limits: what the hub may use; certificate_hash: of
        the certificate that this very connection showed (`certificate_hash`), None without TLS; nonce: 32
        random bytes, never used before; instance_id: 16 random bytes, the same for all sessions of a process;
        token: enrol the key with it, if the hub does not know it yet; next_key: to register beside the key.

        Raises:
            ValueError: a value that the protocol does not allow.
        """
        super().__init__(State.NEW)
        self.result: AgentResult | None = None
        self._agent_id = agent_id
        if token is not None and next_key is not None:
            raise ValueError("a key is enrolled or replaced, not both at once")
        self._key = key
        self._token = token
        self._next_key = next_key
        self._hub_keys = tuple(hub_keys)
        self._services = tuple(services)
        self._hello = encode_hello(
            Hello(agent_id, instance_id, nonce, certificate_hash, software, self._services, limits)
        )
        _check_own(self._hello)

    def start(self) -> bytes:
        """The first message. Called once."""
        if self.state is not State.NEW:
            raise RuntimeError("the handshake has begun")
        self.state = State.AWAIT_CHALLENGE
        return self._hello

    def _on_challenge(self, challenge: Challenge, message: bytes) -> bytes:
        unsigned = unsigned_part(message)
        signed = transcript(HUB_LABEL, self._hello, unsigned)
        matching = [key for key in self._hub_keys if key.verify(challenge.signature, signed)]
        if not matching:
            pinned = ", ".join(key.fingerprint for key in self._hub_keys) or "none"
            raise HandshakeError(
                SessionCode.WRONG_HUB_KEY,
                f"The hub {challenge.hub_id} proved none of the keys that agent {self._agent_id} has pinned for "
                f"it ({pinned}): if the hub has a new key, add its line to public_keys under [[hubs]] in the "
                "agent's configuration; if not, something else answers in the hub's place.",
            )
        self._challenge, self._hub_key = challenge, matching[0]
        shown = (self._hello, unsigned, challenge.signature)
        if self._token is not None:
            return self._enrol(self._token, shown)
        if self._next_key is not None:
            return self._rotate(self._next_key, shown)
        return encode_proof(self._key.sign(transcript(AGENT_LABEL, *shown)))

    def _enrol(self, token: EnrolToken, shown: Sequence[bytes]) -> bytes:
        key = self._key.public.raw
        token_signature = token.sign(transcript(TOKEN_LABEL, *shown, token.id, key))
        signature = self._key.sign(transcript(ENROL_LABEL, *shown, token.id, token_signature, key))
        return encode_enrol(Enrol(token.id, token_signature, key, signature))

    def _rotate(self, next_key: PrivateKey, shown: Sequence[bytes]) -> bytes:
        key = next_key.public.raw
        key_signature = next_key.sign(transcript(NEW_KEY_LABEL, *shown, key))
        signature = self._key.sign(transcript(ROTATE_LABEL, *shown, key, key_signature))
        return encode_rotate(Rotate(key, key_signature, signature))

    def _on_ready(self, ready: Ready, _message: bytes) -> bytes:
        if not set(ready.services) <= set(self._services):
            raise ProtocolViolation("READY accepts a service that was not offered")
        self.result = AgentResult(
            self._challenge.hub_id,
            ready.session_id,
            tuple(name for name in self._services if name in ready.services),
            tuple(name for name in self._services if name not in ready.services),
            self._challenge.limits,
            self._hub_key,
            None if self._token is None else self._token.id,
        )
        return b""

    def _refused(self, goodbye: Goodbye) -> SessionError:
        error = super()._refused(goodbye)
        if error.code is SessionCode.NOT_REGISTERED:
            return HandshakeError(error.code, f'{error.message} The line to add: "{self._key.public.line}"')
        return error


class HubHandshake(_Handshake):
    """The hub's side. Feed `receive` until `result` is set; the answer to the last message is then READY."""

    TRANSITIONS: ClassVar = {
        (State.AWAIT_HELLO, Hello): ("_on_hello", State.AWAIT_PROOF),
        (State.AWAIT_PROOF, Proof): ("_on_proof", State.DONE),
        (State.AWAIT_PROOF, Enrol): ("_on_enrol", State.DONE),
        (State.AWAIT_PROOF, Rotate): ("_on_rotate", State.DONE),
    }

    def __init__(
        self,
        *,
        hub_id: str,
        key: PrivateKey,
        nonce: bytes,
        session_id: bytes,
        lookup: Lookup,
        binding: Binding,
        limits: Limits,
        registrar: Registrar | None = None,
        most_keys: int = 2,
    ) -> None:
        """lookup: agent id -> what is registered; binding: what agents must have seen of TLS; limits: what the
        agent may use; nonce (32) and session_id (16): random bytes, never used before; registrar and most_keys:
        see `Admission`.

        Raises:
            ValueError: a value that the protocol does not allow.
        """
        super().__init__(State.AWAIT_HELLO)
        self.result: HubResult | None = None
        self._hub_id = hub_id
        self._key = key
        self._nonce = nonce
        self._session_id = session_id
        self._admission = Admission(hub_id, key.public, lookup, registrar, most_keys)
        self._binding = binding
        self._limits = limits
        _check_own(encode_challenge(hub_id, nonce, limits, lambda _: bytes(64)))
        _check_own(encode_ready(session_id, ()))

    def _on_hello(self, hello: Hello, message: bytes) -> bytes:
        problem = binding_problem(self._binding, hello.certificate_hash)
        if problem:
            raise HandshakeError(
                SessionCode.CHANNEL_BINDING, problem, f"agent id {hello.agent_id}, not verified: {problem}"
            )
        self._hello, self._hello_bytes = hello, message
        challenge = encode_challenge(
            self._hub_id,
            self._nonce,
            self._limits,
            lambda unsigned: self._key.sign(transcript(HUB_LABEL, message, unsigned)),
        )
        self._challenge = challenge
        return challenge

    def _on_proof(self, proof: Proof, _message: bytes) -> bytes:
        return self._let_in(*self._admission.prove(self._hello.agent_id, self._shown(), proof))

    def _on_enrol(self, enrol: Enrol, _message: bytes) -> bytes:
        return self._let_in(*self._admission.enrol(self._hello.agent_id, self._shown(), enrol))

    def _on_rotate(self, rotate: Rotate, _message: bytes) -> bytes:
        return self._let_in(*self._admission.rotate(self._hello.agent_id, self._shown(), rotate))

    def _shown(self) -> tuple[bytes, bytes, bytes]:
        """What every signature of the agent covers."""
        return self._hello_bytes, unsigned_part(self._challenge), self._challenge[-SIGNATURE_BYTES:]

    def _let_in(self, registration: Registration, key: PublicKey) -> bytes:
        hello = self._hello
        self.result = HubResult(
            hello.agent_id,
            hello.instance_id,
            self._session_id,
            tuple(name for name in hello.services if name in registration.services),
            tuple(name for name in hello.services if name not in registration.services),
            hello.limits,
            key,
            hello.certificate_hash,
            hello.software,
        )
        return encode_ready(self._session_id, self.result.services)


def _check_own(message: bytes) -> None:
    """Our own message must pass the peer's checks."""
    try:
        decode(message)
    except ProtocolViolation as error:
        raise ValueError(f"this side's values would make {error.message}") from None
