"""By which key an agent is let in: the hub's decisions about PROOF, ENROL and ROTATE (SPEC.md, 9.2 and 9.6).

Whoever proves nothing learns nothing: an unknown agent, a wrong key, and every way in which a token is not good
hear one sentence each, after the same number of verifications. The exact reason is for the hub's own log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, Protocol

from .errors import HandshakeError, SessionCode
from .handshake_messages import (
    AGENT_LABEL,
    ENROL_LABEL,
    NEW_KEY_LABEL,
    ROTATE_LABEL,
    TOKEN_LABEL,
    Enrol,
    Proof,
    Rotate,
    transcript,
)
from .keys import PublicKey


class Registration(NamedTuple):
    """What the hub knows about an agent before it connects."""

    public_keys: Sequence[PublicKey]
    services: frozenset[str]


Lookup = Callable[[str], Registration | None]
"""Agent id -> what is registered."""


class EnrolmentRefused(Exception):
    """A key is not taken. `detail` is for the hub's log; `told` for the peer, "" for the one general sentence."""

    def __init__(self, detail: str, told: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.told = told


class Registrar(Protocol):
    """Where new keys are kept. It is asked only after everything that can be verified has been."""

    def token_key(self, token_id: bytes) -> PublicKey | None:
        """What the hub keeps of a token of this id, good or not any more; cheap, for strangers ask."""

    def enrol(self, agent_id: str, key: PublicKey, token_id: bytes) -> None:
        """Use the token up and register the key. Raises EnrolmentRefused; then nothing has changed."""

    def rotate(self, agent_id: str, old: PublicKey, new: PublicKey) -> None:
        """Register `new` beside `old`, which was proven. Raises EnrolmentRefused; then nothing has changed."""


class Admission:
    """The decisions of one hub."""

    def __init__(
        self,
        hub_id: str,
        dummy: PublicKey,
        lookup: Lookup,
        registrar: Registrar | None = None,
        most_keys: int = 2,
    ) -> None:
        """dummy: a key to verify with where there is none; registrar: None takes no new keys; most_keys: of any
        agent, so that no agent costs more verifications than an unknown one.
        """
        self._hub_id = hub_id
        self._dummy = dummy
        self._lookup = lookup
        self._registrar = registrar
        self._most_keys = most_keys

    def prove(self, agent_id: str, shown: Sequence[bytes], proof: Proof) -> tuple[Registration, PublicKey]:
        """The agent's registration and the key it proved. `shown`: HELLO, CHALLENGE unsigned, its signature.

        Raises:
            HandshakeError: NOT_REGISTERED.
        """
        return self._proven(agent_id, proof.signature, transcript(AGENT_LABEL, *shown))

    def enrol(self, agent_id: str, shown: Sequence[bytes], enrol: Enrol) -> tuple[Registration, PublicKey]:
        """The same for a key that comes with a token; one that is registered already needs none.

        Raises:
            HandshakeError: ENROLMENT_REFUSED.
        """
        key = PublicKey(enrol.key)
        signed = key.verify(
            enrol.signature,
            transcript(ENROL_LABEL, *shown, enrol.token_id, enrol.token_signature, enrol.key),
        )
        registrar = self._registrar
        token_key = registrar.token_key(enrol.token_id) if registrar is not None else None
        token_signed = (token_key or self._dummy).verify(
            enrol.token_signature, transcript(TOKEN_LABEL, *shown, enrol.token_id, enrol.key)
        )
        registration = self._lookup(agent_id)
        if signed and registration is not None and key in registration.public_keys:
            return registration, key
        try:
            if not signed:
                _refuse("the new key's own signature is wrong")
            if registrar is None or token_key is None:
                _refuse("no such token")
            if not token_signed:
                _refuse("the token's signature is wrong")
            if registration is None:
                _refuse("the hub's file does not name this agent")
            registrar.enrol(agent_id, key, enrol.token_id)
        except EnrolmentRefused as refused:
            raise self._refused(
                refused,
                f"The hub {self._hub_id} does not enrol the agent {agent_id} with this token: make a new one with "
                f"'tunnel-hub enrol-token --agent {agent_id}' at the hub and put it into the agent's "
                "enrol_token_file.",
                f"agent {agent_id}, key {key.fingerprint}, token {enrol.token_id.hex()[:8]}",
            ) from None
        return self._registered(agent_id, key)

    def rotate(self, agent_id: str, shown: Sequence[bytes], rotate: Rotate) -> tuple[Registration, PublicKey]:
        """The same for a registered key that brings its successor.

        Raises:
            HandshakeError: NOT_REGISTERED, or ENROLMENT_REFUSED for the successor.
        """
        old_signed = transcript(ROTATE_LABEL, *shown, rotate.key, rotate.key_signature)
        registration, old = self._proven(agent_id, rotate.signature, old_signed)
        new = PublicKey(rotate.key)
        signed = new.verify(rotate.key_signature, transcript(NEW_KEY_LABEL, *shown, rotate.key))
        if signed and new in registration.public_keys:
            return registration, old
        try:
            if not signed:
                _refuse("the new key's own signature is wrong")
            if self._registrar is None:
                _refuse("this hub takes no keys")
            self._registrar.rotate(agent_id, old, new)
        except EnrolmentRefused as refused:
            raise self._refused(
                refused,
                f"The hub {self._hub_id} does not register the new key {new.fingerprint} of the agent {agent_id}: "
                "see the hub's log.",
                f"agent {agent_id}, key {old.fingerprint}, new key {new.fingerprint}",
            ) from None
        return self._registered(agent_id, old)

    def _proven(self, agent_id: str, signature: bytes, signed: bytes) -> tuple[Registration, PublicKey]:
        registration = self._lookup(agent_id)
        keys = tuple(registration.public_keys) if registration is not None else ()
        matching = [key for key in keys if key.verify(signature, signed)]
        for _ in range(max(2, self._most_keys) - len(keys)):
            self._dummy.verify(signature, signed)
        if registration is None or not matching:
            raise self._not_registered(agent_id, keys)
        return registration, matching[0]

    def _registered(self, agent_id: str, key: PublicKey) -> tuple[Registration, PublicKey]:
        """What holds after the registrar has taken a key."""
        registration = self._lookup(agent_id)
        if registration is None or key not in registration.public_keys:
            raise self._not_registered(agent_id, ())
        return registration, key

    def _refused(self, refused: EnrolmentRefused, general: str, who: str) -> HandshakeError:
        return HandshakeError(
            SessionCode.ENROLMENT_REFUSED, refused.told or general, f"not enrolled: {refused.detail} ({who})"
        )

    def _not_registered(self, agent_id: str, keys: Sequence[PublicKey]) -> HandshakeError:
        table = f'"{agent_id}"' if "." in agent_id else agent_id
        if keys:
            cause = SessionCode.BAD_SIGNATURE
            known = ", ".join(key.fingerprint for key in keys)
            detail = f"agent {agent_id} proved none of its registered keys (fingerprints: {known})"
        else:
            cause = SessionCode.NOT_REGISTERED
            detail = f"agent {agent_id} has no registered key"
        return HandshakeError(
            SessionCode.NOT_REGISTERED,
            f"The hub {self._hub_id} does not know the agent {agent_id} by this key: add the agent's public key "
            f"line to public_keys under [agents.{table}] in the hub's configuration.",
            detail,
            cause,
        )


def _refuse(detail: str) -> NoReturn:
    raise EnrolmentRefused(detail)
