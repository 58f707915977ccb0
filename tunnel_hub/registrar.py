"""Which keys each agent may show: those of the hub's file and those enrolled, without the revoked ones.

The state file is shared with the commands and with a successor; what they change is noticed within POLL. Reading
waits for nobody. Writing happens in the handshake of an agent that has proven a token or a key, so strangers
cannot cause it; it takes one sync of the disk, after a wait of BUSY_TIMEOUT at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocol.admission import EnrolmentRefused, Registration
from protocol.ops import log
from protocol.ops.audit import Audit
from protocol.ops.model import as_key

from .state import LIVE_KEYS, NOTHING, Facts, RefusedError, State, StateError, exists

if TYPE_CHECKING:
    from protocol.aio.wheel import Timer, Wheel
    from protocol.keys import PublicKey

    from .config import Agent as AgentConfig

POLL: Final = 0.25
"""Seconds between two looks at whether the state has changed; one costs some 10 µs."""

_log = log.get("keys")


class Registrar:
    """Between `start` and `stop`. `use` says what the hub's file holds, before and at any time after."""

    def __init__(
        self,
        hub_id: str,
        path: Path,
        wheel: Wheel,
        now: Callable[[], float] = time.time,
        audit: Audit | None = None,
    ) -> None:
        """path: the state file, which need not exist."""
        self._audit = audit or Audit()
        self.registered: dict[str, Registration] = {}
        self.most_keys = 0
        """Of any one agent."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after keys have become good or bad by what the state says."""
        self._hub_id = hub_id
        self._path = path
        self._wheel = wheel
        self._now = now
        self._agents: Mapping[str, AgentConfig] = {}
        self._state: State | None = None
        self._facts = NOTHING
        self._version = 0
        self._trouble = ""
        self._timer: Timer | None = None

    def start(self) -> None:
        """Read the state, and from now on notice its changes. Raises StateError for a file that is no good."""
        if exists(self._path):
            self._open()
        self._warn()
        self._timer = self._wheel.after(POLL, self._tick)

    def stop(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._state is not None:
            self._state.close()
            self._state = None

    def use(self, agents: Mapping[str, AgentConfig]) -> None:
        """The agents of the hub's file from now on."""
        self._agents = agents
        self._renew()
        self._warn()

    # -- What handshakes ask --------------------------------------------------------------------------

    def lookup(self, agent_id: str) -> Registration | None:
        """By what holds when it is asked."""
        return self.registered.get(agent_id)

    def token_key(self, token_id: bytes) -> PublicKey | None:
        """Of any token that is known, good or not; one made a moment ago is found."""
        self.poll()
        token = self._facts.tokens.get(token_id)
        return None if token is None else token.key

    def enrol(self, agent_id: str, key: PublicKey, token_id: bytes) -> None:
        """Raises EnrolmentRefused."""
        state = self._state
        if state is None:
            raise EnrolmentRefused("the hub keeps no state")
        self._change(agent_id, key, lambda: state.enrol(agent_id, key, token_id))

    def rotate(self, agent_id: str, old: PublicKey, new: PublicKey) -> None:
        """Raises EnrolmentRefused."""
        del old  # stays good until it is revoked
        self.poll()
        state = self._state
        if state is None:
            raise EnrolmentRefused(
                "the hub keeps no state",
                f'The hub {self._hub_id} takes agents\' keys from its file only: add the line "{new.line}" to '
                f"public_keys under [agents.{as_key(agent_id)}] there, reload the hub, and run rotate-key again.",
            )
        self._change(
            agent_id,
            new,
            lambda: state.rotate(agent_id, new),
            f"The hub {self._hub_id} does not take the new key {new.fingerprint}, which was revoked or is another "
            "agent's: remove the file of the new key at the agent, and run rotate-key again.",
        )

    def _change(self, agent_id: str, key: PublicKey, write: Callable[[], None], told: str = "") -> None:
        for other, table in self._agents.items():
            if other != agent_id and key in table.public_keys:
                raise EnrolmentRefused(f"the key stands under agents.{as_key(other)}", told)
        unable = f"The hub {self._hub_id} cannot keep keys at the moment: see its log."
        if self._trouble:  # what would be written now might be lost with a file that was replaced
            raise EnrolmentRefused(self._trouble, unable)
        try:
            write()
        except RefusedError as refused:
            if refused.full:
                told = (
                    f"The hub {self._hub_id} has {LIVE_KEYS} enrolled keys of the agent {agent_id} already: take "
                    "the one that is not used any more away with 'tunnel-hub revoke "
                    f"--agent {agent_id} --key FINGERPRINT' at the hub; 'tunnel-hub agents' lists them."
                )
            raise EnrolmentRefused(str(refused), told) from None
        except StateError as error:
            raise EnrolmentRefused(str(error), unable) from None
        self.poll(changed=True)

    # -- What others change ---------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = self._wheel.after(POLL, self._tick)
        self.poll()

    def poll(self, *, changed: bool = False) -> None:
        """Take over what the state file says, if it has changed. While it cannot be read, what was known holds."""
        try:
            if self._state is None:
                if exists(self._path):
                    self._open()
            else:
                version = self._state.version()
                if version != self._version or changed:
                    self._take(self._state.facts(), version)
            self._trouble = ""
        except StateError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.error("the state cannot be read; what was known before holds", problem=self._trouble)

    def _open(self) -> None:
        state = State(self._path, self._now)
        try:
            version = state.version()
            facts = state.facts()
        except BaseException:
            state.close()
            raise
        self._state = state
        self._take(facts, version)

    def _take(self, facts: Facts, version: int) -> None:
        before, self._facts, self._version = self._facts, facts, version
        if self._timer is not None:  # what is read at the start is no news
            self._tell(before, facts)
        self._renew()
        self.on_change()

    def _warn(self) -> None:
        """Whoever reads the hub's file would think these keys good."""
        for agent_id, table in self._agents.items():
            for key in table.public_keys:
                if key in self._facts.revoked:
                    _log.warning(
                        "a key that the hub's file lists was revoked, and is refused",
                        agent=agent_id,
                        fingerprint=key.fingerprint,
                    )

    def _renew(self) -> None:
        facts = self._facts
        self.registered = {
            agent_id: Registration(
                tuple(
                    key
                    for key in dict.fromkeys((*table.public_keys, *facts.live(agent_id)))
                    if key not in facts.revoked
                ),
                frozenset(table.services),
            )
            for agent_id, table in self._agents.items()
        }
        self.most_keys = max((len(known.public_keys) for known in self.registered.values()), default=0)

    def _tell(self, before: Facts, after: Facts) -> None:
        """The one place where a running hub learns that a key was enrolled, rotated or revoked, by whomever."""
        for token_id, token in after.tokens.items():
            if token_id not in before.tokens:
                self._say("enrolment token made", agent=token.agent, token_id=token_id.hex()[:8])
        for key, enrolled in after.keys.items():
            if key not in before.keys:
                event = "key rotated" if enrolled.how == "rotation" else "key enrolled"
                self._say(event, agent=enrolled.agent, fingerprint=key.fingerprint)
        for key, revoked in after.revoked.items():
            if key not in before.revoked:
                self._say("key revoked", agent=revoked.agent, fingerprint=key.fingerprint)

    def _say(self, event: str, **what: str) -> None:
        _log.info(event, **what)
        self._audit.write(event, **what)
